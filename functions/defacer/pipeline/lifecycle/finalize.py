"""Carry out the verdict of a job: publish it or roll it back, then announce it and clean up.

Every step can be interrupted and repeated by another process.

A rollback first deletes the made result. From then on no process can start to copy it to the output bucket, however
long it was paused, and the output bucket shows whether a copy was made before. A copy that is running in that moment
can still land. The process that made it finds the verdict afterwards and deletes the copy, and so does every later
message to merge. So a complete, checked result can be visible for a moment.
"""

from defacer.pipeline import log, programming_errors
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Published, Verdict
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import cleanup, events, failure, job_state, verdict
from defacer.pipeline.lifecycle.ownership import DerivedJobIdentity, JobIdentity
from defacer.pipeline.lifecycle.publishing import (
    PublishedVersion,
    compare_with_published,
    publish_object,
    roll_back_publication,
)
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

MAX_VERDICT_CHANGES = 8


def apply_verdict(identity: JobIdentity, progress: objects.TransferCallback) -> Published | None:
    """Publish or fail the job as its verdict says. Return None if it failed.

    Each round reads the job again: an erasure can land at any time, also while the result is copied.
    """
    for _ in range(MAX_VERDICT_CHANGES):
        name = object_names.published(identity.job)
        published = objects.find_json(settings().work_bucket, name, Published)
        if published is not None:
            return published.document
        found = verdict.find_verdict(identity.job)
        is_rolled_back = found is not None and found.document.state not in ("publishing", "published_pending")
        if not is_rolled_back and _roll_back_if_erased(identity):
            return None
        if found is None:
            raise RetryableError("verdict.json is gone")
        decided, ref = found
        if decided.state == "publishing":
            try:
                _publish_result(identity, decided, ref, progress)
            except RetryableError:
                _roll_back_if_erased(identity)  # no later message would know where the copy is
                raise
        elif decided.state == "published_pending":
            return _record_published(identity, decided.result)
        elif decided.state == "rolling_back_pending":
            _decide_rollback(identity, decided, ref)
        elif decided.state == "rolling_back":
            _roll_back(identity, decided, ref)
        elif decided.failed is not None:
            roll_back_publication(identity)
            failure.record_failure(decided.failed)
            return None
    raise RetryableError(f"verdict.json changed {MAX_VERDICT_CHANGES} times")


def abort_job(
    job: str,
    stage: str,
    error: PermanentError,
    progress: objects.TransferCallback,
    source: ObjectRef | None = None,
) -> None:
    """Fail the job even if it is being published. If it is published already, finalize it.

    The caller holds the lease on the merge, so that a healthy merge is not disturbed.
    """
    if failure.fail_job(job, stage, error, source):
        return
    found = verdict.find_verdict(job)
    identity = _identity_of(job, found.document if found else None)
    if found is not None and found.document.state == "publishing":
        failed = failure.failure_record(job, identity.source, error, stage)
        verdict.change_verdict(*found, state="rolling_back_pending", failed=failed)
    published = apply_verdict(identity, progress)
    if published is not None:
        log.info("the job was published already", stage=stage)
        finalize(identity, published)


def roll_back_late_copy(job: str) -> None:
    """Delete what a failed job has published: its copy was running when the job was rolled back."""
    try:
        found = verdict.find_verdict(job)
    except PermanentError:  # nothing names what the job published
        return
    decided = found.document if found else None
    if decided is None or decided.state != "failing" or decided.result is None or decided.source is None:
        return
    identity = DerivedJobIdentity.from_source(job, decided.source, decided.request)
    if identity is not None:
        roll_back_publication(identity)


def finalize(identity: JobIdentity, published: Published) -> None:
    """Announce a published job, delete its source if the policy says so, and clean up. The caller's lease stays."""
    manifest = identity if isinstance(identity, Manifest) else None
    events.announce_completed(identity, published, len(manifest.segments) if manifest else None)
    if manifest is not None and manifest.policy.source_retention == "delete":
        objects.delete(identity.source)
    cleanup.clean_up(identity.job)


def _identity_of(job: str, decided: Verdict | None) -> JobIdentity:
    """Return the manifest or, without a readable one, the identity from the verdict."""
    found = job_state.try_read_manifest(job)
    if found is not None:
        return found.document
    identity = (
        DerivedJobIdentity.from_source(job, decided.source, decided.request)
        if decided and decided.source
        else None
    )
    if identity is None:
        raise RetryableError("a job without a manifest is being published")
    return identity


def _roll_back_if_erased(identity: JobIdentity) -> bool:
    """Delete what the job published if it was erased, and return whether it was."""
    if not job_state.has_failed(identity.job):
        return False
    roll_back_publication(identity)
    cleanup.clean_up(identity.job)
    return True


def _publish_result(
    identity: JobIdentity, decided: Verdict, ref: ObjectRef, progress: objects.TransferCallback
) -> None:
    """Publish result and report: to "published_pending", or to "rolling_back" if a foreign object is in the way."""
    result = None  # a newer version is there
    try:
        with programming_errors.record_bugs(identity.job, "merge"):
            if decided.result is not None and decided.report is not None:
                # A foreign object in the report's place prevents both.
                compare_with_published(identity, identity.report)
                result = publish_object(identity, identity.result, decided.result, progress)
                if result is not None:
                    publish_object(identity, identity.report, decided.report, progress)
    except PermanentError as error:
        failed = failure.failure_record(identity.job, identity.source, error)
        verdict.change_verdict(decided, ref, state="rolling_back", failed=failed)
        return
    verdict.change_verdict(decided, ref, state="published_pending", result=result)


def _record_published(identity: JobIdentity, result: ObjectRef | None) -> Published:
    """Write `published.json` once, and return the one that counts."""
    published = Published(job=identity.job, result=result, report=identity.report, superseded=result is None)
    name, data = object_names.published(identity.job), published.model_dump_json(indent=2).encode()
    try:
        objects.write_once(settings().work_bucket, name, data)
    except objects.AlreadyWrittenError as error:
        return objects.read_json(error.existing, Published)
    # Only one process gets here. Alerts and costs count this line.
    seconds = identity.video.duration_seconds if isinstance(identity, Manifest) else None
    log.info("published", video_seconds=seconds, superseded=published.superseded)
    return published


def _decide_rollback(identity: JobIdentity, decided: Verdict, ref: ObjectRef) -> None:
    """Delete the made result. Then to "publishing" if it is published already, else to "rolling_back"."""
    if decided.result is not None:
        objects.delete(decided.result)
    try:
        version = compare_with_published(identity, identity.result).version
    except PermanentError:  # a foreign object is in its place
        version = PublishedVersion.ABSENT
    if version in (PublishedVersion.OURS, PublishedVersion.NEWER):
        verdict.change_verdict(decided, ref, state="publishing", failed=None)
    else:
        verdict.change_verdict(decided, ref, state="rolling_back")


def _roll_back(identity: JobIdentity, decided: Verdict, ref: ObjectRef) -> None:
    """Delete the made objects, then the published ones: to "failing"."""
    for made in (decided.result, decided.report):
        if made is not None:
            objects.delete(made)
    roll_back_publication(identity)
    verdict.change_verdict(decided, ref, state="failing")
