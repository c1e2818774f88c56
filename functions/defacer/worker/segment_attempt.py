"""Run a step of a segment: acquire its lease, limit its attempts, split a slow segment, and announce the result."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from defacer.pipeline import log
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure, step_marks
from defacer.pipeline.lifecycle.job_state import JobRecord
from defacer.pipeline.lifecycle.lease import HeldLease, acquire_lease, lease_options_for
from defacer.pipeline.lifecycle.ownership import load_verified_manifest
from defacer.pipeline.lifecycle.segments import can_split, list_next_task, range_of, self_and_ancestors
from defacer.pipeline.media_engine import StepInput
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


@contextmanager
def handle_step_errors(
    task: SegmentTask,
    stage_already_passed: Callable[[JobRecord], bool] = lambda record: record.is_published,
) -> Iterator[None]:
    """Fail the job as `fail_job_on_permanent_error` does, and add the segment and step to each log line."""
    work_key = object_names.segment_step(task.step, task.index, task.subsegment)
    with (
        log.bind_fields(segment=task.index, step=task.step),
        failure.fail_job_on_permanent_error(
            task.job, "worker", stage_already_passed=stage_already_passed, work_key=work_key
        ),
    ):
        yield


def run_step_once(
    task: SegmentTask,
    message_id: str,
    do: Callable[[StepInput], None],
) -> None:
    """Acquire the lease and call `do`, unless the step is done, and announce it.

    After `max_timeouts` timeouts the segment is split in two, and each half is a message of its own. Raises
    RetryableError if the message has to be redelivered, and PermanentError if the attempts are exhausted.
    """
    manifest = load_verified_manifest(task.job, task.index, task.manifest)
    lease = object_names.segment_lease(task.job, task.step, task.index, task.subsegment)
    is_done = _is_done(task)
    # The lease of a segment that is done: its worker died before it published the next task.
    if not is_done or objects.find_blob(settings().work_bucket, lease):
        try:
            with acquire_lease(settings().work_bucket, lease, lease_options_for(message_id)) as held:
                if not is_done:
                    _do_step(task, manifest, held, do)
                _publish_tasks(list_next_task(task, manifest))
        except _TooSlowError:
            _split(task, manifest)
            return
    done = SegmentDone.model_validate(task.model_dump())
    pubsub.publish(settings().segments_done_topic, pubsub.SEGMENT_DONE, [done])


def _do_step(task: SegmentTask, manifest: Manifest, held: HeldLease, do: Callable[[StepInput], None]) -> None:
    if held.timeouts >= settings().max_timeouts and can_split(manifest, task.index, task.subsegment):
        raise _TooSlowError
    fail_if_attempts_exhausted(task, manifest, held)
    do(StepInput(manifest, range_of(manifest, task.index, task.subsegment), held.renew))


def _publish_tasks(tasks: list[SegmentTask]) -> None:
    if tasks:
        pubsub.publish(settings().segments_topic, pubsub.SEGMENT_TASK, tasks)


def _is_done(task: SegmentTask) -> bool:
    """Return whether this subsegment, or one that contains it, has the output of the step."""
    names = (
        object_names.step_output(task.job, task.step, task.index, path)
        for path in self_and_ancestors(task.subsegment)
    )
    return any(objects.find_blob(settings().work_bucket, name) for name in names)


class _TooSlowError(Exception):
    """Several workers reached their deadline. The expired lease stays, so that the next delivery splits again."""


def _split(task: SegmentTask, manifest: Manifest) -> None:
    """Mark the segment or subsegment as split, and publish its halves and the next task. A repetition does no harm."""
    mark = object_names.split_mark(task.job, task.step, task.index, task.subsegment)
    objects.write_once(settings().work_bucket, mark, b"{}")
    step_marks.mark_step_split(task)
    halves = [task.model_copy(update={"subsegment": task.subsegment + half}) for half in "01"]
    _publish_tasks([*halves, *list_next_task(task, manifest)])
    log.warning("segment split", subsegment=task.subsegment)


def fail_if_attempts_exhausted(task: SegmentTask, manifest: Manifest, held: HeldLease) -> None:
    """Fail a job with a segment that no worker finishes.

    The attempts of the lease count, not the deliveries of the message. A message that finds all workers busy costs a
    delivery each time, so the subscription allows many.
    """
    allowed = settings().max_segment_attempts
    if held.attempts > allowed:
        source = manifest.source
        raise PermanentError(
            ErrorCode.POISON_SEGMENT,
            f"{object_names.owner_name(source.name)} can't be processed: {allowed} attempts did not finish segment "
            f"{task.index + 1} of {len(manifest.segments)}. {manifest.advice}. If that fails too, export the video "
            "with another program.",
        )
