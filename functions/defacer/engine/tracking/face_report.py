"""The faces of a video and what was decided about each: the report, and all that hiding needs to know.

It holds boxes, times and distances; no embedding and no picture. `hide` works from it alone, so a video can be
rendered again with another decision without looking for faces again.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from fractions import Fraction
from typing import Any, Self

from defacer.engine.errors import EngineError
from defacer.engine.recognition.recognition_levels import calibration_of
from defacer.engine.tracking.compact_boxes import Box, BoxAt, CompactBoxes
from defacer.plurals import pluralize

__all__ = ["Box", "BoxAt", "CompactBoxes", "Faces", "TargetWarning", "Track"]

VERSION = 4
# Versions that can be read. 1 had no `segments`, 2 no `warnings`, 3 no `strangers_per_10000` and no `group`.
VERSIONS = (1, 2, 3, VERSION)
BY_HAND = "decided by hand"
FORGOTTEN = "no longer to be kept"  # never kept again: whoever it was has withdrawn their consent
COMPACT = (",", ":")
# A face can be covered before, after and between tracks: for less than this (see cover.py, hold.py, track.py).
COVERED_SECONDS = 5
LOOK = b'{"pts":'
# One line of `to_bytes`: when the track is seen can be told without reading the rest.
_WHEN = re.compile(rb'\{"id":\d+,"start":(-?\d+),"end":(-?\d+),')


@dataclass(frozen=True)
class Track:
    """One face through time and what was decided about it.

    `start` and `end` are the times of its first and last look. `distance` is that to the nearest target (None:
    no target, or never seen clearly), `margin` how far inside the keep distance that is (below 0: outside).
    Of 10,000 strangers `strangers_per_10000` look as much like the target; 0 means fewer than 1. It is None where
    `distance` is None, where a person decided, and where the recogniser was not measured.
    `continues` is the track before this one, before an encounter or a gap. `group` is the number of the person
    group: all tracks of the video that show one person, as far as that was recognised.
    """

    id: int
    start: int
    end: int
    decision: str
    person: str | None
    reason: str
    distance: float | None
    margin: float | None
    strangers_per_10000: int | None = field(default=None, kw_only=True)
    continues: int | None
    looks: CompactBoxes
    group: int = field(default=0, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """Return the track as plain dicts and lists, ready for `json.dumps`."""
        looks = [{"pts": look.pts, "box": look.box} for look in self.looks]
        head = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "looks"}
        return {**head, "looks": looks}  # last: `from_bytes` reads only some of them


# What a user can do about a warning, wherever it is shown.
ADVICE = {
    "no-track-kept": "Use a sharper and larger picture of this person.",
    "blurred-picture": "A sharper one is recognised more reliably.",
    "small-picture": "A larger one is recognised more reliably.",
    "turned-picture": "One that shows the face from the front is recognised more reliably.",
}


@dataclass(frozen=True)
class TargetWarning:
    """A likely problem with a target. `message` is one or two sentences for a user, without advice.

    `code` is a key of ADVICE. `track` is the track nearest to the target, for "no-track-kept".
    """

    code: str
    person: str
    message: str
    track: int | None = None


@dataclass(frozen=True)
class Faces:
    """All tracks of a video. Times are in `time_base`; `shots` are the times of the frames after a cut.

    `frames` and `looks` count the frames that were read, and those among them that the detector looked at, `segments`
    the frames of each segment that was searched, if that was done one by one. `warnings` are about the targets.
    """

    version: int
    detector: str
    recognizer: str | None
    match_threshold: float
    width: int
    height: int
    time_base: str
    frames: int
    looks: int
    segments: tuple[int, ...] = field(default=(), kw_only=True)
    warnings: tuple[TargetWarning, ...] = field(default=(), kw_only=True)
    shots: tuple[int, ...]
    tracks: tuple[Track, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain dicts and lists, ready for `json.dumps`."""
        return {**self._head(), "tracks": [track.to_json() for track in self.tracks]}

    def to_bytes(self) -> bytes:
        """`to_json` as text, one line for each track after the first line with all else."""
        return b"".join(self._lines())

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The opposite of `to_json`. Raises EngineError if it is not that, or of another version."""
        return cls._checked(data, lambda: data["tracks"])

    @classmethod
    def from_bytes(cls, data: bytes, start: int | None, end: int | None) -> Self:
        """Of what `to_bytes` gave, what matters for the frames between these times (None: open).

        Little more than that is parsed, however long the video. Raises EngineError if it is not that.
        """
        first, *lines = data.split(b"\n")
        try:
            head = json.loads(first + b"]}")
        except ValueError as error:
            raise EngineError("it is not a report of faces.") from error

        def tracks() -> list[dict[str, Any]]:
            reach = round(COVERED_SECONDS / Fraction(head["time_base"]))
            since = None if start is None else start - reach
            return _seen(lines, since, None if end is None else end + reach)

        return cls._checked(head, tracks)

    @classmethod
    def _checked(cls, data: Any, tracks: Callable[[], Iterable[Any]]) -> Self:
        try:
            if data["version"] not in VERSIONS:
                raise EngineError(
                    f"the report is of version {data['version']}, this program reads up to version {VERSION}."
                )
            require_known_recognizer(data["recognizer"])
            found = tuple(_track(track) for track in tracks())
            if {track.continues for track in found} - {None, *(track.id for track in found)}:
                raise ValueError("a track goes on from one that is not there")
            times = {name: tuple(data[name]) for name in ("segments", "shots") if name in data}
            warnings = tuple(TargetWarning(**warning) for warning in data.get("warnings", ()))
            return cls(**{**data, **times, "warnings": warnings, "tracks": found})
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"it is not a report of faces ({error!r}).") from error

    def _head(self) -> dict[str, Any]:
        head = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "tracks"}
        return {**head, "warnings": [asdict(warning) for warning in self.warnings]}

    def _lines(self) -> Iterator[bytes]:
        yield json.dumps(self._head(), separators=COMPACT).encode()[:-1] + b',"tracks":['
        for number, track in enumerate(self.tracks):
            yield b",\n" if number else b"\n"
            yield json.dumps(track.to_json(), separators=COMPACT).encode()
        yield b"\n]}"

    def decided_anew(self, hide: Iterable[int], keep: Iterable[int]) -> Self:
        """The same faces with other decisions for the tracks of these ids. Raises EngineError for an unknown id.

        Warnings end with the first decision by a person.
        """
        wish = {**dict.fromkeys(hide, "hide"), **dict.fromkeys(keep, "keep")}
        unknown = wish.keys() - {track.id for track in self.tracks}
        if unknown:
            numbers = ", ".join(str(number) for number in sorted(unknown))
            raise EngineError(
                f"the report has no track {numbers}; it has {pluralize(len(self.tracks), 'track')}."
            )
        tracks = (
            replace(track, decision=wish[track.id], reason=BY_HAND, strangers_per_10000=None)
            if track.id in wish
            else track
            for track in self.tracks
        )
        return replace(self, tracks=tuple(tracks), warnings=() if wish else self.warnings)


def require_known_recognizer(version: object) -> None:
    """Raise EngineError unless a report with faces found by this recogniser, None for none, can be used."""
    if version is not None:
        calibration_of(str(version))


def _track(data: dict[str, Any]) -> Track:
    if data["decision"] not in ("keep", "hide"):
        raise ValueError(data["decision"])
    looks = CompactBoxes((look["pts"], look["box"]) for look in data["looks"])
    if not looks:
        raise ValueError("a track without looks")
    return Track(**{**data, "looks": looks})


def _cut(line: bytes, start: int | None, end: int | None) -> bytes:
    """A track's line with the looks between the times alone, and one more on either side.

    Nothing in between is read: a face may be there for hours.
    """
    head, middle, looks = line.partition(b'"looks":[')
    looks = looks.removesuffix(b"]}")
    first = 0 if start is None else max(looks.rfind(LOOK, 0, _place_of(looks, start)), 0)
    last = len(looks)
    if end is not None:
        last = looks.find(LOOK, _place_of(looks, end) + 1)
    return head + middle + looks[first : last if last > 0 else len(looks)].removesuffix(b",") + b"]}"


def _place_of(looks: bytes, time: int) -> int:
    """Where the first look at this time or later begins; the end if there is none."""
    low, high = (
        0,
        len(looks),
    )  # looks that begin before `low` are earlier, such that begin at `high` or later are not
    while low < high:
        place = looks.find(LOOK, (low + high) // 2, high)
        if place < 0:
            place = looks.find(LOOK, low, high)
            if place < 0:
                break
        end = looks.index(b",", place)
        if int(looks[place + len(LOOK) : end]) < time:
            low = end
        else:
            high = place
    return high


def _seen(lines: list[bytes], start: int | None, end: int | None) -> list[dict[str, Any]]:
    """The tracks of these lines that are seen between the times, as dicts."""
    if not lines or lines.pop() != b"]}":
        raise ValueError("its end is missing")
    found = []
    for line in lines:
        when = _WHEN.match(line)
        if when is None:
            raise ValueError("a line that is no track")
        if (end is None or int(when[1]) <= end) and (start is None or int(when[2]) >= start):
            found.append(json.loads(_cut(line.removesuffix(b","), start, end)))
    ids = {track["id"] for track in found}
    return [
        {**track, "continues": track["continues"] if track["continues"] in ids else None} for track in found
    ]
