"""Publishing under a name that others may have published under before: who may replace whom.

Every published object says in its metadata which upload it was made from, and by which request, if it was rendered
again. Only what is older gives way: an older upload of the same video, or an older rendering of the same upload. What
is newer stays, and anything else there is not ours to touch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, Self

from google.cloud.storage import Blob

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import ownership
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import OF_JOB, OF_RERENDER, OF_SOURCE, OF_SOURCE_GENERATION

MAX_CAS_RETRIES = 5


class JobIdentity(Protocol):
    """What a job is called, what it is made of, and what it makes. A manifest has it.

    `request` is what it was asked for by, if it renders the video again.
    """

    @property
    def job(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def source(self) -> ObjectRef: ...
    @property
    def request(self) -> ObjectRef | None: ...
    @property
    def result(self) -> str: ...
    @property
    def report(self) -> str: ...


@dataclass(frozen=True)
class JobIdentities:
    """The same for a job whose manifest is gone: all of it follows from video and request."""

    job: str
    channel: str
    source: ObjectRef
    request: ObjectRef | None
    result: str
    report: str

    @classmethod
    def of(cls, job: str, source: ObjectRef, request: ObjectRef | None) -> Self | None:
        """None if the job is not that of this video, or of this request to render it again."""
        video = object_names.parse_video(source.name)
        if video is None or not ownership.is_job_of(job, source, request):
            return None
        return cls(job, video.channel, source, request, video.result, video.report)


class PublishedVersion(Enum):
    """How what is there now stands to this job. A foreign object raises instead."""

    ABSENT = auto()
    OURS = auto()
    OLDER = auto()
    NEWER = auto()


def compare_with_published(names: JobIdentity, name: str) -> tuple[PublishedVersion, Blob | None]:
    """How the output object of this name stands to the job, and what is there.

    Raises PermanentError "result-exists" if something is there that does not come from this video.
    """
    blob = objects.find(settings().output_bucket, name)
    if blob is None:
        return PublishedVersion.ABSENT, None
    metadata: Mapping[str, str] = blob.metadata or {}
    generation, again = metadata.get(OF_SOURCE_GENERATION, ""), metadata.get(OF_RERENDER, "0")
    if metadata.get(OF_SOURCE) != names.source.name or not generation.isdecimal() or not again.isdecimal():
        raise PermanentError(
            "result-exists",
            f"{object_names.owner_name(names.source.name)} was not published: a result named "
            f"{object_names.owner_name(name)} "
            "is there already and was not made from it. Upload the video under another name, or ask the operator "
            "of De-facer to remove that result.",
        )
    if metadata.get(OF_JOB) == names.job:
        return PublishedVersion.OURS, blob
    older = (int(generation), int(again)) < (names.source.generation, _again_of(names))
    return (PublishedVersion.OLDER if older else PublishedVersion.NEWER), blob


def _again_of(names: JobIdentity) -> int:
    return names.request.generation if names.request else 0


def publish(names: JobIdentity, name: str, made: ObjectRef, progress: objects.Progress) -> ObjectRef | None:
    """Copy what was made to the output once, in place of nothing or of what is older.

    Returns what the job has published there, now or before; None if something newer is there and stays.
    Raises PermanentError as `standing` does, and if what was made is gone.
    """
    for _ in range(MAX_CAS_RETRIES):
        now, blob = compare_with_published(names, name)
        if now is PublishedVersion.NEWER:
            return None
        if now is PublishedVersion.OURS:
            return objects.reference(blob)
        where = (settings().output_bucket, name)
        generation = int(blob.generation) if blob else 0
        metadata = {
            OF_JOB: names.job,
            OF_SOURCE: names.source.name,
            OF_SOURCE_GENERATION: str(names.source.generation),
            **({OF_RERENDER: str(_again_of(names))} if names.request else {}),
        }
        try:
            return objects.copy(made, *where, generation=generation, metadata=metadata, progress=progress)
        except objects.AlreadyWrittenError:
            continue  # somebody published meanwhile: see who
    raise RetryableError(f"lost the race for a result {MAX_CAS_RETRIES} times: the message comes back")


def unpublish(names: JobIdentity) -> None:
    """Delete what the job has published, of a job that failed, or was erased, in that moment."""
    for name in (names.report, names.result):
        blob = objects.find(settings().output_bucket, name)
        if blob is not None and (blob.metadata or {}).get(OF_JOB) == names.job:
            objects.delete(objects.reference(blob))
