"""The messages and documents that pass between functions: versioned, checked on the way in.

Each carries `version`. A reader takes its own version only: an older function that meets a newer message
answers with an error, so Pub/Sub keeps the message until the newer function is there.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

VERSION: Literal[1] = 1
MAX_TARGET_PICTURES = 200

JobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]


class Contract(BaseModel):
    """Frozen, strict about unknown fields: a misspelt field is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectRef(Contract):
    """One version of one object: reading it gives the same bytes for ever, or an error."""

    bucket: str
    name: str
    generation: int

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}#{self.generation}"


class Policy(Contract):
    """How a channel wants its videos done: `channels/NAME/policy.json`. Every field has a default."""

    mode: Literal["blur", "pixelate", "solid", "image"] = "blur"
    strength: float = Field(default=1.0, ge=1.0, le=3.0, allow_inf_nan=False)
    color: Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")] = "#000000"
    detector: Literal["centerface", "mtcnn"] = "centerface"
    recognizer: Literal["casia-webface", "vggface2"] = "casia-webface"
    keep_distance: float | None = Field(default=None, gt=0, le=2, allow_inf_nan=False)
    quality: int = Field(default=18, ge=0, le=40)
    source: Literal["keep", "delete"] = "keep"


class TimeRange(Contract):
    """Presentation times `start <= pts < end`, in the stream's time base; None: open."""

    start: int | None
    end: int | None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"a time range must not be empty, got {self.start}..{self.end}")
        return self


class Video(Contract):
    """What ingest read in the header. Width and height are those of the displayed frame."""

    width: int
    height: int
    codec: str
    duration_seconds: float | None
    time_base: Annotated[str, StringConstraints(pattern=r"^\d+/\d+$")]


class Manifest(Contract):
    """A job as planned: written once by ingest, read by all others."""

    version: Literal[1] = VERSION
    job: JobId
    channel: str
    source: ObjectRef
    source_size: int
    result: str
    report: str
    policy: Policy
    targets: tuple[str, ...]
    gallery: ObjectRef | None
    replacement: ObjectRef | None
    video: Video
    segments: Annotated[tuple[TimeRange, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _segments_leave_no_gap(self) -> Self:
        if self.segments[0].start is not None or self.segments[-1].end is not None:
            raise ValueError("the first segment must have no start and the last one no end")
        for left, right in zip(self.segments, self.segments[1:], strict=False):
            if left.end is None or left.end != right.start:
                raise ValueError(
                    f"segments must meet, but one ends at {left.end} and the next starts at {right.start}"
                )
        return self


class SegmentTask(Contract):
    """Message on `segments`: do this one. All else is in the manifest."""

    version: Literal[1] = VERSION
    job: JobId
    index: int = Field(ge=0)
    manifest: ObjectRef


class SegmentDone(Contract):
    """Message on `segments-done`: this one is finished; if it was the last, merge."""

    version: Literal[1] = VERSION
    job: JobId
    index: int = Field(ge=0)
    manifest: ObjectRef


class Look(Contract):
    """A box that the detector saw: `x1, y1, x2, y2` in pixels of the displayed frame at time `pts`."""

    pts: int
    box: tuple[float, float, float, float]


class Track(Contract):
    """One face through time, and what was decided about it. No embedding, no picture."""

    id: int
    start: int
    end: int
    decision: Literal["keep", "hide"]
    person: str | None
    reason: str
    distance: float | None
    looks: tuple[Look, ...]


class SegmentReport(Contract):
    """What a worker did: written once. `frames` are the presentation times that passed through `conceal`."""

    version: Literal[1] = VERSION
    job: JobId
    index: int
    video: ObjectRef
    frames: tuple[int, ...]
    looks: int
    detector: str
    recognizer: str
    keep_distance: float
    tracks: tuple[Track, ...]
    seconds: float


class ReportedSegment(Contract):
    """One segment's part of a job's report."""

    index: int
    frames: int
    looks: int
    tracks: tuple[Track, ...]


class Report(Contract):
    """`X.report.json`, published beside the result."""

    version: Literal[1] = VERSION
    job: JobId
    source: ObjectRef
    result: str
    policy: Policy
    targets: tuple[str, ...]
    detector: str
    recognizer: str
    keep_distance: float
    frames: int
    audio_packets: int
    segments: tuple[ReportedSegment, ...]


class Published(Contract):
    """`jobs/ID/published.json`: the job's happy end."""

    version: Literal[1] = VERSION
    job: JobId
    result: ObjectRef | None
    report: str
    superseded: bool = False


class Failed(Contract):
    """`jobs/ID/failed.json`: the job's other end. `message` is a sentence that a person can act on."""

    version: Literal[1] = VERSION
    job: JobId
    source: ObjectRef | None
    stage: str
    code: str
    message: str


class Claim(Contract):
    """Who works on a thing, until when. `holder` is the id of the message that the holder works for."""

    version: Literal[1] = VERSION
    holder: str
    token: str
    expires_at: datetime
    attempts: int = Field(ge=0)


class JobEventData(Contract):
    """What an event on `job-events` says."""

    job: JobId
    channel: str
    source: ObjectRef
    result: ObjectRef | None = None
    report: str | None = None
    code: str | None = None
    message: str | None = None
    segments: int | None = None


class JobEvent(Contract):
    """A CloudEvent 1.0 in JSON on `job-events`. Sent again it has the same id: drop doubles by it."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = "/defacer"
    type: Literal["job.planned", "job.completed", "job.failed"]
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    subject: JobId
    datacontenttype: Literal["application/json"] = "application/json"
    data: JobEventData
