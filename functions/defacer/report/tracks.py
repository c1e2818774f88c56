"""The records of a report: its tracks with their decisions, and the facts about the whole video.

They hold boxes, times and distances, but no embedding and no picture. So a video can be re-rendered with other
decisions from its report alone.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, StringConstraints

from defacer.report.compact_boxes import StoredBoxes

VERSION: Final = 7
# Seconds for one unit of a presentation time, such as "1/90000". It is never zero.
TimeBase = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,9}/[1-9][0-9]{0,9}$")]
Decision = Literal["keep", "hide"]
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class Reason(StrEnum):
    """Why a track is kept or hidden. `texts.py` has a sentence for each, and README.md explains each."""

    NO_TARGETS = "no_targets"
    NOT_COMPARABLE = "not_comparable"
    MATCHED = "matched"
    NO_MATCH = "no_match"
    SAME_PERSON = "same_person"
    CONTINUATION = "continuation"
    AMBIGUOUS = "ambiguous"
    RIVAL_NEARER = "rival_nearer"
    RIVAL_AS_NEAR = "rival_as_near"
    UNLIKE_TARGET = "unlike_target"
    NOT_ENOUGH_SEEN = "not_enough_seen"
    FOUND_BY_VERIFICATION = "found_by_verification"
    MANUAL = "manual"
    FOUND_BY_SEARCH = "found_by_search"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    NOT_CONFIRMED = "not_confirmed"


class Origin(StrEnum):
    """Where a track comes from. README.md explains each."""

    DETECTOR = "detector"
    VERIFICATION = "verification"
    MANUAL = "manual"
    SEARCH = "search"
    IMPORTED = "imported"


@dataclass(frozen=True)
class TrackRecord:
    """One face followed through time, and its decision."""

    __pydantic_config__ = STRICT

    id: int
    """The number of the track, from 0."""
    start: int
    """The time of the first detection."""
    end: int
    """The time of the last detection."""
    decision: Decision
    """Whether the face stays visible."""
    person: str | None
    """The target whose face it is, by the name of the picture or its folder. Null for a track that De-facer hid."""
    reason: Reason
    """Why: one of the reasons below."""
    distance: float | None
    """The distance to the nearest target. Null without targets, and for a face that was never clearly visible."""
    margin: float | None
    """How far inside the match threshold the distance is. A negative value is outside. Null without a distance."""
    strangers_per_10000: int | None = field(default=None, kw_only=True)
    """How many of 10,000 strangers look as much like the target. 0 means fewer than 1. Null without a distance, after a
    manual decision, and for `facenet-vggface2`, which was not measured."""
    continues: int | None
    """The track before this one, if the face met another one, moved far, was lost for a moment or changed. The gap
    between the two is hidden unless both are kept."""
    rival: int | None = field(default=None, kw_only=True)
    """The track in the same frame that the reason refers to."""
    group: int = field(default=0, kw_only=True)
    """The number of the person group: all tracks of the video that show one person, as far as they are alike. The
    tracks that are kept for one target are one group."""
    origin: Origin = field(default=Origin.DETECTOR, kw_only=True)
    """Where the track comes from: one of the origins below."""
    unconfirmed: tuple[tuple[int, int], ...] = field(default=(), kw_only=True)
    """Spans of a drawn mask (first and last time) where nothing confirmed its place. Check them."""
    detections: StoredBoxes
    """The time (`pts`) and the box (`box`) in each sampled frame. For `manual`, at each corrected moment."""

    @property
    def is_manual_mask(self) -> bool:
        """Whether it is a box that a person drew. If it is kept, the person removed it."""
        return self.origin == Origin.MANUAL

    @property
    def is_kept_face(self) -> bool:
        """Whether it is a face that stays visible."""
        return self.decision == "keep" and not self.is_manual_mask


@dataclass(frozen=True)
class TargetWarning:
    """A likely problem with a target."""

    __pydantic_config__ = STRICT

    code: str
    """One of the codes below."""
    person: str
    """The target."""
    message: str
    """One or two sentences for a user, without advice."""
    track: int | None = None
    """The track nearest to the target, for `no-track-kept`."""


@dataclass(frozen=True)
class FacesHead:
    """The facts about a video's tracks: how they were found, and where its shots begin."""

    __pydantic_config__ = STRICT

    version: Literal[7] = field(default=VERSION, kw_only=True)
    """The version of the format. A reader refuses any other version."""
    detector: str
    """The detector: its name and weights."""
    recognizer: str | None
    """The recognizer: its name, its weights and the version of the crop. Null without targets."""
    match_threshold: float
    """The largest distance that matches a target."""
    width: int
    """The width of the displayed frame in pixels."""
    height: int
    """The height of the displayed frame in pixels."""
    time_base: TimeBase
    """The seconds of one unit of time, as a fraction. All times in the report are multiples of it."""
    frames: int
    """The number of frames."""
    sampled_frames: int
    """The number of frames that the detector ran on."""
    segments: tuple[int, ...] = field(default=(), kw_only=True)
    """The number of frames of each segment of a job. Empty for the command line."""
    warnings: tuple[TargetWarning, ...] = field(default=(), kw_only=True)
    """Problems with the targets. A manual decision removes them."""
    suggested_merges: tuple[tuple[int, int], ...] = field(default=(), kw_only=True)
    """Pairs of tracks whose person groups probably show one person, the likeliest first. A person decides."""
    start: int | None = field(default=None, kw_only=True)
    """The time of the first frame."""
    end: int | None = field(default=None, kw_only=True)
    """The time of the last frame."""
    cuts: tuple[int, ...]
    """The times of the first frames after a cut."""
