"""The faces of a video and what was decided about each: the report, and all that hiding needs to know.

It holds boxes, times and distances; no embedding and no picture. `hide` works from it alone, so a video can be
rendered again with another decision without looking for faces again.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from functions.engine.errors import EngineError

VERSION = 1
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Look:
    """A box that the detector saw: `x1, y1, x2, y2` in pixels of the displayed frame at time `pts`."""

    pts: int
    box: Box


@dataclass(frozen=True)
class Track:
    """One face through time and what was decided about it.

    `start` and `end` are the times of its first and last look. `distance` is that to the nearest target (None:
    no target, or never seen clearly), `margin` how far inside the keep distance that is (below 0: outside).
    `continues` is the track that this one goes on from after an encounter or a gap.
    """

    id: int
    start: int
    end: int
    decision: str
    person: str | None
    reason: str
    distance: float | None
    margin: float | None
    continues: int | None
    looks: tuple[Look, ...]


@dataclass(frozen=True)
class Faces:
    """All tracks of a video. Times are in `time_base`; `shots` are the times of the frames after a cut.

    `frames` and `looks` count the frames that were read, and those among them that the detector looked at.
    """

    version: int
    detector: str
    recognizer: str | None
    keep_distance: float
    width: int
    height: int
    time_base: str
    frames: int
    looks: int
    shots: tuple[int, ...]
    tracks: tuple[Track, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain dicts and lists, ready for `json.dumps`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The opposite of `to_json`. Raises EngineError if it is not that, or of another version."""
        try:
            if data["version"] != VERSION:
                raise EngineError(
                    f"the report is of version {data['version']}, this program reads version {VERSION}."
                )
            tracks = tuple(_track(track) for track in data["tracks"])
            if {track.continues for track in tracks} - {None, *(track.id for track in tracks)}:
                raise ValueError("a track goes on from one that is not there")
            return cls(**{**data, "shots": tuple(data["shots"]), "tracks": tracks})
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"it is not a report of faces ({error!r}).") from error

    def decided_anew(self, hide: Iterable[int], keep: Iterable[int]) -> Self:
        """The same faces with other decisions for the tracks of these ids. Raises EngineError for an unknown id."""
        wish = {**dict.fromkeys(hide, "hide"), **dict.fromkeys(keep, "keep")}
        unknown = wish.keys() - {track.id for track in self.tracks}
        if unknown:
            numbers = ", ".join(str(number) for number in sorted(unknown))
            raise EngineError(f"the report has no track {numbers}; it has {len(self.tracks)} tracks.")
        tracks = (
            replace(track, decision=wish[track.id], reason="decided by hand") if track.id in wish else track
            for track in self.tracks
        )
        return replace(self, tracks=tuple(tracks))


def _track(data: dict[str, Any]) -> Track:
    if data["decision"] not in ("keep", "hide"):
        raise ValueError(data["decision"])
    looks = tuple(Look(int(look["pts"]), _box(look["box"])) for look in data["looks"])
    if not looks:
        raise ValueError("a track without looks")
    return Track(**{**data, "looks": looks})


def _box(sides: Iterable[float]) -> Box:
    x1, y1, x2, y2 = (float(side) for side in sides)
    return (x1, y1, x2, y2)
