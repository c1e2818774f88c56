"""The step "redact": redact the faces of one segment, and store the encoded segment and its report.

Writing the report commits the step. The video is written first, under a name that contains its digest, so two workers
never overwrite each other's video. The report names the valid one.
"""

import hashlib
import tempfile
import time
from pathlib import Path

from defacer.pipeline import log
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.segment_messages import SegmentReport, SegmentTask
from defacer.pipeline.lifecycle import failure, step_marks
from defacer.pipeline.lifecycle.ownership import read_faces_document
from defacer.pipeline.media_engine import MediaEngine, StepInput
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.worker.segment_attempt import handle_step_errors, run_step_once

NUT = "video/x-nut"


def redact_and_announce(task: SegmentTask, message_id: str, engine: MediaEngine) -> None:
    """Do the step unless it is done, and announce it. Do nothing if the job is over.

    Raises RetryableError if the message has to be redelivered: another worker has the lease, or a transient error.
    """
    with handle_step_errors(task):
        if step_marks.is_step_over(task):  # a worker can have died after it wrote too late
            failure.finish_if_over(task.job)
            return
        run_step_once(task, message_id, lambda step: _redact_and_store(task, step, engine))


def _redact_and_store(task: SegmentTask, step: StepInput, engine: MediaEngine) -> None:
    started = time.monotonic()
    faces, _ = read_faces_document(task.job, task.faces)
    with tempfile.TemporaryDirectory(prefix="defacer-segment-") as folder:
        out = Path(folder) / "segment.nut"
        written = engine.redact(step, faces, out)
        with out.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        video = objects.write_once(
            settings().work_bucket,
            object_names.segment_video(task.job, task.index, digest, task.subsegment),
            out,
            NUT,
            progress=step.renew_lease,
        )
    seconds = round(time.monotonic() - started, 3)
    report = SegmentReport(
        job=task.job,
        index=task.index,
        subsegment=task.subsegment,
        video=video,
        frames=written.frames,
        reorder_depth=written.reorder_depth,
        black_frames=written.black_frames,
        copied_frames=written.copied_frames,
        first_fitted=written.first_fitted,
        checked=written.checked,
        seconds=seconds,
    )
    _commit(report, video)
    if step_marks.is_step_over(task):  # its cleanup can have run before these writes
        failure.finish_if_over(task.job)
    log.info("segment redacted", frames=len(written.frames), seconds=seconds)


def _commit(report: SegmentReport, video: ObjectRef) -> None:
    """Write the report. If another worker committed this segment before, delete our video."""
    name = object_names.segment_report(report.job, report.index, report.subsegment)
    try:
        objects.write_once(
            settings().work_bucket,
            name,
            report.model_dump_json().encode(),
            metadata={object_names.OF_SECONDS: f"{report.seconds:.3f}"},
        )
    except objects.AlreadyWrittenError as error:
        committed = objects.read_json(error.existing, SegmentReport)
        if committed.video.name != video.name:
            objects.delete(video)
