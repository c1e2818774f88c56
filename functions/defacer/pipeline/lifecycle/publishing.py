"""Publish objects under names that earlier jobs can have published under, and delete them again.

The metadata of every published object names the upload that it was made from, and the request if it was re-rendered.
A job replaces only older versions: of an older upload of the same video, or an older re-render of the same upload. A
newer version stays. Any other object in that place is foreign and is never touched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from google.cloud.storage import Blob

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle.ownership import JobIdentity
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import OF_JOB, OF_RERENDER, OF_SOURCE, OF_SOURCE_GENERATION


class PublishedVersion(Enum):
    """How the object in a job's place compares to the job's own. A foreign object raises instead."""

    ABSENT = auto()
    OURS = auto()
    OLDER = auto()
    NEWER = auto()


@dataclass(frozen=True)
class PublishedObject:
    """The object in a job's place, and how it compares to the job's own."""

    version: PublishedVersion
    blob: Blob | None = None


def compare_with_published(identity: JobIdentity, name: str) -> PublishedObject:
    """Return the output object of this name and how it compares to the job's own.

    Raises PermanentError "result-exists" if the object was not made from the job's video.
    """
    blob = objects.find_blob(settings().output_bucket, name)
    if blob is None:
        return PublishedObject(PublishedVersion.ABSENT)
    metadata: Mapping[str, str] = blob.metadata or {}
    generation, rerender = metadata.get(OF_SOURCE_GENERATION, ""), metadata.get(OF_RERENDER, "0")
    is_of_video = metadata.get(OF_SOURCE) == identity.source.name
    if not is_of_video or not generation.isdecimal() or not rerender.isdecimal():
        raise PermanentError(
            ErrorCode.RESULT_EXISTS,
            f"{object_names.owner_name(identity.source.name)} was not published: a result named "
            f"{object_names.owner_name(name)} "
            "is there already and was not made from it. Upload the video under another name, or ask the operator "
            "of De-facer to remove that result.",
        )
    if metadata.get(OF_JOB) == identity.job:
        return PublishedObject(PublishedVersion.OURS, blob)
    is_older = (int(generation), int(rerender)) < (identity.source.generation, request_generation(identity))
    return PublishedObject(PublishedVersion.OLDER if is_older else PublishedVersion.NEWER, blob)


def publish_object(
    identity: JobIdentity, name: str, made: ObjectRef, progress: objects.TransferCallback
) -> ObjectRef | None:
    """Copy an object of the work bucket to the output bucket once, in place of nothing or of an older version.

    Returns the version that the job has published, now or before; None if a newer one is there and stays. Raises
    PermanentError as `compare_with_published` does, and if the object to copy is gone.
    """
    for _ in range(objects.MAX_CAS_RETRIES):
        there = compare_with_published(identity, name)
        if there.version is PublishedVersion.NEWER:
            return None
        if there.version is PublishedVersion.OURS:
            return objects.reference(there.blob)
        generation = int(there.blob.generation) if there.blob else 0
        metadata = {
            OF_JOB: identity.job,
            OF_SOURCE: identity.source.name,
            OF_SOURCE_GENERATION: str(identity.source.generation),
            **({OF_RERENDER: str(request_generation(identity))} if identity.request else {}),
        }
        try:
            return objects.copy(
                made,
                settings().output_bucket,
                name,
                generation=generation,
                metadata=metadata,
                progress=progress,
            )
        except objects.AlreadyWrittenError:
            continue  # another job published first: compare with its version
    raise RetryableError(
        f"the published object changed {objects.MAX_CAS_RETRIES} times while it was replaced"
    )


def request_generation(identity: JobIdentity) -> int:
    """Return the generation of the re-render request; 0 for the job of an upload."""
    return identity.request.generation if identity.request else 0


def roll_back_publication(identity: JobIdentity) -> None:
    """Delete what the job has published: it failed, or was erased, while it was being published."""
    for name in (identity.report, identity.result):
        blob = objects.find_blob(settings().output_bucket, name)
        if blob is not None and (blob.metadata or {}).get(OF_JOB) == identity.job:
            objects.delete(objects.reference(blob))
