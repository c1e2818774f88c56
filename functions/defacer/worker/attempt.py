"""What both steps of a segment share: one worker at a time, an end to what no worker finishes, the news of the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from defacer.pipeline import jobs, layout, log, messages, store
from defacer.pipeline.claim import Hold, delivery_terms, hold
from defacer.pipeline.contracts import Manifest, SegmentDone, SegmentTask, TimeRange
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.parts import can_split, range_of
from defacer.pipeline.settings import settings


@dataclass(frozen=True)
class Assignment:
    """What to work on. `keep_claim` must be called often; it may raise to stop."""

    manifest: Manifest
    segment: TimeRange
    keep_claim: Callable[[], None]


@contextmanager
def attempting(task: SegmentTask, is_past: Callable[[str], bool] = jobs.is_published) -> Iterator[None]:
    """Fail the job as `jobs.failing` does, with the segment and the step on each log line."""
    piece = layout.segment_step(task.step, task.index, task.part)
    with (
        log.bound(segment=task.index, step=task.step),
        jobs.failing(task.job, "worker", is_past=is_past, piece=piece),
    ):
        yield


def do_once(
    task: SegmentTask,
    message_id: str,
    is_done: Callable[[SegmentTask], bool],
    do: Callable[[Assignment], None],
) -> None:
    """Do this step of this segment unless it is done, holding the claim on it, and say that it is done.

    One for which workers ran out of time again and again is split: each half is a message of its own. Raises
    RetryableError if the message has to come back, PermanentError for a segment that one worker after another has
    not finished.
    """
    manifest = jobs.open_manifest(task.job, task.index, task.manifest)
    if not is_done(task):
        claim = layout.segment_claim(task.job, task.step, task.index, task.part)
        try:
            with hold(settings().work_bucket, claim, delivery_terms(message_id)) as held:
                if not is_done(task):
                    _stop_what_is_slow(task, manifest, held)
                    _stop_poison(task, manifest, held)
                    do(Assignment(manifest, range_of(manifest, task.index, task.part), held.keep))
        except _TooSlowError:
            _split(task)
            return
    done = SegmentDone.model_validate(task.model_dump())
    messages.publish(settings().segments_done_topic, messages.SEGMENT_DONE, [done])


class _TooSlowError(Exception):
    """One worker after another ran out of time. The claim stays, expired: by it the next delivery knows."""


def _stop_what_is_slow(task: SegmentTask, manifest: Manifest, held: Hold) -> None:
    if held.late >= settings().late_attempts and can_split(manifest, task.index, task.part):
        raise _TooSlowError


def _split(task: SegmentTask) -> None:
    """Do this segment, or this part of one, in two halves from now on. May be done twice."""
    mark = layout.split_mark(task.job, task.step, task.index, task.part)
    store.write_once(settings().work_bucket, mark, b"{}")
    halves = [task.model_copy(update={"part": task.part + half}) for half in "01"]
    messages.publish(settings().segments_topic, messages.SEGMENT_TASK, halves)
    log.warning("split, because it took too long", part=task.part)


def _stop_poison(task: SegmentTask, manifest: Manifest, held: Hold) -> None:
    """End a job that kills, or outlasts, one worker after another.

    The claim's attempts say that, not the message's deliveries: of those the subscription allows many,
    because a message that finds every worker busy uses one up each time.
    """
    allowed = settings().max_segment_attempts
    if held.attempts > allowed:
        source = manifest.source
        raise PermanentError(
            "poison-segment",
            f"{layout.owner_name(source.name)} can't be processed: {allowed} workers in a row did not "
            f"finish segment {task.index + 1} of {len(manifest.segments)}. {manifest.advice}; if that "
            "ends the same way, export the video with another program.",
        )
