"""Delete the objects that a job needs no more."""

from contextlib import suppress

from defacer.pipeline import admission
from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import lease, step_marks
from defacer.pipeline.lifecycle.job_state import TARGET_GONE, JobRecord, source_of_job, try_read_manifest
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


def clean_up(job: str) -> None:
    """Delete what a job that is over needs no more, embeddings first. A function that wrote late calls this again.

    The manifest and the records of the end stay. With the policy `keep_intermediates`, the work of the steps stays too,
    but never embeddings. Of an erased job only the erasure mark stays. If the job failed because a target picture was
    removed, its manifest goes, because it names the person. The lease on the merge stays while a published job is not
    finalized, and while the command that erases the job can hold it. In the end the channel's next upload
    gets its turn.
    """
    bucket, channel = settings().work_bucket, _channel_of(job)
    step_marks.mark_steps_over(job, *step_marks.STEPS)
    blobs = objects.list_blobs(bucket, object_names.job_prefix(job))
    record, names = JobRecord.from_blobs(job, blobs), {blob.name for blob in blobs}
    kept = {object_names.failed(job), object_names.merge_lease(job)}
    if not record.is_erased:
        kept |= {object_names.verdict(job), object_names.published(job)}
        if not record.has_failed or not names_forgotten_person(job):
            kept.add(object_names.manifest(job))
        found = try_read_manifest(job) if record.manifest is not None else None
        if found is not None and found.document.policy.keep_intermediates:
            kept |= {name for name in names if name.startswith(_work_prefixes(job))}
    for name in sorted(names - kept, key=lambda name: (not object_names.holds_embeddings(name), name)):
        objects.delete_any(bucket, name)
    if record.is_erased:
        lease.delete_expired(bucket, object_names.merge_lease(job))
    elif record.merge_lease is not None and not record.is_published:
        objects.delete_any(bucket, object_names.merge_lease(job))
    if channel is not None:
        admission.end_turn(job, channel)


def _channel_of(job: str) -> str | None:
    """Return the channel of a job by its manifest, or by its failure. The clock repairs the turn of any other job."""
    source = source_of_job(job)
    if source is None:
        with suppress(PermanentError):
            failed = objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
            source = failed.document.source if failed else None
    return object_names.channel_of_input(source.name) if source else None


def names_forgotten_person(job: str) -> bool:
    """Return whether the job failed because the pictures of a person in its manifest were removed."""
    try:
        failed = objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    except PermanentError:
        return False
    return failed is not None and failed.document.code == TARGET_GONE


def forget_embeddings(job: str) -> None:
    """Delete the embeddings of the targets and of all detections: none outlives its use."""
    step_marks.mark_steps_over(job, "detect")
    for prefix in (object_names.segment_detections_prefix(job), object_names.gallery_prefix(job)):
        objects.delete_all(settings().work_bucket, prefix)


def _work_prefixes(job: str) -> tuple[str, ...]:
    return object_names.faces(job), object_names.segments_prefix(job), object_names.leases_prefix(job)
