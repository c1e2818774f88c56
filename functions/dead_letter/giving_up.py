"""A message that was given up: find its job, and fail it, unless it has come to an end without it."""

from functions.pipeline import jobs, layout, log, messages
from functions.pipeline.claim import ClaimedElsewhereError, Terms, hold
from functions.pipeline.contracts import Contract, ObjectRef, SegmentDone, SegmentTask
from functions.pipeline.errors import MalformedMessageError, PermanentError, RetryableError
from functions.pipeline.messages import Message
from functions.pipeline.settings import settings

DELIVERIES = "CloudPubSubDeadLetterSourceDeliveryCount"
STAGES = {messages.SEGMENT_TASK: "worker", messages.SEGMENT_DONE: "merge"}


class _Job(Contract):
    """What message was given up, in terms of its job. `source` is known here for an upload only."""

    id: str
    stage: str
    source: ObjectRef | None


def give_up(message: Message) -> None:
    """Fail the job of this message, unless it is published or has failed.

    Raises MalformedMessageError for a message without a job, RetryableError while somebody is publishing it.
    """
    job = _job_of(message)
    if job is None:
        log.info("ignored a message about something that was never a job")
        return
    with log.bound(job=job.id):
        if jobs.is_over(job.id):
            log.info("the job came to an end without this message", stage=job.stage)
            jobs.forget_targets(job.id)  # whoever ended it may have died before it got to that
            return
        # Whoever publishes holds this claim. With it in hand, nobody publishes what is failed here.
        terms = Terms(message.id, settings().lease_seconds, settings().deadline_seconds)
        try:
            with hold(settings().work_bucket, layout.merge_claim(job.id), terms):
                if jobs.is_over(job.id):
                    # Raised inside, so that the claim stays: a merge that has to wind up is known by it.
                    raise RetryableError("the job came to an end in this very moment: look again")
                jobs.fail(job.id, job.stage, _sentence(job, message), job.source)
        except ClaimedElsewhereError as error:
            raise RetryableError("the job is being published right now: wait for how that ends") from error


def _job_of(message: Message) -> _Job | None:
    kind = message.attributes.get(messages.TYPE)
    if kind == messages.SEGMENT_TASK:
        return _Job(id=messages.parse(message, SegmentTask).job, stage=STAGES[kind], source=None)
    if kind == messages.SEGMENT_DONE:
        return _Job(id=messages.parse(message, SegmentDone).job, stage=STAGES[kind], source=None)
    if kind is not None:
        raise MalformedMessageError(f"message {message.id} has the type {kind!r}: expected {list(STAGES)}")
    source = messages.parse_upload(message)
    if source is None or source.bucket != settings().intake_bucket or not layout.parse_video(source.name):
        return None
    return _Job(
        id=layout.job_id(source.bucket, source.name, source.generation), stage="ingest", source=source
    )


def _sentence(job: _Job, message: Message) -> PermanentError:
    found = jobs.find_manifest(job.id)
    source = found[0].source if found else job.source
    name = f"gs://{source.bucket}/{source.name}" if source else "A video"
    tries = message.attributes.get(DELIVERIES, "many")
    return PermanentError(
        "gave-up",
        f"{name} was not published: {job.stage} did not get done in {tries} tries. Upload it again; if that "
        f"ends the same way, ask whoever runs De-facer to look for job {job.id} in the logs.",
    )
