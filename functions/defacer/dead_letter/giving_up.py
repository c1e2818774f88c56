"""A message that was given up: find its job, and fail it, unless it has come to an end without it."""

from defacer.pipeline import again, belonging, bugs, ending, jobs, layout, log, messages, store
from defacer.pipeline.claim import delivery_terms, hold
from defacer.pipeline.contracts import Contract, JobEvent, ObjectRef, SegmentDone, SegmentTask
from defacer.pipeline.errors import MalformedMessageError, PermanentError
from defacer.pipeline.messages import Message
from defacer.pipeline.settings import settings

DEAD_LETTER = "CloudPubSubDeadLetter"  # how what Pub/Sub adds to such a message begins
DELIVERIES = f"{DEAD_LETTER}SourceDeliveryCount"
STAGES = {messages.SEGMENT_TASK: "worker", messages.SEGMENT_DONE: "merge"}
# How often a message has been here before, and how often it was tried until then.
WAITED, TRIED = "waited", "tried"
# A segment's starts anew so often, as when no worker was free for days; any other once, as when storage was away for
# hours: dead_letter itself can't do anything then, so by the time it starts a message anew there is storage again.
MOST_WAITS, MOST_OUTAGES = 3, 1
EVENTS = "job."  # how the types of job events begin


class _Job(Contract):
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


def give_up(message: Message) -> None:
    """Fail the job of this message, unless it is published, has failed, or has gone on without this message.

    None is given up so soon: neither a backlog nor an outage is a fault of it, and the worker itself ends what fails
    again and again (its claim counts that). The message starts anew.

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
    with jobs.failing(job.id, "dead_letter", job.source, is_past=lambda _: _is_past(job)):
        claim = layout.merge_claim(job.id)
        if jobs.has_failed(job.id) or (
            jobs.is_published(job.id) and store.find(settings().work_bucket, claim) is None
        ):
            log.info("the job came to an end without this message", stage=job.stage)
            ending.clean_up(job.id)  # this message's holder may have died when all others' was gone
            return
        if _is_handed_on(job) and not jobs.is_published(job.id):
            log.info("the job went on without this message", stage=job.stage)
            jobs.forget_embeddings(job.id)  # this message's worker may have died when the others' were gone
            return
        if _waits(message) < job.most_waits:
            _start_anew(job, message)
            return
        # Whoever publishes holds this claim: a healthy merge is not disturbed, the message waits for how it ends.
        with hold(settings().work_bucket, claim, delivery_terms(message.id)) as held:
            source = (again.video_of(job.source) or job.source) if job.source else None
            ending.call_off(job.id, job.stage, _sentence(job, source, message), held.keep, source)


def _is_handed_on(job: _Job) -> bool:
    """Return whether the message is about finding faces in a job whose faces are hidden now."""
    return job.step == "find" and jobs.is_handed_on(job.id)


def _is_past(job: _Job) -> bool:
    """Return whether the job does not need the message any more."""
    return jobs.is_published(job.id) or _is_handed_on(job)


def _job_of(message: Message) -> _Job | None:
    kind = message.attributes.get(messages.TYPE)
    if kind in STAGES:
        model = SegmentTask if kind == messages.SEGMENT_TASK else SegmentDone
        segment = messages.parse(message, model)
        belonging.require_own(segment.job, segment.manifest, layout.manifest(segment.job))
        piece, topic, most_waits = "", settings().segments_done_topic, MOST_OUTAGES
        if isinstance(segment, SegmentTask):
            piece = layout.segment_step(segment.step, segment.index, segment.part)
            topic, most_waits = settings().segments_topic, MOST_WAITS
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
    source = messages.parse_upload(message)
    if (
        source is None
        or source.bucket != settings().intake_bucket
        or not layout.channel_of_input(source.name)
    ):
        return None
    job = layout.job_id(source.bucket, source.name, source.generation)
    return _Job(
        id=job,
        stage="ingest",
        source=source,
        step=None,
        topic=settings().uploads_topic,
        most_waits=MOST_OUTAGES,
    )


def _waits(message: Message) -> int:
    waited = _number(message, WAITED, "0")
    return MOST_WAITS if waited is None else waited


def _tries(message: Message) -> int | None:
    """How often the message was tried in all its rounds; None if it does not say."""
    before, now = _number(message, TRIED, "0"), _number(message, DELIVERIES, "")
    return None if before is None or now is None else before + now


def _number(message: Message, attribute: str, default: str) -> int | None:
    text = message.attributes.get(attribute, default)
    return int(text) if text.isdecimal() and text.isascii() else None


def _start_anew(job: _Job, message: Message) -> None:
    own = {name: value for name, value in message.attributes.items() if not name.startswith(DEAD_LETTER)}
    tries = _tries(message)
    anew = own | {WAITED: str(_waits(message) + 1)} | ({} if tries is None else {TRIED: str(tries)})
    messages.publish_again(job.topic, message.data, anew)
    log.warning("a message gave up and starts anew", stage=job.stage, step=job.step)


def _sentence(job: _Job, source: ObjectRef | None, message: Message) -> PermanentError:
    if bugs.has_bugs(job.id, job.stage, job.piece):
        return bugs.internal_error(job.id, job.stage)
    manifest = jobs.readable_manifest(job.id)
    begun = manifest[0].request if manifest else job.source
    is_rendering = begun is not None and layout.parse_again(begun.name) is not None
    advice = "Ask for it again" if is_rendering else "Upload it again"
    source = manifest[0].source if manifest else source
    name = layout.owner_name(source.name) if source else "A video"
    tries = _tries(message) or "many"
    return PermanentError(
        "gave-up",
        f"{name} was not published: {job.stage} did not get done in {tries} tries. {advice}; if that "
        f"ends the same way, ask whoever runs De-facer to look for job {job.id} in the logs.",
    )
