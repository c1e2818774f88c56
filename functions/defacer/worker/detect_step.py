"""The step "detect": detect the faces of one segment and store its segment detections.

Writing the segment detections commits the step. They contain embeddings, so merge deletes them once it has linked the
faces of all segments. A worker that writes later than that deletes its own.
"""

import time

from defacer.pipeline import log
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.lifecycle import failure, step_marks
from defacer.pipeline.media_engine import MediaEngine, StepInput
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.worker.segment_attempt import handle_step_errors, run_step_once

NUMPY_ARCHIVE = "application/octet-stream"


def detect_and_announce(task: SegmentTask, message_id: str, engine: MediaEngine) -> None:
    """Do the step unless it is done, and announce it. Do nothing if the job has passed it.

    Raises RetryableError if the message has to be redelivered: another worker has the lease, or a transient error.
    """
    with handle_step_errors(task, stage_already_passed=lambda record: record.is_detection_over):
        if step_marks.is_step_over(task):
            # A worker that died can have written them after merge deleted the others.
            objects.delete_any(
                settings().work_bucket, object_names.segment_detections(task.job, task.index, task.subsegment)
            )
            failure.finish_if_over(task.job)
            return
        run_step_once(task, message_id, lambda step: _detect_and_store(task, step, engine))


def _detect_and_store(task: SegmentTask, step: StepInput, engine: MediaEngine) -> None:
    started = time.monotonic()
    data = engine.detect(step)
    name = object_names.segment_detections(task.job, task.index, task.subsegment)
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
        return  # another worker was faster, and its detections count
    if step_marks.is_step_over(task):
        objects.delete(ref)  # merge can have deleted the others before this write
    log.info("segment detected", seconds=round(time.monotonic() - started, 3))
