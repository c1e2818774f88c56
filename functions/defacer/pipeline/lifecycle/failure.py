"""Fail a job: record the failure once, and announce it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from defacer.pipeline import log, programming_errors
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed, JobEvent, JobEventData, Verdict
from defacer.pipeline.errors import MalformedMessageError, PermanentError, RetryableError
from defacer.pipeline.lifecycle import verdict
from defacer.pipeline.lifecycle.cleanup import clean_up
from defacer.pipeline.lifecycle.events import _publish
from defacer.pipeline.lifecycle.job_state import ANNOUNCED, ERASED, _is_erased, is_published, source_of_job
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

MAX_CAS_RETRIES = 5


@contextmanager
def fail_job_on_permanent_error(
    job: str,
    stage: str,
    source: ObjectRef | None = None,
    is_past: Callable[[str], bool] = is_published,
    piece: str = "",
) -> Iterator[None]:
    """Fail the job if the block raises a PermanentError, which then has been dealt with.

    A programming error in the block fails it too, after a few attempts at the same `piece` (see `bugs.counted`).

    `is_past` tells whether a quicker delivery has brought the job past this stage: then the error is only what
    this one met by being late, such as an input that was deleted because nobody needed it any more. The message
    comes back, and finds out at its start that it is too late, and what of its own is to be deleted.
    """
    with log.bound(job=job):
        try:
            with programming_errors.counted(job, stage, piece):
                yield
        except MalformedMessageError:
            raise
        except PermanentError as error:
            if is_past(job):
                raise RetryableError(
                    "the job is past this stage: what this one met does not matter"
                ) from error
            if not fail_job(job, stage, error, source):
                # Whoever publishes it may die, and this may be the only message that is left.
                raise RetryableError("the job is being published: the message comes back") from error


def fail_job(job: str, stage: str, error: PermanentError, source: ObjectRef | None = None) -> bool:
    """End the job, unless it is being published: then what went wrong does not matter, and this returns False.

    The first reason counts. `source` is needed only where there may be no manifest yet that names it.
    """
    source = source_of_job(job) or source
    failed = Failed(job=job, source=source, stage=stage, code=error.code, message=str(error))
    said = verdict.decide(Verdict(job=job, end="fail", failed=failed))
    if said.end == "fail" and said.failed is not None:
        log.error("the job failed", error, stage=stage)
        record_failure(said.failed)
        return True
    log.info("the job is being published: what this one met does not matter", code=error.code)
    return False


def record_failure(failed: Failed) -> None:
    """What the verdict "fail" asks for: `failed.json`, the event, the clean-up."""
    name, data = object_names.failed(failed.job), failed.model_dump_json(indent=2).encode()
    try:
        objects.write_once(settings().work_bucket, name, data)
    except objects.AlreadyWrittenError:
        log.info("the job had failed already")
    _announce_failure(failed.job)


def mark_erased(job: str) -> None:
    """End the job with a `failed.json` that says nothing about it, in place of one that is there already.

    Whoever is still at it, or gets a message of it, finds this, stops and cleans up. So it has to stay as long as
    Pub/Sub may keep such a message. There is no event: it would name what is being erased.
    """
    name = object_names.failed(job)
    message = (
        "It was erased on request. Only this note is left, which keeps late messages from starting it again."
    )
    failed = Failed(job=job, source=None, stage="erase", code=ERASED, message=message)
    for _ in range(MAX_CAS_RETRIES):
        there = objects.find(settings().work_bucket, name)
        if there is not None and _is_erased(there):
            return
        try:
            objects.replace(
                settings().work_bucket,
                name,
                failed.model_dump_json(indent=2).encode(),
                generation=int(there.generation) if there else 0,
                metadata={**ANNOUNCED, ERASED: "yes"},
            )
        except objects.AlreadyWrittenError:
            continue
        return
    raise RetryableError(f"failed.json was written by others {MAX_CAS_RETRIES} times: try again")


def _announce_failure(job: str) -> None:
    """Tell why the job failed, then note on `failed.json` that it was told and cleaned up after."""
    try:
        recorded = objects.find_json(settings().work_bucket, object_names.failed(job), Failed)
    except PermanentError as error:
        log.error("a job failed, and why can't be read: there is nothing to tell", error)
        clean_up(job)
        return
    if recorded is None:
        raise RetryableError("failed.json is gone between writing and reading it: the message comes back")
    failed, ref = recorded
    if failed.code == ERASED:
        clean_up(job)
        return
    channel = object_names.channel_of_input(failed.source.name) if failed.source else None
    if failed.source is None or channel is None:
        log.error("a job failed of which no manifest is left: there is no channel to tell")
    else:
        data = JobEventData(
            job=job, channel=channel, source=failed.source, code=failed.code, message=failed.message
        )
        _publish(JobEvent(id=f"{job}-failed", type="job.failed", subject=job, data=data))
    clean_up(job)
    objects.mark(ref, ANNOUNCED)
