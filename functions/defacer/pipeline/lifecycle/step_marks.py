"""The marks on a job's manifest: its metadata says which steps are over, so that one read answers for a segment.

A step is over when its outputs are not needed any more: "detect" once the redaction is dispatched, and both steps once
the job is cleaned up. It is marked as over directly before its outputs are listed and deleted. So if a process writes
an output and then finds no mark, that listing contains its output.
"""

from dataclasses import dataclass

from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.lifecycle import job_state
from defacer.pipeline.lifecycle.ownership import require_job_object
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

STEPS = ("detect", "redact")


@dataclass(frozen=True)
class StepMarks:
    """The marks of one step, and the number of the job's segments; 0 if the manifest is gone."""

    is_over: bool
    is_split: bool = False
    segments: int = 0


def read_step_marks(message: SegmentTask | SegmentDone) -> StepMarks:
    """Return the marks of the message's step now, from one object.

    Raises MalformedMessageError if the message names an object that is not its job's manifest.
    """
    ref = require_job_object(message.job, message.manifest, object_names.manifest(message.job))
    blob = objects.find_blob(ref.bucket, ref.name, ref.generation)
    if blob is None:
        is_over = job_state.is_detection_over if message.step == "detect" else job_state.is_over
        return StepMarks(is_over(message.job))
    marks = blob.metadata or {}
    segments = marks.get(object_names.OF_SEGMENTS)
    return StepMarks(
        is_over=_over(message.step) in marks,
        is_split=_split(message.step) in marks,
        segments=int(segments) if segments else len(objects.read_json(ref, Manifest).segments),
    )


def is_step_over(message: SegmentTask | SegmentDone) -> bool:
    """Return whether the outputs of the message's step are not needed any more, from one object."""
    return read_step_marks(message).is_over


def mark_steps_over(job: str, *steps: str) -> None:
    """Mark these steps as over. Call this directly before their outputs are listed and deleted."""
    blob = objects.find_blob(settings().work_bucket, object_names.manifest(job))
    marks = {_over(step): "yes" for step in steps}
    if blob is not None and not marks.items() <= (blob.metadata or {}).items():
        objects.mark(objects.reference(blob), marks)


def mark_step_split(task: SegmentTask) -> None:
    """Mark that a segment was split in this step, so that each message to merge lists the outputs."""
    objects.mark(task.manifest, {_split(task.step): "yes"})


def _over(step: str) -> str:
    return f"{object_names.OF_STEP}{step}-over"


def _split(step: str) -> str:
    return f"{object_names.OF_STEP}{step}-split"
