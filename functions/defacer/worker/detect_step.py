"""The step "detect": look for faces in one segment and write down what was seen. `main.py` brings the engine along.

A segment is done when its findings are there: that write is the commit. They hold embeddings, so they are
deleted as soon as the faces are linked across the segments. A worker that comes later than that leaves none.
"""

import time

from defacer.pipeline import log
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.lifecycle import failure, job_state
from defacer.pipeline.lifecycle.segments import self_and_ancestors
from defacer.pipeline.media_engine import MediaEngine, StepInput
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.worker.segment_attempt import attempting, run_step_once

NUMPY_ARCHIVE = "application/octet-stream"


def detect(task: SegmentTask, message_id: str, engine: MediaEngine) -> None:
    """Do this step unless it is done, and say that it is done; when it came too late, do nothing.

    Raises RetryableError if the message has to come back: somebody else is at it, or a fault that may pass.
    """
    with attempting(task, stage_already_passed=lambda record: record.detection_is_over):
        record = job_state.read_job(task.job)
        if record.detection_is_over:
            # A worker that died may have written them after all others were deleted.
            objects.delete_any(
                settings().work_bucket, object_names.segment_detections(task.job, task.index, task.part)
            )
            if record.is_over:
                failure.finish_ended_job(record)
            return
        run_step_once(task, message_id, _is_done, lambda step: _do(task, step, engine))


def _is_done(task: SegmentTask) -> bool:
    """Whether the findings of this part are there, or of what it is a part of."""
    names = (
        object_names.segment_detections(task.job, task.index, part) for part in self_and_ancestors(task.part)
    )
    return any(objects.find(settings().work_bucket, name) for name in names)


def _do(task: SegmentTask, step: StepInput, engine: MediaEngine) -> None:
    if job_state.read_job(task.job).detection_is_over:
        return  # it was linked before this worker had the lease
    started = time.monotonic()
    data = engine.detect(step)
    name = object_names.segment_detections(task.job, task.index, task.part)
    try:
        ref = objects.write_once(
            settings().work_bucket,
            name,
            data,
            NUMPY_ARCHIVE,
            metadata={object_names.OF_SECONDS: f"{time.monotonic() - started:.3f}"},
            progress=step.renew_lease,
        )
    except objects.AlreadyWrittenError:
        return  # somebody was quicker: theirs count
    if job_state.read_job(task.job).detection_is_over:
        objects.delete(ref)  # the others' were deleted meanwhile, perhaps before these were there
    log.info("segment detected", seconds=round(time.monotonic() - started, 3))
