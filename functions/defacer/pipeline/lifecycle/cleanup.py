"""Delete what a finished job no longer needs."""

from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import lease
from defacer.pipeline.lifecycle.job_state import TARGET_GONE, _is_erased, try_read_manifest
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


def clean_up(job: str) -> None:
    """Delete what nobody needs of a job that is over, its embeddings first. Whoever comes late does it again.

    Its manifest and its end stay, and the work if the policy says so, but never embeddings. Of an erased job only
    the mark stays, and no manifest that keeps somebody whose pictures were gone before it was there. The claim on the
    merge stays where it says that a published job is to be wound up, and where whoever erases the job may hold it.
    """
    bucket = settings().work_bucket
    there = {blob.name: blob for blob in objects.list_blobs(bucket, object_names.job_prefix(job))}
    stays = {object_names.failed(job), object_names.merge_lease(job)}
    is_erased = object_names.failed(job) in there and _is_erased(there[object_names.failed(job)])
    if not is_erased:
        stays |= {object_names.verdict(job), object_names.published(job)}
        if object_names.failed(job) not in there or not names_forgotten_person(job):
            stays.add(object_names.manifest(job))
        found = try_read_manifest(job) if object_names.manifest(job) in there else None
        if found is not None and found[0].policy.keep_intermediates:
            work = (
                object_names.faces(job),
                object_names.segments_prefix(job),
                object_names.leases_prefix(job),
            )
            stays |= {name for name in there if name.startswith(work)}
    for name in sorted(
        there.keys() - stays, key=lambda name: (not object_names.holds_embeddings(name), name)
    ):
        objects.delete_any(bucket, name)
    if is_erased:
        lease.delete_expired(bucket, object_names.merge_lease(job))
    elif object_names.merge_lease(job) in there and object_names.published(job) not in there:
        objects.delete_any(bucket, object_names.merge_lease(job))


def names_forgotten_person(job: str) -> bool:
    try:
        failed = objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    except PermanentError:
        return False
    return failed is not None and failed[0].code == TARGET_GONE


def forget_embeddings(job: str) -> None:
    """Delete the targets' embeddings and those of every face that was seen: none outlives its use."""
    for prefix in (object_names.segment_detections_prefix(job), object_names.gallery_prefix(job)):
        objects.delete_all(settings().work_bucket, prefix)
