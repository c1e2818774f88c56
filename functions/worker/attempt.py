"""What both steps of a segment share: one worker at a time, an end to what no worker finishes, the news of the end."""

from collections.abc import Callable
from dataclasses import dataclass

from functions.pipeline import jobs, layout, messages
from functions.pipeline.claim import Hold, delivery_terms, hold
from functions.pipeline.contracts import Manifest, SegmentDone, SegmentTask, TimeRange
from functions.pipeline.errors import PermanentError
from functions.pipeline.settings import settings


@dataclass(frozen=True)
class Assignment:
    """What to work on. `keep_claim` must be called often; it may raise to stop."""

    manifest: Manifest
    segment: TimeRange
    keep_claim: Callable[[], None]


def do_once(
    task: SegmentTask,
    message_id: str,
    is_done: Callable[[SegmentTask], bool],
    do: Callable[[Manifest, Hold], None],
) -> None:
    """Do this step of this segment unless it is done, holding the claim on it, and say that it is done.

    Raises ClaimedElsewhereError if another message's worker is at it, RetryableError if this message has to
    come back, PermanentError for a segment that one worker after another has not finished.
    """
    manifest = jobs.open_manifest(task.job, task.index, task.manifest)
    if not is_done(task):
        claim = layout.segment_claim(task.job, task.step, task.index)
        with hold(settings().work_bucket, claim, delivery_terms(message_id)) as held:
            _stop_poison(task, manifest, held)
            if not is_done(task):
                do(manifest, held)
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
