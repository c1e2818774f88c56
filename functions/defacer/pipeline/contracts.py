"""The messages and documents that pass between functions: versioned, checked on the way in.

Each carries `version`. A reader takes its own version, and older ones that only lack fields which have a default. An
older function that meets a newer message answers with an error, so Pub/Sub keeps it until the newer function is there.
"""

import re
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    model_validator,
)

# Seconds for one unit of a presentation time, such as "1/90000"; never zero.
TimeBase = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,9}/[1-9][0-9]{0,9}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]
Part = Annotated[str, StringConstraints(pattern=r"^[01]*$", max_length=8)]
Decision = Literal["keep", "hide"]
# What a person decided, by the numbers of the tracks.
Decisions = Annotated[dict[Annotated[int, Field(ge=0, lt=2**31)], Decision], Field(min_length=1)]


def _as_times(value: object) -> "array[int]":
    """Eight bytes each, where Python's own numbers take forty: a merge holds those of a whole video."""
    if not isinstance(value, list | tuple | array):
        raise ValueError("not a list of presentation times")
    try:
        return array("q", value)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"not a list of presentation times: {error}") from error


if TYPE_CHECKING:
    Times = array[int]
else:  # Python 3.11 does not know array[int] when it runs
    Times = Annotated[array, PlainValidator(_as_times), PlainSerializer(list)]


class Contract(BaseModel):
    """Frozen, strict about unknown fields: a misspelt field is an error, not a silent default.

    No number is NaN or infinite: JSON has neither, and what is written must be read again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# The same as `max_keep_distance` in defacer.engine.likeness, which the pipeline does not import.
MAX_KEEP_DISTANCES = {"sface": 1.05, "facenet-casia": 0.75, "facenet-vggface2": 0.8}


class ObjectRef(Contract):
    """One version of one object: reading it gives the same bytes for ever, or an error."""

    bucket: str = Field(min_length=1, max_length=222)
    name: str = Field(min_length=1, max_length=1024)
    generation: int = Field(ge=0, lt=2**63)

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}#{self.generation}"


class Policy(Contract):
    """How a channel wants its videos done: `channels/NAME/policy.json`. Every field has a default."""

    mode: Literal["blur", "pixelate", "solid", "image"] = "blur"
    strength: float = Field(default=1.0, ge=1.0, le=3.0)
    color: Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")] = "#000000"
    detector: Literal["centerface", "mtcnn"] = "centerface"
    recognizer: Literal["sface", "facenet-casia", "facenet-vggface2"] = "sface"
    recognition: Literal["strict", "balanced", "lenient"] | None = "balanced"
    keep_distance: float | None = Field(default=None, gt=0, le=2)
    quality: int = Field(default=18, ge=0, le=40)
    damaged: Literal["refuse", "hide"] = "refuse"
    verify: Literal["off", "standard", "strict"] = "standard"
    source: Literal["keep", "delete"] = "keep"
    work: Literal["delete", "keep"] = "delete"

    @model_validator(mode="before")
    @classmethod
    def _distance_replaces_recognition(cls, fields: Any) -> Any:
        """Set `recognition` to None where `keep_distance` is given. A null is a field that was left out."""
        if not isinstance(fields, dict):
            return fields
        given = {name: value for name, value in fields.items() if name != "recognition" or value is not None}
        return given if given.get("keep_distance") is None else {"recognition": None, **given}

    @model_validator(mode="after")
    def _distance_fits_recognizer(self) -> Self:
        distance, largest = self.keep_distance, MAX_KEEP_DISTANCES[self.recognizer]
        if distance is None:
            return self
        if self.recognition is not None:
            raise ValueError(
                f'"keep_distance" ({distance:g}) and "recognition" ("{self.recognition}") are both set: remove one'
            )
        if "recognizer" not in self.model_fields_set:
            raise ValueError(
                f'"keep_distance" is {distance:g} and "recognizer" is missing: name the recognizer that the distance '
                "was measured for"
            )
        if distance > largest:
            raise ValueError(
                f'"keep_distance" is {distance:g}, at most {largest:g} is allowed for {self.recognizer}, '
                "so that at most 1 stranger in 1,000 is kept"
            )
        return self

    def for_engine(self) -> dict[str, Any]:
        """Without what only the pipeline looks at: the fields of `defacer.engine.options.Options`."""
        return self.model_dump(exclude={"source", "work"})


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
    """What ingest read in the header. Width and height are those of the displayed frame, `start_pts` its first time."""

    width: int
    height: int
    codec: str
    duration_seconds: float | None
    time_base: TimeBase
    start_pts: int = 0


class AgainRequest(Contract):
    """`channels/NAME/again/UPLOAD.json`: render this video again with these decisions, without looking for faces."""

    version: Literal[1] = 1
    source: ObjectRef
    decisions: Decisions


class RenderedAgain(Contract):
    """From which job's report a job began, and what was asked for. Earlier decisions are in that report."""

    of: JobId
    decisions: Decisions


class Again(RenderedAgain):
    """The same for a manifest: `report` is that report, `fingerprint` the source's as it says."""

    request: ObjectRef
    report: ObjectRef
    fingerprint: str


class Manifest(Contract):
    """A job as planned: written once by ingest, read by all others.

    `source` is the video; with `again` it was rendered before, and the job is that of the request.
    """

    version: Literal[1, 2, 3, 4] = 4
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
    again: Again | None = None

    @property
    def request(self) -> ObjectRef | None:
        return self.again.request if self.again else None

    @property
    def advice(self) -> str:
        """What its owner can do to have it done once more."""
        return "Ask for it again" if self.again else "Upload the video again"

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


class _SegmentMessage(Contract):
    """What messages about a segment say. All else is in the manifest, and for the step "hide" in `faces`.

    `part` is that of a segment that was split (see `parts`), "" the whole.
    """

    version: Literal[2, 3] = 3
    job: JobId
    index: int = Field(ge=0)
    part: Part = ""
    step: Literal["find", "hide"]
    manifest: ObjectRef
    faces: ObjectRef | None = None

    @model_validator(mode="after")
    def _hiding_goes_by_the_faces(self) -> Self:
        if (self.step == "hide") != (self.faces is not None):
            raise ValueError('the step "hide" needs `faces`, and before it there are none')
        return self


class SegmentTask(_SegmentMessage):
    """Message on `segments`: do this step of this segment."""


class SegmentDone(_SegmentMessage):
    """Message on `segments-done`: this step of this segment is done; if it was the last, go on from there."""


class Look(Contract):
    """A box that the detector saw: `x1, y1, x2, y2` in pixels of the displayed frame at time `pts`."""

    pts: int
    box: tuple[float, float, float, float]


class Track(Contract):
    """One face through time, and what was decided about it. No embedding, no picture.

    `distance` is that to the nearest target, `margin` how far inside the match threshold it is (below 0: outside). Of
    10,000 strangers `strangers_per_10000` look as much like the target; 0 means fewer than 1. The three are None
    without a target. `continues` is the id of the track that precedes this one.
    """

    id: int
    start: int
    end: int
    decision: Literal["keep", "hide"]
    person: str | None
    reason: str
    distance: float | None
    margin: float | None
    strangers_per_10000: int | None = None
    continues: int | None
    group: int = 0
    looks: tuple[Look, ...]


class TargetWarning(Contract):
    """A likely problem with a target: `defacer.engine.faces.TargetWarning`."""

    code: str
    person: str
    message: str
    track: int | None = None


TRACKS_END = b"\n]}"
TRACK_NUMBER = re.compile(rb'^\{"id":(\d+),', re.MULTILINE)
TRACK_GROUP = re.compile(rb'"group":(\d+),"looks":')


class FacesHead(Contract):
    """What `Faces` says before the cuts and tracks; `frames` and `looks` are how many, `segments` each one's frames."""

    version: Literal[1, 2, 3, 4] = 4
    detector: str
    recognizer: str | None
    keep_distance: float
    width: int
    height: int
    time_base: TimeBase
    frames: int
    looks: int
    segments: tuple[int, ...] = ()
    warnings: tuple[TargetWarning, ...] = ()


class Faces(FacesHead):
    """`jobs/ID/faces.json`: every face of the whole video, linked across its segments. Written once by merge.

    `shots` are the times at which the picture was cut. The engine writes it (`defacer.engine.faces`), one line for
    each track, and a worker reads no more of it than its segment needs.
    """

    shots: tuple[int, ...]
    tracks: tuple[Track, ...]

    @staticmethod
    def with_tracks(document: bytes, tracks: Sequence[Track]) -> tuple[bytes, tuple[int, ...]]:
        """Append tracks to a document of faces, numbered on from its own. Return also their numbers.

        Each is a person group of its own. Nothing but the added lines is built: a long video's faces, parsed, would
        fill the memory. Raises ValueError for a document that the engine did not write.
        """
        if not tracks:
            return document, ()
        body = document.removesuffix(TRACKS_END)
        if body == document:
            raise ValueError("it is not written as documents of faces are")
        first = max(map(int, TRACK_NUMBER.findall(body)), default=-1) + 1
        group = max(map(int, TRACK_GROUP.findall(body)), default=-1) + 1
        numbers = tuple(range(first, first + len(tracks)))
        lines = [
            track.model_copy(update={"id": first + n, "group": group + n}).model_dump_json().encode()
            for n, track in enumerate(tracks)
        ]
        separator = b",\n" if first else b"\n"
        return body + separator + b",\n".join(lines) + TRACKS_END, numbers


class _Check(Contract):
    """The check of a result. `frames` were sampled.

    Of the faces outside all masks, `passed_as_target` continue a kept track, and `passed_as_unlikely` are too faint.
    """

    verify: Literal["standard", "strict"]
    frames: int = Field(ge=0)
    passed_as_target: int = Field(default=0, ge=0)
    passed_as_unlikely: int = Field(default=0, ge=0)


class SegmentCheck(_Check):
    """The check of one segment. `tracks` are faces that it found and that are masked now, numbered from 0."""

    tracks: tuple[Track, ...] = ()


class ResultCheck(_Check):
    """The check of a whole result. `tracks` are the numbers of the tracks that it found, in `faces`."""

    tracks: tuple[int, ...] = ()


class SegmentReport(Contract):
    """What a worker hid: written once. `frames` are the presentation times that passed through `conceal`.

    `reorder_depth` is by how many frames at most one is decoded sooner than it is shown. `checked` is None where the
    policy says `verify: off`.
    """

    version: Literal[3, 4, 5] = 5
    job: JobId
    index: int
    part: Part = ""
    video: ObjectRef
    frames: Times
    reorder_depth: int = Field(ge=0)
    black_frames: int = Field(default=0, ge=0)
    checked: SegmentCheck | None = None
    seconds: float


# No string of JSON holds a line break, so this is nowhere else.
BEFORE_FACES = b',\n  "faces": '


class ReportedSegment(Contract):
    """One segment's part of a job's report: how many frames it has."""

    index: int
    frames: int


class ReportHead(Contract):
    """`X.report.json`, published beside the result, but for the faces.

    `fingerprint` tells the source from other videos (rerender). `dropped` is what of the source is not in the result,
    by kind: cover pictures, data tracks, tags. `again` says from which job's report it was rendered, if from any.
    `checked` is None where the policy says `verify: off`.
    """

    version: Literal[3, 4, 5] = 5
    job: JobId
    source: ObjectRef
    result: str
    policy: Policy
    targets: tuple[str, ...]
    frames: int
    black_frames: int = 0
    audio_packets: int
    fingerprint: str
    dropped: tuple[str, ...]
    segments: tuple[ReportedSegment, ...]
    again: RenderedAgain | None = None
    checked: ResultCheck | None = None

    def with_faces(self, faces: bytes) -> bytes:
        """The whole report, of `faces.json` as it is: a long video's faces, parsed, would fill the memory."""
        head = self.model_dump_json(indent=2).removesuffix("\n}")
        return head.encode() + BEFORE_FACES + faces + b"\n}"

    @staticmethod
    def apart(report: bytes) -> tuple[bytes, bytes]:
        """The opposite of `with_faces`: the head as a document, and the faces. Raises ValueError if it is not that."""
        head, found, faces = report.partition(BEFORE_FACES)
        if not found or not faces.endswith(b"\n}"):
            raise ValueError("it is not written as reports are")
        return head + b"\n}", faces.removesuffix(b"\n}")


class Report(ReportHead):
    """`X.report.json` as it is read."""

    faces: Faces


class Published(Contract):
    """`jobs/ID/published.json`: the job's happy end."""

    version: Literal[1] = 1
    job: JobId
    result: ObjectRef | None
    report: str
    superseded: bool = False


class Failed(Contract):
    """`jobs/ID/failed.json`: the job's other end. `message` is a sentence that a person can act on."""

    version: Literal[1] = 1
    job: JobId
    source: ObjectRef | None
    stage: str
    code: str
    message: str


class Verdict(Contract):
    """`jobs/ID/verdict.json`: how the job ends (functions/defacer/pipeline/verdict.py).

    `result` and `report` are what to publish, in the work bucket; both None: something newer was quicker. At the end
    "out" `result` is what was published instead. `failed` is why not, at all ends but "publish" and "out". `source` is
    the video, `request` what asked to render it again, if anything did: a job can be ended by these whose manifest is
    gone.
    """

    version: Literal[1, 2] = 2
    job: JobId
    end: Literal["publish", "out", "withdraw", "unpublish", "fail"]
    source: ObjectRef | None = None
    request: ObjectRef | None = None
    result: ObjectRef | None = None
    report: ObjectRef | None = None
    failed: Failed | None = None

    @model_validator(mode="after")
    def _says_why_not(self) -> Self:
        if (self.end in ("publish", "out")) != (self.failed is None):
            raise ValueError(
                '`failed` says why a job is not published: not with "publish" or "out", always otherwise'
            )
        return self


class Claim(Contract):
    """Who works on a thing, until when. `holder` is the id of the message that the holder works for.

    `attempts` counts the holders so far, `late` those whose time ran out.
    """

    version: Literal[1, 2] = 2
    holder: str
    token: str
    expires_at: AwareDatetime
    attempts: int = Field(ge=0)
    late: int = Field(default=0, ge=0)


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
