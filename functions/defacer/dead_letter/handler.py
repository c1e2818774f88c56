"""Handle a dead letter: requeue the message, or fail its job unless the job no longer needs the message."""

from defacer.pipeline import log, programming_errors
from defacer.pipeline.documents.base import Document, ObjectRef
from defacer.pipeline.documents.job_records import JobEvent
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import MalformedMessageError, PermanentError
from defacer.pipeline.lifecycle import cleanup, failure, finalize, job_state, ownership, rerender_request
from defacer.pipeline.lifecycle.job_state import JobRecord
from defacer.pipeline.lifecycle.lease import acquire_lease, lease_options_for
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.pubsub import Message
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import ConfirmationName
from defacer.pipeline.topology import MAX_OTHER_REQUEUES, MAX_TASK_REQUEUES

# Pub/Sub adds attributes with this prefix to a dead letter.
DEAD_LETTER = "CloudPubSubDeadLetter"
DELIVERIES = f"{DEAD_LETTER}SourceDeliveryCount"
STAGES = {pubsub.SEGMENT_TASK: "worker", pubsub.SEGMENT_DONE: "merge"}
# Attributes of a requeued message: how often it was requeued, and how often it was delivered before that.
REQUEUE_COUNT, DELIVERY_COUNT = "requeues", "deliveries"
EVENT_TYPE_PREFIX = "job."


class _LetterJob(Document):
    """The job of a dead letter. `source` is known here only if the message is about an upload or a request.

    `step` is set if the message is about a segment. `work_key` names that segment's step if the message is its task.
    The message came from `topic`, and is published there again up to `max_requeues` times.
    """

    id: str
    stage: str
    source: ObjectRef | None
    step: str | None
    topic: str
    max_requeues: int
    work_key: str = ""


def handle_dead_letter(message: Message) -> None:
    """Fail the job of this message, unless it is over or no longer needs the message.

    The message is requeued first: a backlog or an outage is not the job's fault, and a worker itself fails what fails
    again and again (the attempts in its lease).

    Raises MalformedMessageError for a message without a job, and RetryableError while the job is being published.
    """
    if message.attributes.get(pubsub.TYPE, "").startswith(EVENT_TYPE_PREFIX):
        event = pubsub.parse_message(message, JobEvent)
        log.error(
            "an event was not delivered to the webhook's receiver", job=event.data.job, event=event.type
        )
        return
    job = _job_of(message)
    if job is None:
        log.info("ignored a dead letter that is not about a job")
        return
    with failure.fail_job_on_permanent_error(
        job.id,
        "dead_letter",
        job.source,
        stage_already_passed=lambda record: record.is_published or _is_late_detection(job, record),
    ):
        record = job_state.read_job(job.id)
        if record.has_failed or record.is_finalized:
            log.info("the job ended without this message", stage=job.stage)
            # The holder of this message can have died after all others had cleaned up.
            finalize.roll_back_late_copy(job.id)
            failure.finish_ended_job(job.id)
            return
        if _is_late_detection(job, record) and not record.is_published:
            log.info("the job does not need this message any more", stage=job.stage)
            # The worker of this message can have died after the other embeddings were deleted.
            cleanup.forget_embeddings(job.id)
            return
        if requeues_so_far(message) < job.max_requeues:
            requeue(job, message)
            return
        # A merge that publishes holds this lease. It is not disturbed, and the message is redelivered.
        lease = object_names.merge_lease(job.id)
        with acquire_lease(settings().work_bucket, lease, lease_options_for(message.id)) as held:
            source = (rerender_request.video_of(job.source) or job.source) if job.source else None
            error = _exhausted_error(job, source, message)
            finalize.abort_job(job.id, job.stage, error, held.renew, source)


def requeues_so_far(message: Message) -> int:
    requeues = _parse_count(message, REQUEUE_COUNT, "0")
    return MAX_TASK_REQUEUES if requeues is None else requeues


def requeue(job: _LetterJob, message: Message) -> None:
    """Publish the message on its topic again."""
    own = {name: value for name, value in message.attributes.items() if not name.startswith(DEAD_LETTER)}
    counts = {REQUEUE_COUNT: str(requeues_so_far(message) + 1)}
    deliveries = _count_deliveries(message)
    if deliveries is not None:
        counts[DELIVERY_COUNT] = str(deliveries)
    pubsub.republish(job.topic, message.data, own | counts)
    log.warning("a dead letter was requeued", stage=job.stage, step=job.step)


def _is_late_detection(job: _LetterJob, record: JobRecord) -> bool:
    """Return whether the message is about detection in a job whose segments are being redacted."""
    return job.step == "detect" and record.is_linking_over


def _job_of(message: Message) -> _LetterJob | None:
    """Return the job that the message is about; None for an object that starts no job."""
    kind = message.attributes.get(pubsub.TYPE)
    if kind in STAGES:
        return _job_of_segment(message, kind)
    if kind == pubsub.REVIEW_CHECK:  # the next one comes in a few minutes
        return None
    if kind is not None:
        raise MalformedMessageError(f"message {message.id} has the type {kind!r}: expected {list(STAGES)}")
    source = pubsub.parse_upload(message)
    if source is None or source.bucket != settings().intake_bucket:
        return None
    confirmed = object_names.parse_confirmation(source.name)
    if confirmed is not None:
        return _job_of_confirmation(confirmed)
    if not object_names.channel_of_input(source.name):
        return None
    return _LetterJob(
        id=object_names.job_of(source),
        stage="ingest",
        source=source,
        step=None,
        topic=settings().uploads_topic,
        max_requeues=MAX_OTHER_REQUEUES,
    )


def _job_of_confirmation(name: ConfirmationName) -> _LetterJob | None:
    """Return the job that a person confirmed; None if it is not a job of this channel."""
    found = job_state.try_read_manifest(name.job)
    if found is None or found.document.channel != name.channel:
        return None
    return _LetterJob(
        id=name.job,
        stage="ingest",
        source=None,
        step=None,
        topic=settings().uploads_topic,
        max_requeues=MAX_OTHER_REQUEUES,
    )


def _job_of_segment(message: Message, kind: str) -> _LetterJob:
    segment = pubsub.parse_message(message, SegmentTask if kind == pubsub.SEGMENT_TASK else SegmentDone)
    ownership.require_job_object(segment.job, segment.manifest, object_names.manifest(segment.job))
    work_key, topic, max_requeues = "", settings().segments_done_topic, MAX_OTHER_REQUEUES
    if isinstance(segment, SegmentTask):
        work_key = object_names.segment_step(segment.step, segment.index, segment.subsegment)
        topic, max_requeues = settings().segments_topic, MAX_TASK_REQUEUES
    return _LetterJob(
        id=segment.job,
        stage=STAGES[kind],
        source=None,
        step=segment.step,
        topic=topic,
        max_requeues=max_requeues,
        work_key=work_key,
    )


def _count_deliveries(message: Message) -> int | None:
    """Return how often the message was delivered, all requeues included; None if it does not say."""
    before, now = _parse_count(message, DELIVERY_COUNT, "0"), _parse_count(message, DELIVERIES, "")
    return None if before is None or now is None else before + now


def _parse_count(message: Message, attribute: str, default: str) -> int | None:
    text = message.attributes.get(attribute, default)
    return int(text) if text.isdecimal() and text.isascii() else None


def _exhausted_error(job: _LetterJob, source: ObjectRef | None, message: Message) -> PermanentError:
    if programming_errors.has_bugs(job.id, job.stage, job.work_key):
        return programming_errors.internal_error(job.id, job.stage)
    manifest = job_state.try_read_manifest(job.id)
    started_by = manifest.document.request if manifest else job.source
    is_rerender = started_by is not None and object_names.parse_rerender(started_by.name) is not None
    advice = "Ask for it again" if is_rerender else "Upload it again"
    source = manifest.document.source if manifest else source
    name = object_names.owner_name(source.name) if source else "A video"
    deliveries = _count_deliveries(message) or "many"
    return PermanentError(
        ErrorCode.EXHAUSTED,
        f"{name} was not published: {job.stage} did not finish in {deliveries} attempts. {advice}. If that "
        f"fails in the same way, ask the operator of De-facer to look for job {job.id} in the logs.",
    )
