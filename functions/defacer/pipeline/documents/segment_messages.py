"""The messages about one segment, and the worker's report of it."""

from typing import Literal, Self

from pydantic import (
    Field,
    model_validator,
)

from defacer.pipeline.documents.base import Document, JobId, ObjectRef, Subsegment, Times
from defacer.pipeline.documents.report import SegmentCheck


class _SegmentMessage(Document):
    """What messages about a segment say. All else is in the manifest, and for the step "redact" in `faces`.

    `part` is that of a segment that was split (see `parts`), "" the whole.
    """

    version: Literal[2, 3] = 3
    job: JobId
    index: int = Field(ge=0)
    part: Subsegment = ""
    step: Literal["detect", "redact"]
    manifest: ObjectRef
    faces: ObjectRef | None = None

    @model_validator(mode="after")
    def _hiding_goes_by_the_faces(self) -> Self:
        if (self.step == "redact") != (self.faces is not None):
            raise ValueError('the step "redact" needs `faces`, and before it there are none')
        return self


class SegmentTask(_SegmentMessage):
    """Message on `segments`: do this step of this segment."""


class SegmentDone(_SegmentMessage):
    """Message on `segments-done`: this step of this segment is done; if it was the last, go on from there."""


class SegmentReport(Document):
    """What a worker hid: written once. `frames` are the presentation times that passed through `conceal`.

    `reorder_depth` is by how many frames at most one is decoded sooner than it is shown. `checked` is None where the
    policy says `verify: off`.
    """

    version: Literal[3, 4, 5] = 5
    job: JobId
    index: int
    part: Subsegment = ""
    video: ObjectRef
    frames: Times
    reorder_depth: int = Field(ge=0)
    black_frames: int = Field(default=0, ge=0)
    checked: SegmentCheck | None = None
    seconds: float
