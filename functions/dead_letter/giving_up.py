"""A message that was given up: find its job, and fail it, unless it has come to an end without it."""

from functions.pipeline import belonging, ending, jobs, layout, log, messages, store
from functions.pipeline.claim import delivery_terms, hold
from functions.pipeline.contracts import Contract, JobEvent, ObjectRef, SegmentDone, SegmentTask
from functions.pipeline.errors import MalformedMessageError, PermanentError
from functions.pipeline.messages import Message
from functions.pipeline.settings import settings

DELIVERIES = "CloudPubSubDeadLetterSourceDeliveryCount"
STAGES = {messages.SEGMENT_TASK: "worker", messages.SEGMENT_DONE: "merge"}
# How often a segment's message has been here, as when no worker was free; after so often its job fails after all.
WAITED, MOST_WAITS = "waited", 3
EVENTS = "job."  # how the types of job events begin


class _Job(Contract):
    """What message was given up, in terms of its job. `source` is known here for an upload only.

    `step` is that of a message about a segment, `task` the message if it asks for work on it.
    """

    id: str
    stage: str
    source: ObjectRef | None
    step: str | None
    task: SegmentTask | None = None


def give_up(message: Message) -> None:
    """Fail the job of this message, unless it is published, has failed, or has gone on without this message.

    A segment is not given up so soon: a backlog is no fault of it, and the worker itself ends what fails again and
    again (its claim counts that). Its message starts anew.

    Raises MalformedMessageError for a message without a job, RetryableError while somebody is publishing it.
    """
    if message.attributes.get(messages.TYPE, "").startswith(EVENTS):
        event = messages.parse(message, JobEvent)
        log.error(
            "the webhook's receiver was never told of a job's end", job=event.data.job, event=event.type
        )
        return
    job = _job_of(message)
    if job is None:
        log.info("ignored a message about something that was never a job")
        return
    with log.bound(job=job.id):
        claim = layout.merge_claim(job.id)
        if jobs.has_failed(job.id) or (
            jobs.is_published(job.id) and store.find(settings().work_bucket, claim) is None
        ):
            log.info("the job came to an end without this message", stage=job.stage)
            jobs.clean_up(job.id)  # this message's holder may have died when all others' was gone
            return
        if job.step == "find" and jobs.is_handed_on(job.id) and not jobs.is_published(job.id):
            log.info("the job went on without this message", stage=job.stage)
            jobs.forget_embeddings(job.id)  # this message's worker may have died when the others' were gone
            return
        if job.task is not None and _waits(message) < MOST_WAITS:
            _start_anew(job.task, message)
            return
        # Whoever publishes holds this claim: a healthy merge is not disturbed, the message waits for how it ends.
        with hold(settings().work_bucket, claim, delivery_terms(message.id)) as held:
            ending.call_off(job.id, job.stage, _sentence(job, message), held.keep, job.source)


def _job_of(message: Message) -> _Job | None:
    kind = message.attributes.get(messages.TYPE)
    if kind in STAGES:
        model = SegmentTask if kind == messages.SEGMENT_TASK else SegmentDone
        segment = messages.parse(message, model)
        belonging.require_own(segment.job, segment.manifest, layout.manifest(segment.job))
        task = segment if isinstance(segment, SegmentTask) else None
        return _Job(id=segment.job, stage=STAGES[kind], source=None, step=segment.step, task=task)
    if kind is not None:
        raise MalformedMessageError(f"message {message.id} has the type {kind!r}: expected {list(STAGES)}")
    source = messages.parse_upload(message)
    if (
        source is None
        or source.bucket != settings().intake_bucket
        or not layout.channel_of_input(source.name)
    ):
        return None
    job = layout.job_id(source.bucket, source.name, source.generation)
    return _Job(id=job, stage="ingest", source=source, step=None)


def _waits(message: Message) -> int:
    waited = message.attributes.get(WAITED, "0")
    return int(waited) if waited.isdecimal() and waited.isascii() else MOST_WAITS


def _start_anew(task: SegmentTask, message: Message) -> None:
    attributes = {WAITED: str(_waits(message) + 1)}
    messages.publish(settings().segments_topic, messages.SEGMENT_TASK, [task], **attributes)
    log.warning("a segment's message gave up and starts anew", segment=task.index, step=task.step)


def _sentence(job: _Job, message: Message) -> PermanentError:
    source = jobs.source_of(job.id) or job.source
    name = f"gs://{source.bucket}/{source.name}" if source else "A video"
    tries = message.attributes.get(DELIVERIES, "many")
    return PermanentError(
        "gave-up",
        f"{name} was not published: {job.stage} did not get done in {tries} tries. Upload it again; if that "
        f"ends the same way, ask whoever runs De-facer to look for job {job.id} in the logs.",
    )
