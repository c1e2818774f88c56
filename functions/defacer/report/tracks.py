"""The records of a report: its tracks with their decisions, and the facts about the whole video.

They hold boxes, times and distances, but no embedding and no picture. So a video can be re-rendered with other
decisions from its report alone.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, StringConstraints

from defacer.report.compact_boxes import StoredBoxes

VERSION: Final = 6
# Seconds for one unit of a presentation time, such as "1/90000". It is never zero.
TimeBase = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,9}/[1-9][0-9]{0,9}$")]
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class Reason(StrEnum):
    """Why a track is kept or hidden. `texts.py` has a sentence for each."""

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
    CONSENT_WITHDRAWN = "consent_withdrawn"


@dataclass(frozen=True)
class TrackRecord:
    """One face followed through time, and its decision.

    `start` and `end` are the times of the first and the last detection. `rival` is the track in the same frame that is
    nearer to the target, or as near, where `reason` says so.

    `distance` is the distance to the nearest target: None without targets, and for a face that was never clearly
    visible. `margin` is how far inside the match threshold it is (below 0: outside). Of 10,000 strangers,
    `strangers_per_10000` look as much like the target; 0 means fewer than 1. It is None without a distance, after a
    decision by a person, and for a recogniser that was not measured.

    `continues` is the id of the track that precedes this one. `group` is the number of the person group.
    """

    __pydantic_config__ = STRICT

    id: int
    start: int
    end: int
    decision: Literal["keep", "hide"]
    person: str | None
    reason: Reason
    distance: float | None
    margin: float | None
    strangers_per_10000: int | None = field(default=None, kw_only=True)
    continues: int | None
    rival: int | None = field(default=None, kw_only=True)
    group: int = field(default=0, kw_only=True)
    detections: StoredBoxes


@dataclass(frozen=True)
class TargetWarning:
    """A likely problem with a target. `message` is one or two sentences for a user, without advice.

    `code` is a key of `texts.ADVICE`. `track` is the track nearest to the target, for "no-track-kept".
    """

    __pydantic_config__ = STRICT

    code: str
    person: str
    message: str
    track: int | None = None


@dataclass(frozen=True)
class FacesHead:
    """The facts about a video's tracks: how they were found, and where its shots begin.

    Times are in `time_base`. `cuts` are the times of the first frames after a cut. `frames` is the number of frames,
    `sampled_frames` the number of those that the detector ran on, and `segments` has the number of frames of each
    segment that was searched alone. `warnings` are about the targets.
    """

    __pydantic_config__ = STRICT

    version: Literal[6] = field(default=VERSION, kw_only=True)
    detector: str
    recognizer: str | None
    match_threshold: float
    width: int
    height: int
    time_base: TimeBase
    frames: int
    sampled_frames: int
    segments: tuple[int, ...] = field(default=(), kw_only=True)
    warnings: tuple[TargetWarning, ...] = field(default=(), kw_only=True)
    cuts: tuple[int, ...]
