"""Publishing under a name that others may have published under before: who may replace whom.

Every published object says in its metadata which upload it was made from. Only an older upload of the same
video gives way; a newer one stays, and anything else there is not ours to touch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, Self

from google.cloud.storage import Blob

from functions.pipeline import layout, store
from functions.pipeline.contracts import ObjectRef
from functions.pipeline.errors import PermanentError, RetryableError
from functions.pipeline.layout import OF_JOB, OF_SOURCE, OF_SOURCE_GENERATION
from functions.pipeline.settings import settings

ROUNDS = 5


class Names(Protocol):
    """What a job is called, what it is made of, and what it makes. A manifest has it."""

    @property
    def job(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def source(self) -> ObjectRef: ...
    @property
    def result(self) -> str: ...
    @property
    def report(self) -> str: ...


@dataclass(frozen=True)
class NamesBySource:
    """The same for a job whose manifest is gone: all of it follows from the name of the video."""

    job: str
    channel: str
    source: ObjectRef
    result: str
    report: str

    @classmethod
    def of(cls, job: str, source: ObjectRef) -> Self | None:
        """None if the job is not that of this video."""
        video = layout.parse_video(source.name)
        if video is None or layout.job_id(source.bucket, source.name, source.generation) != job:
            return None
        return cls(job, video.channel, source, video.result, video.report)


class Standing(Enum):
    """How what is there now stands to this job. A foreign object raises instead."""

    ABSENT = auto()
    OURS = auto()
    OLDER = auto()
    NEWER = auto()


def standing(names: Names, name: str) -> tuple[Standing, Blob | None]:
    """How the output object of this name stands to the job, and what is there.

    Raises PermanentError "result-exists" if something is there that does not come from this video.
    """
    blob = store.find(settings().output_bucket, name)
    if blob is None:
        return Standing.ABSENT, None
    metadata: Mapping[str, str] = blob.metadata or {}
    generation = metadata.get(OF_SOURCE_GENERATION, "")
    if metadata.get(OF_SOURCE) != names.source.name or not generation.isdecimal():
        raise PermanentError(
            "result-exists",
            f"gs://{names.source.bucket}/{names.source.name} was not published: "
            f"gs://{settings().output_bucket}/{name} is there already and was not made from it. Remove that "
            "object, or upload the video under another name.",
        )
    if metadata.get(OF_JOB) == names.job:
        return Standing.OURS, blob
    older = int(generation) < names.source.generation
    return (Standing.OLDER if older else Standing.NEWER), blob


def publish(names: Names, name: str, made: ObjectRef, progress: store.Progress) -> ObjectRef | None:
    """Copy what was made to the output once, in place of nothing or of an older upload's.

    Returns what the job has published there, now or before; None if a newer upload's is there and stays.
    Raises PermanentError as `standing` does, and if what was made is gone.
    """
    for _ in range(ROUNDS):
        now, blob = standing(names, name)
        if now is Standing.NEWER:
            return None
        if now is Standing.OURS:
            return store.reference(blob)
        where = (settings().output_bucket, name)
        generation = int(blob.generation) if blob else 0
        metadata = {
            OF_JOB: names.job,
            OF_SOURCE: names.source.name,
            OF_SOURCE_GENERATION: str(names.source.generation),
        }
        try:
            return store.copy(made, *where, generation=generation, metadata=metadata, progress=progress)
        except store.AlreadyWrittenError:
            continue  # somebody published meanwhile: see who
    raise RetryableError(f"lost the race for a result {ROUNDS} times: the message comes back")


def unpublish(names: Names) -> None:
    """Delete what the job has published, of a job that failed, or was erased, in that moment."""
    for name in (names.report, names.result):
        blob = store.find(settings().output_bucket, name)
        if blob is not None and (blob.metadata or {}).get(OF_JOB) == names.job:
            store.delete(store.reference(blob))
