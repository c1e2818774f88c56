"""A job's ends: is it over, fail it, tell the world. Everything here may be done twice."""

from google.cloud.storage import Blob

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import FacesHead
from defacer.pipeline.errors import MalformedMessageError, PermanentError
from defacer.pipeline.lifecycle import ownership
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

ANNOUNCED = {"announced": "yes"}
ERASED = "erased"
TARGET_GONE = "target-gone"


def is_published(job: str) -> bool:
    return objects.find(settings().work_bucket, object_names.published(job)) is not None


def has_failed(job: str) -> bool:
    """Whether the job has failed. If whoever failed it died before telling, this tells."""
    failed = objects.find(settings().work_bucket, object_names.failed(job))
    if failed is not None and not failed.metadata:
        from defacer.pipeline.lifecycle.failure import _announce_failure

        _announce_failure(job)
    return failed is not None


def detection_is_over(job: str) -> bool:
    """Whether nobody needs findings of the job any more: looked at in the order in which that comes about."""
    return is_linked(job) or is_over(job)


def is_over(job: str) -> bool:
    return is_published(job) or has_failed(job)


def is_linked(job: str) -> bool:
    """Whether the job's faces are linked across its segments: then nobody needs its embeddings any more."""
    return objects.find(settings().work_bucket, object_names.faces(job)) is not None


def redaction_dispatched(job: str) -> bool:
    """Whether the linked faces have been handed on to be hidden: no message of the step "detect" matters now."""
    return is_linked(job) and objects.find(settings().work_bucket, object_names.link_lease(job)) is None


def find_manifest(job: str) -> objects.Stored[Manifest] | None:
    return objects.find_json(settings().work_bucket, object_names.manifest(job), Manifest)


def try_read_manifest(job: str) -> objects.Stored[Manifest] | None:
    """As `find_manifest`, and None for one that can't be read: for what has to end a job, or to erase it."""
    try:
        return find_manifest(job)
    except PermanentError:
        return None


def source_of_job(job: str) -> ObjectRef | None:
    """The job's video as its manifest names it; None if there is no manifest that can be read."""
    found = try_read_manifest(job)
    return found[0].source if found else None


def load_verified_manifest(job: str, index: int, ref: ObjectRef) -> Manifest:
    """The manifest that a message names. Raises MalformedMessageError if it is not this job's and segment's.

    Raises PermanentError if it is gone, or is none that ingest writes.
    """
    ownership.require_job_object(job, ref, object_names.manifest(job))
    manifest = objects.read_json(ref, Manifest)
    if manifest.job != job or index >= len(manifest.segments):
        raise MalformedMessageError(
            f"a message for segment {index} of job {job} names the manifest {ref}, which has "
            f"{len(manifest.segments)} segments of job {manifest.job}"
        )
    ownership.require_job_objects(manifest)
    return manifest


def read_faces(job: str, ref: ObjectRef | None) -> tuple[bytes, FacesHead]:
    """The faces that a message names, as they are stored, and their head: all of them would fill the memory.

    Raises MalformedMessageError if they are not this job's, PermanentError if they are gone or no such document.
    """
    ref = ownership.require_job_object(job, ref, object_names.faces(job))
    data = objects.read(ref)
    return data, objects.parse_object(data.partition(b',"shots":')[0] + b"}", ref, FacesHead)


def _is_erased(failed: Blob) -> bool:
    return ERASED in (failed.metadata or {})
