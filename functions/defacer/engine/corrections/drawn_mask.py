"""Masks that a person draws by numbers: `0:12-0:14.5@100,50,80,90;0:13@120,50,80,90`, or a JSON file with many."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor, isfinite
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from defacer.engine.corrections.span_search import FrameCallback, TimeSpan
from defacer.engine.errors import ArgumentError
from defacer.engine.media.clock.clocked_source import Source
from defacer.engine.tracking.frame_faces import format_time, parse_moment
from defacer.report.compact_boxes import Box, BoxAt, CompactBoxes
from defacer.report.edits import AddedTrack
from defacer.report.faces import Faces
from defacer.report.tracks import STRICT

ROUNDING = Fraction(1, 100)  # seconds: the commands print times in hundredths
FORM = "FROM-TO@X,Y,WIDTH,HEIGHT, with ;TIME@X,Y,WIDTH,HEIGHT for each correction"


@dataclass(frozen=True)
class SecondsRange:
    """Seconds after the first frame. None is the start or the end of the video."""

    start: Fraction | None = None
    end: Fraction | None = None

    def to_span(self, source: Source, faces: Faces, *, past_damage: bool) -> TimeSpan:
        """Return the times of the video. Raise ArgumentError for a range outside it.

        Rounded times leave no frame out: the span begins and ends up to a hundredth of a second outside them.
        """
        first, last = faces.start or 0, faces.end
        if last is None:
            raise ArgumentError("The report does not state when the video ends. Make a new report.")
        start = first if self.start is None else to_pts(self.start - ROUNDING, faces)
        end = last if self.end is None else to_pts(self.end + ROUNDING, faces)
        if self.start is not None and to_pts(self.start, faces) > last:
            shown = format_time((last - first) * Fraction(faces.time_base))
            raise ArgumentError(
                f"{format_time(self.start or Fraction(0))} is after the last frame, which is at {shown}. Name an "
                "earlier time."
            )
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ArgumentError(
                f"The time span {format_time(self.start)}-{format_time(self.end)} ends before it begins. Name the "
                "earlier time first."
            )
        return TimeSpan(source, faces, max(start, first), min(end, last), past_damage)


@dataclass(frozen=True)
class DrawnMask:
    """A mask for a time range: boxes by their times, and whether it follows the face inside them.

    The time None is the start of the range.
    """

    range: SecondsRange
    boxes: Mapping[Fraction | None, Box]
    follow: bool = True

    def to_track(
        self,
        source: Source,
        faces: Faces,
        follow: Callable[[TimeSpan, Sequence[BoxAt], FrameCallback], AddedTrack],
        progress: FrameCallback = lambda _: None,
        *,
        past_damage: bool = False,
    ) -> AddedTrack:
        """Return the mask as a track. `follow` (`Engine.follow_box`) is called if the mask follows a face.

        Raise ArgumentError for times and boxes outside the video, and VideoError.
        """
        span, anchors = self.place(source, faces, past_damage=past_damage)
        if self.follow:
            return follow(span, anchors, progress)
        boxes = {anchor.pts: anchor.box for anchor in anchors}
        boxes.setdefault(span.start, anchors[0].box)
        boxes.setdefault(span.end, anchors[-1].box)
        return AddedTrack(CompactBoxes(sorted(boxes.items())))

    def place(self, source: Source, faces: Faces, *, past_damage: bool) -> tuple[TimeSpan, list[BoxAt]]:
        """Return the times and the boxes of the mask in the video. Raise ArgumentError for those outside it."""
        span = self.range.to_span(source, faces, past_damage=past_damage)
        anchors = sorted(
            (
                BoxAt(span.start if time is None else to_pts(time, faces), box)
                for time, box in self.boxes.items()
            ),
            key=lambda anchor: anchor.pts,
        )
        for anchor in anchors:
            x1, y1, x2, y2 = anchor.box
            if x1 >= faces.width or y1 >= faces.height or x2 <= 0 or y2 <= 0:
                raise ArgumentError(
                    f"The box {x1:g},{y1:g},{x2 - x1:g},{y2 - y1:g} is outside the frame of "
                    f"{faces.width}x{faces.height} pixels. Draw it inside the frame."
                )
        for time in self.boxes:
            if time is not None and not span.start <= to_pts(time, faces) <= span.end:
                raise ArgumentError(
                    f"The box at {format_time(time)} is outside its time span. Choose a time inside it."
                )
        return span, anchors


def to_pts(seconds: Fraction, faces: Faces) -> int:
    """Return the time of the video that is this many seconds after its first frame."""
    return (faces.start or 0) + floor(seconds / Fraction(faces.time_base))


def parse_range(text: str) -> SecondsRange:
    """Parse `FROM-TO`. Raise ArgumentError for any other text."""
    start, dash, end = text.partition("-")
    if not dash:
        raise ArgumentError(f"{text!r} is not a time span. Write FROM-TO, such as 0:12-0:14.5.")
    return SecondsRange(parse_seconds(start), parse_seconds(end))


def parse_mask(text: str, *, follow: bool = True) -> DrawnMask:
    """Parse `FROM-TO@X,Y,WIDTH,HEIGHT`, with `;TIME@X,Y,WIDTH,HEIGHT` for each correction.

    Without `FROM-TO@`, the mask is for the whole video. Raise ArgumentError for any other text.
    """
    first, *rest = text.split(";")
    span, at, box = first.rpartition("@")
    boxes: dict[Fraction | None, Box] = {None: _parse_box(box, text)}
    for part in rest:
        time, found, box = part.partition("@")
        if not found:
            raise _wrong_mask(text)
        boxes[parse_seconds(time)] = _parse_box(box, text)
    return DrawnMask(parse_range(span) if at else SecondsRange(), boxes, follow)


@dataclass(frozen=True)
class _BoxEntry:
    __pydantic_config__ = STRICT
    box: tuple[float, float, Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    time: float | str | None = None


@dataclass(frozen=True)
class _MaskEntry:
    __pydantic_config__ = STRICT
    boxes: Annotated[list[_BoxEntry], Field(min_length=1)]
    start: float | str | None = None
    end: float | str | None = None
    follow: bool = True


_MASKS = TypeAdapter(list[_MaskEntry])


def read_masks(path: Path, *, follow: bool = True) -> list[DrawnMask]:
    """Return the masks of a JSON file, which is a list of objects.

    Each has `boxes` with a `box` (X, Y, width, height) and a `time`, and optionally `start`, `end` and `follow`. Times
    are as in `parse_mask`. Raise ArgumentError for any other file.
    """
    if not path.is_file():
        raise ArgumentError(f"{path} does not exist. Name an existing file.")
    try:
        entries = _MASKS.validate_json(path.read_bytes())
    except ValueError as error:
        raise ArgumentError(
            f"{path} is not a list of masks. Write objects such as "
            '{"start": 12, "end": 14.5, "boxes": [{"box": [100, 50, 80, 90]}]}.'
        ) from error
    return [
        DrawnMask(
            SecondsRange(_time(entry.start), _time(entry.end)),
            {_time(item.time): _corners(item.box) for item in entry.boxes},
            entry.follow and follow,
        )
        for entry in entries
    ]


def _time(value: float | str | None) -> Fraction | None:
    return None if value is None else parse_seconds(str(value))


def parse_seconds(text: str) -> Fraction:
    """Return the seconds of a time, such as `0:12.5`. Raise ArgumentError for any other text."""
    moment = parse_moment(text.strip())
    if moment.number is not None:
        raise ArgumentError(f"{text!r} has the number of a face. Write the time alone, such as 0:12.5.")
    return moment.seconds


def _parse_box(text: str, whole: str) -> Box:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise _wrong_mask(whole) from error
    if len(numbers) != 4 or not all(map(isfinite, numbers)) or numbers[2] <= 0 or numbers[3] <= 0:
        raise _wrong_mask(whole)
    return _corners(numbers)


def _corners(box: Sequence[float]) -> Box:
    x, y, width, height = box
    return (x, y, x + width, y + height)


def _wrong_mask(text: str) -> ArgumentError:
    return ArgumentError(f"{text!r} is not a mask. Write {FORM}. Without FROM-TO@ it is for the whole video.")
