"""A job's manifest, the policy that it carries, and requests for re-renders."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from defacer.pipeline.documents.base import Document, JobId, ObjectRef
from defacer.report.clock import Clock
from defacer.report.edits import Edits
from defacer.report.tracks import Decision, TimeBase

# The same as `max_match_threshold` in defacer.engine.recognition.recognition_levels, which the pipeline does
# not import.
MAX_MATCH_THRESHOLDS = {"sface": 1.05, "facenet-casia": 0.75, "facenet-vggface2": 0.8}
# The work bucket keeps a job's files for at least 56 days (`keep_work_days` in infra/variables.tf). The rest of a job
# takes at most 11.9 days if no segment is split (infra/capacity/patience.py).
MAX_CONFIRM_HOURS = 30 * 24


def _limit_thresholds(schema: dict[str, Any]) -> None:
    """Add the largest match threshold of each recognizer to the JSON Schema, and that it needs the recognizer."""
    number = next(
        kind for kind in schema["properties"]["match_threshold"]["anyOf"] if kind["type"] == "number"
    )
    number["maximum"] = max(MAX_MATCH_THRESHOLDS.values())
    schema["dependentRequired"] = {"match_threshold": ["recognizer"]}
    schema["allOf"] = [
        {
            "if": {"properties": {"recognizer": {"const": name}}, "required": ["recognizer"]},
            "then": {"properties": {"match_threshold": {"maximum": largest}}},
        }
        for name, largest in MAX_MATCH_THRESHOLDS.items()
    ]


class Policy(Document):
    """The settings of a channel: `channels/NAME/policy.json`. Every field has a default.

    The text below each field is its row in `ingest/POLICY.md` (`make reference`).

    A channel's owner writes it, so no value of a field makes people visible who are not targets
    (`tests/unit/test_policy_limits.py`).
    """

    model_config = ConfigDict(json_schema_extra=_limit_thresholds)

    mode: Literal["blur", "pixelate", "solid", "image"] = "blur"
    """How a face is hidden. `image` uses the channel's `replacement.png`."""
    strength: float = Field(default=1.0, ge=1.0, le=3.0)
    """Multiplies the coarseness of `blur` and `pixelate`, which already grows with the face."""
    color: Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")] = "#000000"
    """The color for `solid`, as `#RRGGBB`."""
    detector: Literal["centerface", "mtcnn"] = "centerface"
    """The face detector. `mtcnn` needs PyTorch."""
    recognizer: Literal["sface", "facenet-casia", "facenet-vggface2"] = "sface"
    """The model that recognizes people. `facenet-vggface2` needs PyTorch and was not measured."""
    recognition: Literal["strict", "balanced", "lenient"] | None = "balanced"
    """How much a face must look like a target to stay visible."""
    match_threshold: float | None = Field(default=None, gt=0)
    """For experts, instead of `recognition`: the largest distance that still matches a target. Needs `recognizer`."""
    quality: int = Field(default=18, ge=0, le=40)
    """The rate factor of x264. 0 is lossless, 18 is visually lossless, 40 is poor."""
    size: Literal["like-source", "any"] = "like-source"
    """How large the result can be: about [the size of the source](#size), or any size that `quality` needs."""
    copy_untouched: bool = False
    """Whether groups of pictures where nothing is hidden are [copied](#copied-groups) instead of encoded."""
    on_decode_error: Literal["refuse", "hide"] = "refuse"
    """For frames that cannot be decoded: refuse the video, or black out these frames and every frame that depends on
    them. With `hide`, a video that is cut off is processed up to its end."""
    strict_timing: bool = False
    """Whether a video is refused if the times of its frames have to be corrected."""
    verify: Literal["off", "standard", "strict"] = "standard"
    """How the result is checked before publishing: not at all, five frames a second, or every frame."""
    sound: Literal["convert", "copy_only"] = "convert"
    """For sound that an MP4 can't hold or common players can't play: [convert](#sound) it, or refuse the video."""
    source_retention: Literal["keep", "delete"] = "keep"
    """Whether the source is kept or deleted after publishing."""
    keep_intermediates: bool = False
    """Whether segments and boxes are kept after the end of the job. Embeddings are always deleted."""
    confirm: Literal["never", "before_publish"] = "never"
    """Whether a job waits for a person who [confirms](#confirm-before-publishing) who stays visible, before the video
    is rendered."""
    confirm_hours: float = Field(default=72, gt=0, le=MAX_CONFIRM_HOURS)
    """How long a job waits for a person. At most 30 days, because its files are deleted after `keep_work_days`."""
    on_timeout: Literal["fail", "publish_hidden"] = "fail"
    """If no person confirms in time: fail the job and publish nothing, or publish the video with everyone hidden."""

    @model_validator(mode="before")
    @classmethod
    def _threshold_replaces_recognition(cls, fields: Any) -> Any:
        """Set `recognition` to None where `match_threshold` is set. A null counts as a missing field."""
        if not isinstance(fields, dict):
            return fields
        given = {name: value for name, value in fields.items() if name != "recognition" or value is not None}
        return given if given.get("match_threshold") is None else {"recognition": None, **given}

    @model_validator(mode="after")
    def _threshold_fits_recognizer(self) -> Self:
        distance, largest = self.match_threshold, MAX_MATCH_THRESHOLDS[self.recognizer]
        if distance is None:
            return self
        if self.recognition is not None:
            raise ValueError(
                f'"match_threshold" ({distance:g}) and "recognition" ("{self.recognition}") are both set: remove one'
            )
        if "recognizer" not in self.model_fields_set:
            raise ValueError(
                f'"match_threshold" is {distance:g} and "recognizer" is missing: name the recognizer that the distance '
                "was measured for"
            )
        if distance > largest:
            raise ValueError(
                f'"match_threshold" is {distance:g}, at most {largest:g} is allowed for {self.recognizer}, '
                "so that at most 1 stranger in 1,000 is kept"
            )
        return self

    @property
    def timeout_outcome(self) -> str:
        """What happens if no person confirms a waiting job in time, as a sentence."""
        if self.on_timeout == "publish_hidden":
            return "After that, the video is published with everyone hidden."
        return "After that, the job fails and nothing is published."

    def for_engine(self) -> dict[str, Any]:
        """Return the fields of `defacer.engine.options.Options`, without those that only the pipeline reads."""
        own = {"source_retention", "keep_intermediates", "confirm", "confirm_hours", "on_timeout"}
        return self.model_dump(exclude=own)


class TimeRange(Document):
    """Presentation times `start <= pts < end`, in the stream's time base; None: open."""

    start: int | None
    end: int | None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"a time range must not be empty, got {self.start}..{self.end}")
        return self


class Video(Document):
    """The header of the video. `width` and `height` are of the displayed frame, `start_pts` is the first time.

    `clock` has the corrections of the times, so that all steps read the same times.
    """

    width: int
    height: int
    codec: str
    duration_seconds: float | None
    time_base: TimeBase
    start_pts: int = 0
    clock: Clock = Clock()


class RerenderRequest(Document):
    """`channels/NAME/rerender/UPLOAD.json`: re-render this video after these edits, without a detection pass."""

    version: Literal[2] = 2
    source: ObjectRef
    edits: Edits


class Confirmation(Document):
    """`channels/NAME/confirmations/JOB.json`: a person confirmed who stays visible in the video of this job.

    `edits` are the person's changes. `token` differs for each person, so that only one of two people who confirm at the
    same time succeeds.
    """

    version: Literal[1] = 1
    job: JobId
    token: str
    edits: Edits


class RerenderRecord(Document):
    """What a re-render changed. Earlier changes are in the report of the job `of`."""

    of: JobId
    """The job whose report was changed."""
    decisions: dict[int, Decision]
    """The requested decisions, by the ids of the tracks."""
    added: tuple[int, ...] = ()
    """The ids of the added tracks."""
    moved: tuple[int, ...] = ()
    """The ids of the tracks that got other boxes."""
    uncovered: tuple[int, ...] = ()
    """The ids of those tracks whose new boxes were allowed to show more."""
    groups: dict[int, int] = Field(default_factory=dict)
    """The requested person groups, by the ids of the tracks."""
    named: tuple[int, ...] = ()
    """The ids of the tracks that a person named, or whose names a person removed."""


class Rerender(Document):
    """The re-render in a manifest: the report of the job `of`, the fingerprint in it, and the edits.

    `added` are the ids of the added tracks.
    """

    of: JobId
    edits: Edits
    added: tuple[int, ...] = ()
    request: ObjectRef
    report: ObjectRef
    fingerprint: str

    def to_record(self) -> RerenderRecord:
        """Return the record for the new report. It has no boxes and no names, which the tracks have."""
        edits = self.edits
        return RerenderRecord(
            of=self.of,
            decisions=edits.decisions,
            added=self.added,
            moved=tuple(edits.moved),
            uncovered=tuple(sorted(edits.uncovered)),
            groups=edits.groups,
            named=tuple(edits.people),
        )


class Manifest(Document):
    """The plan of a job: ingest writes it once, and all later steps read it.

    `source` is the video. With `rerender`, the job re-renders it, and its id is that of the request. At most `window`
    tasks of a step are published at a time (`lifecycle/segments.py`). In version 6 it is None: all of them.
    """

    version: Literal[6, 7] = 7
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
    window: int | None = Field(default=None, ge=1)
    rerender: Rerender | None = None

    @property
    def named_people(self) -> set[str]:
        """All people that the manifest names."""
        edited = self.rerender.edits.people.values() if self.rerender else ()
        return {*self.targets, *filter(None, edited)}

    @property
    def request(self) -> ObjectRef | None:
        return self.rerender.request if self.rerender else None

    @property
    def advice(self) -> str:
        """What its owner can do to process it again."""
        return "Ask for it again" if self.rerender else "Upload the video again"

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
