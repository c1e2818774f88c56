"""Admit the uploads of a channel up to its limits: segments in the queue, jobs, and minutes of video a day.

The limits are settings of the project, because a channel's owner writes the channel's policy.

Each upload takes a turn, an object in the list of its channel. The turns in the order of their arrival are admitted
until their segments fill `channel_segments`. The other uploads wait, and their messages are acknowledged. The process
that ends a job deletes its turn and then calls the next uploads: it publishes their notifications again. An upload
that has to wait marks its turn and then reads the list once more. So either it finds the room that an ended job has
left, or the process that ended the job finds the mark. Until it was marked it counted as admitted, so it also calls
the jobs that it has kept out. The clock of ingest repairs what a dead process has left.

Confirmed jobs and re-renders take turns too. These are urgent: no limit refuses them, and they come before the uploads
that wait, because a re-render can hide a missed face.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple, Self

from google.cloud.storage import Blob

from defacer.pipeline import log
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Turn
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import job_state
from defacer.pipeline.lifecycle.lease import utc_now
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.plurals import pluralize

# The states of a turn after its upload had to wait. Its notification was published again if it was called.
WAITS, CALLED = "waits", "called"
RERENDER, CONFIRMED = "re-render", "confirmed"
# The work bucket deletes a turn and the manifest after 56 days at least (`keep_work_days` in infra/variables.tf), and
# the job can have waited for a person for 30 days before.
MAX_WAIT = timedelta(days=25)
# Each of these turns takes two to five requests, and a tick of the clock has to end within the deadline of its message.
MAX_REPAIRED = 500


class _ListedTurn(NamedTuple):
    """A turn in the list of its channel. `segments` are those that its job has in the queue.

    `urgency` is RERENDER or CONFIRMED, or None for an upload.
    """

    ref: ObjectRef
    job: str
    segments: int
    state: str | None
    urgency: str | None
    written: datetime

    @property
    def is_urgent(self) -> bool:
        return self.urgency is not None

    @classmethod
    def from_blob(cls, blob: Blob) -> Self:
        marks = blob.metadata or {}
        job = object_names.parse_turn(blob.name) or ""
        segments = int(marks.get(object_names.OF_SEGMENTS, 1))
        state, urgency = marks.get(object_names.OF_TURN), marks.get(object_names.OF_URGENT)
        return cls(objects.reference(blob), job, segments, state, urgency, blob.time_created)


class HopelessTurn(NamedTuple):
    """The turn of a job that can't start any more: it has waited too long, or its turn can't be read.

    `source` is the upload or the re-render request; None if the turn can't be read.
    """

    ref: ObjectRef
    job: str
    source: ObjectRef | None


def take_turn(draft: Manifest, *, is_urgent: bool = False) -> bool:
    """Return whether the job can fill the queue now. Otherwise its message is published again later.

    `is_urgent` is for re-renders and confirmed jobs. Raises PermanentError for an upload if the channel has too many
    jobs, or too many minutes of video today.
    """
    bucket, name = settings().work_bucket, object_names.turn(draft.channel, draft.job)
    if objects.find_blob(bucket, name) is None:
        if not is_urgent:
            _require_minutes(draft)
        _write_turn(name, draft, is_urgent=is_urgent)
    turns = _list_turns(object_names.turns_prefix(draft.channel))
    if not is_urgent:
        _require_room(draft, [turn for turn in turns if not turn.is_urgent])
    if job_state.is_over(draft.job):  # its cleanup can have run before the turn was written
        end_turn(draft.job, draft.channel)
        return False
    # A new job does not overtake those that wait. One that was called is their first.
    was_called = any(turn.state == CALLED for turn in turns if turn.job == draft.job)
    is_first = not any(turn.state == WAITS and turn.is_urgent >= is_urgent for turn in turns)
    if draft.job in _admitted_jobs(turns) and (was_called or is_first):
        return True
    _mark(turns, draft.job, WAITS)
    turns = _list_turns(object_names.turns_prefix(draft.channel))
    # A job that ended before the mark called none of them in its place.
    _call_next(turns, (WAITS,), but=draft.job)
    if draft.job not in _admitted_jobs(turns):
        return False
    _mark(turns, draft.job, CALLED)
    return True


def _write_turn(name: str, draft: Manifest, *, is_urgent: bool) -> None:
    source = draft.rerender.request if draft.rerender else draft.source
    segments = min(len(draft.segments), draft.window or len(draft.segments))
    marks = {object_names.OF_SEGMENTS: str(segments)}
    if is_urgent:
        marks[object_names.OF_URGENT] = RERENDER if draft.rerender else CONFIRMED
    with suppress(objects.AlreadyWrittenError):  # by another delivery
        objects.write_once(
            settings().work_bucket,
            name,
            Turn(job=draft.job, source=source).model_dump_json().encode(),
            metadata=marks,
        )


def end_turn(job: str, channel: str) -> None:
    """Delete the turn of a job that fills the queue no more, and call the next jobs of its channel."""
    bucket, name = settings().work_bucket, object_names.turn(channel, job)
    if objects.find_blob(bucket, name) is not None:
        objects.delete_any(bucket, name)
        _call_next(_list_turns(object_names.turns_prefix(channel)), (WAITS,))


def repair_turns() -> list[HopelessTurn]:
    """Delete the turns of jobs that are over, and call jobs that were called without effect.

    Return the turns of jobs that can't start any more, for ingest to fail the jobs. If the channels have too many
    turns for a tick of the clock, repair some channels, which are chosen at random.
    """
    turns = _list_turns(object_names.TURNS)
    oldest = utc_now() - MAX_WAIT
    hopeless = [turn for turn in turns if turn.state == WAITS and turn.written < oldest][:MAX_REPAIRED]
    channels = [list(group) for _, group in groupby(turns, key=lambda turn: turn.ref.name.rpartition("/")[0])]
    random.shuffle(channels)
    repaired = 0
    for channel in channels:
        admitted = list(_admitted(channel))
        ended = [turn for turn in admitted if _needs_no_turn(turn.job)]
        for turn in ended:
            objects.delete_any(turn.ref.bucket, turn.ref.name)
        hopeless += _call_next(
            [turn for turn in channel if turn not in ended and turn not in hopeless], (WAITS, CALLED)
        )
        repaired += len(admitted)
        if repaired >= MAX_REPAIRED:
            log.info("the turns of some channels are repaired at a later tick", channels=len(channels))
            break
    return [found for turn in hopeless if (found := _read_hopeless_turn(turn))]


def is_turn_waiting(job: str, channel: str) -> bool:
    """Return whether a job waits until its channel has room in the queue."""
    blob = objects.find_blob(settings().work_bucket, object_names.turn(channel, job))
    return blob is not None and _ListedTurn.from_blob(blob).state == WAITS


def find_turns(job: str, channel: str | None) -> list[ObjectRef]:
    """Return the turn of a job. If its channel is unknown, search the turns of all channels."""
    if channel is None:
        return [turn.ref for turn in _list_turns(object_names.TURNS) if turn.job == job]
    blob = objects.find_blob(settings().work_bucket, object_names.turn(channel, job))
    return [objects.reference(blob)] if blob else []


def _needs_no_turn(job: str) -> bool:
    faces = job_state.find_stored_faces(job)
    return job_state.is_over(job) or (faces is not None and faces.review_end is not None)


def _list_turns(prefix: str) -> list[_ListedTurn]:
    blobs = objects.list_blobs(settings().work_bucket, prefix)
    return [_ListedTurn.from_blob(blob) for blob in blobs if object_names.parse_turn(blob.name)]


def _admitted(turns: Iterable[_ListedTurn]) -> Iterator[_ListedTurn]:
    """Yield the turns that fill the queue: those that do not wait, then the urgent ones, by their arrival."""

    def order(turn: _ListedTurn) -> tuple[bool, bool, int, str]:
        waits = turn.state == WAITS
        return waits, waits and not turn.is_urgent, turn.ref.generation, turn.job

    in_queue = 0
    for turn in sorted(turns, key=order):
        if in_queue >= settings().channel_segments:
            return
        yield turn
        in_queue += turn.segments


def _admitted_jobs(turns: Iterable[_ListedTurn]) -> list[str]:
    return [turn.job for turn in _admitted(turns)]


def _mark(turns: Iterable[_ListedTurn], job: str, state: str) -> None:
    for turn in turns:
        if turn.job == job and turn.state != state:
            objects.mark(turn.ref, {object_names.OF_TURN: state})


def _call_next(turns: Sequence[_ListedTurn], states: tuple[str, ...], but: str = "") -> list[_ListedTurn]:
    """Publish the messages of the admitted jobs in these states again, except of the job `but`.

    Return the turns that can't be read.
    """
    unreadable = []
    for turn in [turn for turn in _admitted(turns) if turn.state in states and turn.job != but]:
        try:
            attributes = _message_of(turn)
        except PermanentError as error:
            log.error("a turn can't be read, and the clock fails its job", error, job=turn.job)
            unreadable.append(turn)
            continue
        if attributes is None:
            continue
        pubsub.republish(settings().uploads_topic, b"{}", attributes)
        objects.mark(turn.ref, {object_names.OF_TURN: CALLED})
        log.info("the turn of a job has come", job=turn.job)
    return unreadable


def _message_of(turn: _ListedTurn) -> dict[str, str] | None:
    """Return the attributes of the message that continues a job: of its notification, or of a check of its wait.

    Raises PermanentError if the turn can't be read.
    """
    # A confirmed job is never planned again, even without a manifest: its faces would not be those of the review.
    if turn.urgency == CONFIRMED or objects.find_blob(turn.ref.bucket, object_names.manifest(turn.job)):
        # The clock checks the confirmed jobs that were called without effect.
        return {pubsub.TYPE: pubsub.REVIEW_CHECK, pubsub.JOB: turn.job} if turn.state == WAITS else None
    found = objects.find_json(turn.ref.bucket, turn.ref.name, Turn)
    if found is None:
        return None
    source = found.document.source
    return {
        "eventType": pubsub.OBJECT_FINALIZE,
        "bucketId": source.bucket,
        "objectId": source.name,
        "objectGeneration": str(source.generation),
    }


def _read_hopeless_turn(turn: _ListedTurn) -> HopelessTurn | None:
    """Return the turn with its source. Return None if it ended since it was listed: then its job needs no end."""
    try:
        found = objects.find_json(turn.ref.bucket, turn.ref.name, Turn)
    except PermanentError:
        return HopelessTurn(turn.ref, turn.job, None)
    return HopelessTurn(turn.ref, turn.job, found.document.source) if found else None


def _require_room(draft: Manifest, turns: Sequence[_ListedTurn]) -> None:
    """Raise PermanentError if the channel has as many earlier jobs as allowed. Then the video uses no minutes."""
    allowed = settings().max_channel_jobs
    earlier = sorted(turns, key=lambda turn: (turn.ref.generation, turn.job))[:allowed]
    if len(turns) > allowed and draft.job not in [turn.job for turn in earlier]:
        objects.delete_any(settings().work_bucket, _minutes_entry(draft, utc_now().date().isoformat()))
        raise PermanentError(
            ErrorCode.TOO_MANY_JOBS,
            f"{object_names.owner_name(draft.source.name)} was not processed: {pluralize(allowed, 'video')} of this "
            "channel are being processed or wait for it, more are not allowed. Upload it again when some of them are "
            "published.",
        )


def _require_minutes(draft: Manifest) -> None:
    """Count the video in the minutes of today. Raises PermanentError if they exceed the limit.

    Each of two uploads writes its entry first and then adds up the entries until its own. So of two that arrive at the
    same time, the second one counts the first one.
    """
    bucket, today = settings().work_bucket, utc_now().date().isoformat()
    # A video of unknown length is one segment, which has to be processed within the deadline.
    seconds = draft.video.duration_seconds or settings().deadline_seconds
    name = _minutes_entry(draft, today)
    with suppress(objects.AlreadyWrittenError):
        objects.write_once(bucket, name, b"{}", metadata={object_names.OF_SECONDS: f"{seconds:.3f}"})
    entries = objects.list_blobs(bucket, object_names.minutes_prefix(draft.channel, today))
    used = 0.0
    for blob in sorted(entries, key=lambda blob: (int(blob.generation), blob.name)):
        if blob.name == name:
            break
        used += float((blob.metadata or {}).get(object_names.OF_SECONDS, 0))
    allowed = settings().max_channel_minutes
    if used + seconds > allowed * 60:
        objects.delete_any(bucket, name)
        raise PermanentError(
            ErrorCode.DAILY_LIMIT,
            f"{object_names.owner_name(draft.source.name)} was not processed: it has {seconds / 60:.1f} minutes, and "
            f"{used / 60:.1f} of the {allowed:g} minutes of video that this channel can process on {today} are used. "
            "Upload it again after midnight UTC, or in parts if it is longer than a day allows.",
        )


def _minutes_entry(draft: Manifest, day: str) -> str:
    return f"{object_names.minutes_prefix(draft.channel, day)}{draft.job}.json"
