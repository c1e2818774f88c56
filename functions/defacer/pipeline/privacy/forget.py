"""Forget a person of a channel: delete the pictures and the name, fail running jobs, and hide the person in results.

The order matters. First the target pictures are deleted, so no new job keeps the person. Then running jobs that keep
the person fail. The reports name the results that show the person. While their sources exist, those results can be
re-rendered with the person hidden. Each step can be repeated: documents that lead to an object are changed after it.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from google.cloud.storage import Blob

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure, finalize, job_state
from defacer.pipeline.media_engine import MediaEngine
from defacer.pipeline.privacy.job_lookup import Say, hold_publish_lease
from defacer.pipeline.privacy.person_data import (
    PersonData,
    VisibleIn,
    find_person_data,
    pictures,
    remove_person,
    replacement_of,
)
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

Removed = Callable[[ObjectRef], None]


def withdraw(channel: str, person: str, removed: Removed, say: Say) -> PersonData:
    """Delete the pictures, fail running jobs and remove the name from documents. Return the remaining data."""
    delete_versions(pictures(channel, person), removed)
    # Before the jobs fail, because an unannounced failure will be announced.
    data = _remove_name(find_person_data(channel, person), removed)
    for job in data.running_jobs:
        with hold_publish_lease(job, say) as held:
            if not job_state.is_over(job):
                finalize.abort_job(job, "forget", _withdrawn(job), held.renew)
            if job_state.has_failed(job):
                failure.finish_ended_job(job)
                say(f"Job {job} was running and failed. Upload its video again.")
    return _remove_name(find_person_data(channel, person), removed) if data.running_jobs else data


def _remove_name(data: PersonData, removed: Removed) -> PersonData:
    """Delete the orphaned objects, and remove the name from the documents that stay."""
    delete_versions(data.orphaned_objects, removed)
    for ref, document in data.documents_naming_person:
        _replace(ref, document)
    return data


def rerender_hidden(shown: VisibleIn, person: str, engine: MediaEngine) -> None:
    """Replace the result by one with the person hidden, then the report. Raise PermanentError on failure."""
    report = remove_person(shown.report, person)
    there = objects.find_blob(shown.ref.bucket, report.result)
    if there is None or not _is_of(there, report.job):
        raise PermanentError(
            ErrorCode.RESULT_CHANGED,
            f"{shown.result} is not the result that its report is about: a newer upload is being published, or it "
            "was deleted or replaced by hand.",
        )
    with tempfile.TemporaryDirectory(prefix="defacer-forget-") as folder:
        out = Path(folder) / "result.mp4"
        report = engine.rerender(report, _replacement(report), out)
        result = _replace(objects.reference(there), out)
    found = objects.find_json(settings().work_bucket, object_names.published(report.job), Published)
    if found is not None:
        _replace(
            found.ref, found.document.model_copy(update={"result": result}).model_dump_json(indent=2).encode()
        )
    _replace(shown.ref, report.to_bytes())


def delete_result(shown: VisibleIn, removed: Removed) -> None:
    """Delete all versions of the result, then of its report, but nothing of a newer upload."""
    for name in (shown.report.result, shown.ref.name):
        delete_versions(_versions(shown.ref.bucket, name, shown.report.job), removed)


def delete_versions(refs: tuple[ObjectRef, ...], removed: Removed) -> None:
    """Delete these versions, in this order."""
    for ref in refs:
        objects.delete(ref)
        removed(ref)


def _replace(ref: ObjectRef, data: Path | bytes) -> ObjectRef:
    """Replace a version, with the same content type and metadata, and delete all older versions of its job."""
    there = objects.find_blob(ref.bucket, ref.name, ref.generation)
    if there is None:
        raise RetryableError("another program changed an object at the same time")
    try:
        new = objects.replace(
            ref.bucket,
            ref.name,
            data,
            there.content_type,
            generation=ref.generation,
            metadata=there.metadata,
        )
    except objects.AlreadyWrittenError as error:
        raise RetryableError("another program changed an object at the same time") from error
    for version in _versions(ref.bucket, ref.name, (there.metadata or {}).get(object_names.OF_JOB)):
        if version.generation < new.generation:
            objects.delete(version)
    return new


def _versions(bucket: str, name: str, job: str | None) -> tuple[ObjectRef, ...]:
    """Return all versions of the object that this job published (None: that no job published)."""
    blobs = objects.list_versions(bucket, name)
    return tuple(objects.reference(blob) for blob in blobs if blob.name == name and _is_of(blob, job))


def _is_of(blob: Blob, job: str | None) -> bool:
    return (blob.metadata or {}).get(object_names.OF_JOB) == job


def _replacement(report: JobReport) -> bytes | None:
    ref = replacement_of(report) if report.policy.mode == "image" else None
    return objects.read(ref) if ref is not None else None


def _withdrawn(job: str) -> PermanentError:
    found = job_state.try_read_manifest(job)
    name = object_names.owner_name(found.document.source.name) if found else "A video"
    advice = found.document.advice if found else "Upload the video again"
    return PermanentError(
        ErrorCode.PERSON_FORGOTTEN,
        f"{name} was not published: a person in it withdrew their consent to stay visible. {advice}.",
    )
