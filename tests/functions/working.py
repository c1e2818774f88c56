"""Helpers for tests of the worker, and an engine that detects and redacts nothing.

"The job's step" is "detect", or "redact" after linking.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.reader import read_frames
from defacer.engine.media.segment_writer import write_segment
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.pipeline.documents.segment_messages import SegmentReport
from defacer.pipeline.media_engine import MediaEngine, RedactedSegment, StepInput
from defacer.pipeline.storage import object_names
from defacer.worker.detect_step import detect_and_announce
from defacer.worker.redact_step import redact_and_announce
from tests.cloud import Buckets
from tests.planned import Planned, do_segment, find_segment

# Called while the engine works, with the function that renews the lease.
Meanwhile = Callable[[Callable[[], None]], None]


def work(planned: Planned, index: int, message_id: str, meanwhile: Meanwhile = lambda keep: keep()) -> None:
    """Do the job's step as the worker does, with an engine that detects and redacts nothing."""
    task = planned.segment_task(index)
    step = detect_and_announce if task.step == "detect" else redact_and_announce
    step(task, message_id, _Engine(planned.clip, f"seen for message {message_id}".encode(), meanwhile))


@dataclass
class _Engine(MediaEngine):
    clip: Path
    detections: bytes
    meanwhile: Meanwhile

    def detect(self, step: StepInput) -> bytes:
        self.meanwhile(step.renew_lease)
        return self.detections

    def redact(self, step: StepInput, faces: bytes, out: Path) -> RedactedSegment:
        self.meanwhile(step.renew_lease)
        with write_segment(str(out), encoding_of(str(self.clip)), 30) as writer:
            for frame in read_frames(str(self.clip), step.segment.start, step.segment.end):
                writer.write(frame)
        written = writer.result()
        return RedactedSegment(written.frames, written.reorder_depth)


def do_step(buckets: Buckets, planned: Planned, index: int) -> None:
    """Store the output of the job's step, as another worker would."""
    if planned.faces is None:
        find_segment(buckets, planned, index)
    else:
        do_segment(buckets, planned, index)


def made(buckets: Buckets, planned: Planned) -> list[str]:
    """Return the names of the outputs of the job's step."""
    prefix = object_names.segments_prefix if planned.faces else object_names.segment_detections_prefix
    return buckets.names(buckets.work, prefix(planned.job))


def count_frames_done(buckets: Buckets, planned: Planned, index: int) -> int:
    """Return the number of frames in the output of the job's step."""
    if planned.faces is None:
        return SegmentDetections.from_bytes(
            buckets.get(buckets.work, object_names.segment_detections(planned.job, index))
        ).frames
    return len(report_of(buckets, planned, index).frames)


def is_done(buckets: Buckets, planned: Planned, index: int) -> bool:
    """Return whether the job's step is committed for a segment."""
    commit = object_names.segment_report if planned.faces else object_names.segment_detections
    return commit(planned.job, index) in made(buckets, planned)


def report_of(buckets: Buckets, planned: Planned, index: int) -> SegmentReport:
    data = buckets.get(buckets.work, object_names.segment_report(planned.job, index))
    return SegmentReport.model_validate_json(data)


def lease_name(planned: Planned, index: int) -> str:
    return object_names.segment_lease(planned.job, planned.segment_task(index).step, index)
