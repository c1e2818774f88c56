"""What both steps of a segment share: one worker at a time, an end to what no worker finishes, the news of the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from functions.pipeline import layout, messages
from functions.pipeline.claim import Hold, Terms, hold
from functions.pipeline.contracts import Manifest, SegmentDone, SegmentTask, TimeRange
from functions.pipeline.errors import PermanentError
from functions.pipeline.settings import settings


@dataclass(frozen=True)
class Assignment:
    """What to work on. `keep_claim` must be called often; it may raise to stop."""

    manifest: Manifest
    segment: TimeRange
    keep_claim: Callable[[], None]


@contextmanager
def attempt(task: SegmentTask, manifest: Manifest, message_id: str) -> Iterator[Hold]:
    """Hold the claim on this step of this segment for the block.

    Raises ClaimedElsewhereError if another message's worker is at it, RetryableError if this message has to
    come back, PermanentError for a segment that one worker after another has not finished.
    """
    claim = layout.segment_claim(task.job, task.step, task.index)
    terms = Terms(message_id, settings().lease_seconds, settings().deadline_seconds)
    with hold(settings().work_bucket, claim, terms) as held:
        _stop_poison(task, manifest, held)
        yield held


def announce(task: SegmentTask) -> None:
    """Say that the task is done."""
    done = SegmentDone.model_validate(task.model_dump())
    messages.publish(settings().segments_done_topic, messages.SEGMENT_DONE, [done])


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
            f"gs://{source.bucket}/{source.name} can't be processed: {allowed} workers in a row did not "
            f"finish segment {task.index + 1} of {len(manifest.segments)}. Upload it again; if that ends the "
            "same way, export the video with another program.",
        )
