"""Fail a job: record the failure once, announce it, and clean up."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from defacer.pipeline import log, programming_errors
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed, Verdict
from defacer.pipeline.errors import MalformedMessageError, PermanentError, RetryableError
from defacer.pipeline.lifecycle import cleanup, events, job_state, step_marks, verdict
from defacer.pipeline.lifecycle.job_state import ANNOUNCED, ERASED, JobRecord
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


@contextmanager
def fail_job_on_permanent_error(
    job: str,
    stage: str,
    source: ObjectRef | None = None,
    stage_already_passed: Callable[[JobRecord], bool] = lambda record: record.is_published,
    work_key: str = "",
) -> Iterator[None]:
    """Fail the job if the block raises a PermanentError, which is handled then.

    A programming error in the block fails the job too, after MAX_ATTEMPTS attempts at the work that `work_key` names
    (see `programming_errors.record_bugs`).

    Raises RetryableError if `stage_already_passed` by now: then another delivery was quicker, and this one met a
    consequence, such as an input that was deleted after its last use. The redelivered message finds that at its
    start, and deletes what this delivery wrote.
    """
    with log.bind_fields(job=job):
        try:
            with programming_errors.record_bugs(job, stage, work_key):
                yield
        except MalformedMessageError:
            raise
        except PermanentError as error:
            if stage_already_passed(job_state.read_job(job)):
                finish_if_over(job)  # the process that ended the job can have died before it marked the steps
                raise RetryableError("the job has passed this stage, so the error does not count") from error
            if not fail_job(job, stage, error, source):
                # The process that publishes the job can die, and this message can be the last one.
                raise RetryableError("the job is being published") from error


def fail_job(job: str, stage: str, error: PermanentError, source: ObjectRef | None = None) -> bool:
    """Fail the job, and return True. If it is being published the error does not count: return False.

    The first error is recorded. `source` is used if no manifest names the video yet.
    """
    source = job_state.source_of_job(job) or source
    failed = failure_record(job, source, error, stage)
    decided = verdict.write_verdict_once(Verdict(job=job, state="failing", failed=failed))
    if decided.state == "failing" and decided.failed is not None:
        log.error("the job failed", error, stage=stage)
        record_failure(decided.failed)
        return True
    log.info("the job is being published, so the error does not count", code=error.code)
    return False


def failure_record(job: str, source: ObjectRef | None, error: PermanentError, stage: str = "merge") -> Failed:
    """Return the record of this error for `failed.json`."""
    return Failed(job=job, source=source, stage=stage, code=error.code, message=str(error))


def record_failure(failed: Failed) -> None:
    """Carry out the verdict "failing": write `failed.json`, announce the failure and clean up."""
    name, data = object_names.failed(failed.job), failed.model_dump_json(indent=2).encode()
    try:
        objects.write_once(settings().work_bucket, name, data)
    except objects.AlreadyWrittenError:
        log.info("the job had failed already")
    step_marks.mark_steps_over(failed.job, *step_marks.STEPS)  # at once, so that the workers stop
    announce_failure(failed.job)


def finish_if_over(job: str) -> bool:
    """Return whether the job is over, and finish it in that case."""
    is_over = job_state.is_over(job)
    if is_over:
        finish_ended_job(job)
    return is_over


def finish_ended_job(job: str) -> None:
    """Finish a job that is over: announce a pending failure, and clean up."""
    if job_state.has_pending_failure(job):
        announce_failure(job)
    else:
        cleanup.clean_up(job)


def announce_failure(job: str) -> None:
    """Publish the event of the failure and clean up, then mark `failed.json` as announced."""
    try:
        recorded = objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    except PermanentError as error:
        log.error("failed.json can't be read, so the failure is not announced", error)
        cleanup.clean_up(job)
        return
    if recorded is None:
        raise RetryableError("failed.json was deleted while it was read")
    failed, ref = recorded
    if failed.code != ERASED:
        events.announce_failed(failed)
    cleanup.clean_up(job)
    if failed.code != ERASED:
        objects.mark(ref, ANNOUNCED)


def mark_erased(job: str) -> None:
    """Write a `failed.json` that says nothing about the job, in place of one that is there.

    A worker that is still writing, or that receives a late message, detects this mark and deletes its output. So the
    mark has to stay for as long as Pub/Sub can keep a message. No event is published: it would name the erased job.
    """
    name = object_names.failed(job)
    message = (
        "The job was erased on request. This note stays, so that late messages do not start the job again."
    )
    failed = Failed(job=job, source=None, stage="erase", code=ERASED, message=message)
    for _ in range(objects.MAX_CAS_RETRIES):
        record = job_state.read_job(job)
        try:
            if not record.is_erased:
                objects.replace(
                    settings().work_bucket,
                    name,
                    failed.model_dump_json(indent=2).encode(),
                    generation=record.failed.generation if record.failed else 0,
                    metadata={**ANNOUNCED, ERASED: "yes"},
                )
        except objects.AlreadyWrittenError:
            continue
        step_marks.mark_steps_over(job, *step_marks.STEPS)
        return
    raise RetryableError(
        f"failed.json was changed {objects.MAX_CAS_RETRIES} times while the job was erased. Run the command again."
    )
