"""A message that was given up: find its job, and fail it, unless it has come to an end without it."""

from defacer.pipeline import log, programming_errors
from defacer.pipeline.documents.base import Document, ObjectRef
from defacer.pipeline.documents.job_records import JobEvent
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.errors import MalformedMessageError, PermanentError
from defacer.pipeline.lifecycle import cleanup, failure, finalize, job_state, ownership, rerender_request
from defacer.pipeline.lifecycle.lease import acquire_lease, lease_options_for
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.messaging.pubsub import Message
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

DEAD_LETTER = "CloudPubSubDeadLetter"  # how what Pub/Sub adds to such a message begins
DELIVERIES = f"{DEAD_LETTER}SourceDeliveryCount"
STAGES = {pubsub.SEGMENT_TASK: "worker", pubsub.SEGMENT_DONE: "merge"}
# How often a message has been here before, and how often it was tried until then.
WAITED, TRIED = "waited", "tried"
# A segment's starts anew so often, as when no worker was free for days; any other once, as when storage was away for
# hours: dead_letter itself can't do anything then, so by the time it starts a message anew there is storage again.
MAX_WAITS, MAX_OUTAGES = 3, 1
EVENTS = "job."  # how the types of job events begin


class _Job(Document):
    """What message was given up, in terms of its job. `source` is known here for an upload only.

    `step` is that of a message about a segment, and `piece` that step of that segment where the message is its task.
    The message came on `topic`, and is published there again up to `most_waits` times.
    """

    id: str
    stage: str
    source: ObjectRef | None
    step: str | None
    topic: str
    most_waits: int
    piece: str = ""


def handle_dead_letter(message: Message) -> None:
    """Fail the job of this message, unless it is published, has failed, or has gone on without this message.

    None is given up so soon: neither a backlog nor an outage is a fault of it, and the worker itself ends what fails
    again and again (its claim counts that). The message starts anew.

    Raises MalformedMessageError for a message without a job, RetryableError while somebody is publishing it.
    """
    if message.attributes.get(pubsub.TYPE, "").startswith(EVENTS):
        event = pubsub.parse(message, JobEvent)
        log.error(
            "the webhook's receiver was never told of a job's end", job=event.data.job, event=event.type
        )
        return
    job = _job_of(message)
    if job is None:
        log.info("ignored a message about something that was never a job")
        return
    with failure.fail_job_on_permanent_error(
        job.id, "dead_letter", job.source, is_past=lambda _: _is_past(job)
    ):
        claim = object_names.merge_lease(job.id)
        if job_state.has_failed(job.id) or (
            job_state.is_published(job.id) and objects.find(settings().work_bucket, claim) is None
        ):
            log.info("the job came to an end without this message", stage=job.stage)
            finalize.clean_up(job.id)  # this message's holder may have died when all others' was gone
            return
        if _is_handed_on(job) and not job_state.is_published(job.id):
            log.info("the job went on without this message", stage=job.stage)
            cleanup.forget_embeddings(
                job.id
            )  # this message's worker may have died when the others' were gone
            return
        if requeues_so_far(message) < job.most_waits:
            republish(job, message)
            return
        # Whoever publishes holds this claim: a healthy merge is not disturbed, the message waits for how it ends.
        with acquire_lease(settings().work_bucket, claim, lease_options_for(message.id)) as held:
            source = (rerender_request.video_of(job.source) or job.source) if job.source else None
            finalize.abort_job(job.id, job.stage, _sentence(job, source, message), held.keep, source)


def _is_handed_on(job: _Job) -> bool:
    """Return whether the message is about finding faces in a job whose faces are hidden now."""
    return job.step == "detect" and job_state.redaction_dispatched(job.id)


def _is_past(job: _Job) -> bool:
    """Return whether the job does not need the message any more."""
    return job_state.is_published(job.id) or _is_handed_on(job)


def _job_of(message: Message) -> _Job | None:
    kind = message.attributes.get(pubsub.TYPE)
    if kind in STAGES:
        model = SegmentTask if kind == pubsub.SEGMENT_TASK else SegmentDone
        segment = pubsub.parse(message, model)
        ownership.require_job_object(segment.job, segment.manifest, object_names.manifest(segment.job))
        piece, topic, most_waits = "", settings().segments_done_topic, MAX_OUTAGES
        if isinstance(segment, SegmentTask):
            piece = object_names.segment_step(segment.step, segment.index, segment.part)
            topic, most_waits = settings().segments_topic, MAX_WAITS
        return _Job(
            id=segment.job,
            stage=STAGES[kind],
            source=None,
            step=segment.step,
            topic=topic,
            most_waits=most_waits,
            piece=piece,
        )
    if kind is not None:
        raise MalformedMessageError(f"message {message.id} has the type {kind!r}: expected {list(STAGES)}")
    source = pubsub.parse_upload(message)
    if (
        source is None
        or source.bucket != settings().intake_bucket
        or not object_names.channel_of_input(source.name)
    ):
        return None
    job = object_names.job_id(source.bucket, source.name, source.generation)
    return _Job(
        id=job,
        stage="ingest",
        source=source,
        step=None,
        topic=settings().uploads_topic,
        most_waits=MAX_OUTAGES,
    )


def requeues_so_far(message: Message) -> int:
    waited = _number(message, WAITED, "0")
    return MAX_WAITS if waited is None else waited


def _tries(message: Message) -> int | None:
    """How often the message was tried in all its rounds; None if it does not say."""
    before, now = _number(message, TRIED, "0"), _number(message, DELIVERIES, "")
    return None if before is None or now is None else before + now


def _number(message: Message, attribute: str, default: str) -> int | None:
    text = message.attributes.get(attribute, default)
    return int(text) if text.isdecimal() and text.isascii() else None


def republish(job: _Job, message: Message) -> None:
    own = {name: value for name, value in message.attributes.items() if not name.startswith(DEAD_LETTER)}
    tries = _tries(message)
    anew = own | {WAITED: str(requeues_so_far(message) + 1)} | ({} if tries is None else {TRIED: str(tries)})
    pubsub.publish_again(job.topic, message.data, anew)
    log.warning("a message gave up and starts anew", stage=job.stage, step=job.step)


def _sentence(job: _Job, source: ObjectRef | None, message: Message) -> PermanentError:
    if programming_errors.has_bugs(job.id, job.stage, job.piece):
        return programming_errors.internal_error(job.id, job.stage)
    manifest = job_state.try_read_manifest(job.id)
    begun = manifest[0].request if manifest else job.source
    is_rendering = begun is not None and object_names.parse_rerender(begun.name) is not None
    advice = "Ask for it again" if is_rendering else "Upload it again"
    source = manifest[0].source if manifest else source
    name = object_names.owner_name(source.name) if source else "A video"
    tries = _tries(message) or "many"
    return PermanentError(
        "gave-up",
        f"{name} was not published: {job.stage} did not get done in {tries} tries. {advice}; if that "
        f"ends the same way, ask whoever runs De-facer to look for job {job.id} in the logs.",
    )
