"""What both steps of a segment share: one worker at a time, an end to what no worker finishes, the news of the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from defacer.pipeline import log
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.lifecycle.job_state import JobRecord
from defacer.pipeline.lifecycle.lease import HeldLease, acquire_lease, lease_options_for
from defacer.pipeline.lifecycle.ownership import load_verified_manifest
from defacer.pipeline.lifecycle.segments import can_split, range_of
from defacer.pipeline.media_engine import StepInput
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


@contextmanager
def attempting(
    task: SegmentTask,
    stage_already_passed: Callable[[JobRecord], bool] = lambda record: record.is_published,
) -> Iterator[None]:
    """Fail the job as `jobs.failing` does, with the segment and the step on each log line."""
    piece = object_names.segment_step(task.step, task.index, task.part)
    with (
        log.bound(segment=task.index, step=task.step),
        failure.fail_job_on_permanent_error(
            task.job, "worker", stage_already_passed=stage_already_passed, piece=piece
        ),
    ):
        yield


def run_step_once(
    task: SegmentTask,
    message_id: str,
    is_done: Callable[[SegmentTask], bool],
    do: Callable[[StepInput], None],
) -> None:
    """Do this step of this segment unless it is done, holding the claim on it, and say that it is done.

    One for which workers ran out of time again and again is split: each half is a message of its own. Raises
    RetryableError if the message has to come back, PermanentError for a segment that one worker after another has
    not finished.
    """
    manifest = load_verified_manifest(task.job, task.index, task.manifest)
    if not is_done(task):
        claim = object_names.segment_lease(task.job, task.step, task.index, task.part)
        try:
            with acquire_lease(settings().work_bucket, claim, lease_options_for(message_id)) as held:
                if not is_done(task):
                    fail_if_timeouts_exhausted(task, manifest, held)
                    fail_if_attempts_exhausted(task, manifest, held)
                    do(StepInput(manifest, range_of(manifest, task.index, task.part), held.renew))
        except _TooSlowError:
            _split(task)
            return
    done = SegmentDone.model_validate(task.model_dump())
    pubsub.publish(settings().segments_done_topic, pubsub.SEGMENT_DONE, [done])


class _TooSlowError(Exception):
    """One worker after another ran out of time. The claim stays, expired: by it the next delivery knows."""


def fail_if_timeouts_exhausted(task: SegmentTask, manifest: Manifest, held: HeldLease) -> None:
    if held.timeouts >= settings().max_timeouts and can_split(manifest, task.index, task.part):
        raise _TooSlowError


def _split(task: SegmentTask) -> None:
    """Do this segment, or this part of one, in two halves from now on. May be done twice."""
    mark = object_names.split_mark(task.job, task.step, task.index, task.part)
    objects.write_once(settings().work_bucket, mark, b"{}")
    halves = [task.model_copy(update={"part": task.part + half}) for half in "01"]
    pubsub.publish(settings().segments_topic, pubsub.SEGMENT_TASK, halves)
    log.warning("split, because it took too long", part=task.part)


def fail_if_attempts_exhausted(task: SegmentTask, manifest: Manifest, held: HeldLease) -> None:
    """End a job that kills, or outlasts, one worker after another.

    The claim's attempts say that, not the message's deliveries: of those the subscription allows many,
    because a message that finds every worker busy uses one up each time.
    """
    allowed = settings().max_segment_attempts
    if held.attempts > allowed:
        source = manifest.source
        raise PermanentError(
            ErrorCode.POISON_SEGMENT,
            f"{object_names.owner_name(source.name)} can't be processed: {allowed} workers in a row did not "
            f"finish segment {task.index + 1} of {len(manifest.segments)}. {manifest.advice}; if that "
            "ends the same way, export the video with another program.",
        )
