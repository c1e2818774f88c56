"""The messages about one segment, and the worker's report of it."""

from typing import Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from defacer.pipeline.documents.base import Document, JobId, ObjectRef, SubsegmentPath, Times
from defacer.pipeline.documents.report import SegmentCheck


class _SegmentMessage(Document):
    """The fields of messages about a segment. All other data is in the manifest, and for the step "redact" in `faces`.

    `subsegment` names a subsegment of a segment that was split. It is empty for a whole segment.
    """

    version: Literal[4] = 4
    job: JobId
    index: int = Field(ge=0)
    subsegment: SubsegmentPath = ""
    step: Literal["detect", "redact"]
    manifest: ObjectRef
    faces: ObjectRef | None = None

    @model_validator(mode="after")
    def _redaction_needs_faces(self) -> Self:
        if (self.step == "redact") != (self.faces is not None):
            raise ValueError('`faces` is required for the step "redact", and not allowed for "detect"')
        return self


class SegmentTask(_SegmentMessage):
    """The message on `segments` that assigns a step of a segment."""


class SegmentDone(_SegmentMessage):
    """The message on `segments-done` that a step of a segment is done. The last one of a step starts the next step."""


class SegmentReport(Document):
    """A worker's report of a redacted segment, written once. `frames` are the presentation times of its frames.

    `reorder_depth` is the largest number of frames that one frame is decoded ahead of its display order.
    `copied_frames` were not encoded.
    `first_fitted` is the time of the first frame that had another size or format than the video's first one.
    `checked` is None where the policy says `verify: off`.
    """

    version: Literal[7] = 7
    job: JobId
    index: int
    subsegment: SubsegmentPath = ""
    video: ObjectRef
    frames: Times
    reorder_depth: int = Field(ge=0)
    black_frames: int = Field(default=0, ge=0)
    copied_frames: int = Field(default=0, ge=0)
    first_fitted: int | None = None
    checked: SegmentCheck | None = None
    seconds: float
