"""Where a face was detected, frame by frame: a sequence of boxes that takes 24 bytes for each, not 300."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, overload

from pydantic import PlainSerializer, PlainValidator

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class BoxAt:
    """A box that the detector found: `x1, y1, x2, y2` in pixels of the displayed frame at time `pts`.

    In `CompactBoxes` it is rounded to a tenth of a pixel.
    """

    pts: int
    box: Box


class CompactBoxes(Sequence[BoxAt]):
    """The detections of one track in the order of time. The crowds of a long video have millions of them."""

    def __init__(self, boxes: Iterable[tuple[int, Iterable[float]]] = ()):
        self._pts = array("q")
        self._sides = array("f")
        for pts, box in boxes:
            x1, y1, x2, y2 = map(float, box)
            self._pts.append(pts)
            self._sides.extend((round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1)))

    def __len__(self) -> int:
        return len(self._pts)

    @overload
    def __getitem__(self, index: int) -> BoxAt: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BoxAt]: ...
    def __getitem__(self, index: int | slice) -> BoxAt | Sequence[BoxAt]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        x1, y1, x2, y2 = self._sides[4 * number : 4 * number + 4]
        return BoxAt(self._pts[number], (round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1)))

    def part(self, start: int, end: int | None) -> "CompactBoxes":
        """Return the detections from the index `start` to before `end`."""
        part = CompactBoxes()
        part._pts = self._pts[start:end]
        part._sides = self._sides[4 * start : None if end is None else 4 * end]
        return part

    def split_at(self, pts: int) -> tuple["CompactBoxes", "CompactBoxes"]:
        """Return the detections before a time, and those from this time on."""
        place = bisect_left(self._pts, pts)
        return self.part(0, place), self.part(place, None)

    def around(self, start: int | None, end: int | None) -> "CompactBoxes":
        """Return the detections between two times (None: open), with the last one before and the first one after."""
        first = 0 if start is None else max(0, bisect_left(self._pts, start) - 1)
        last = None if end is None else bisect_left(self._pts, end) + 1
        return self.part(first, last)

    def spans(self, max_gap: int) -> tuple[tuple[int, int], ...]:
        """Return the first and the last time of each run of detections that are at most `max_gap` apart."""
        runs: list[list[int]] = []
        for pts in self._pts:
            if runs and pts - runs[-1][1] <= max_gap:
                runs[-1][1] = pts
            else:
                runs.append([pts, pts])
        return tuple((first, last) for first, last in runs)

    def box_at(self, pts: int) -> Box:
        """Return the interpolated box at that time. Before the first detection and after the last, return its box."""
        after = bisect_right(self._pts, pts)
        one, other = max(after - 1, 0), min(after, len(self) - 1)
        first, last = self._pts[one], self._pts[other]
        share = min(max((pts - first) / (last - first), 0.0), 1.0) if last > first else 0.0
        sides = zip(self._sides[4 * one : 4 * one + 4], self._sides[4 * other : 4 * other + 4], strict=True)
        x1, y1, x2, y2 = (a + share * (b - a) for a, b in sides)
        return (x1, y1, x2, y2)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CompactBoxes) and (self._pts, self._sides) == (other._pts, other._sides)

    def __hash__(self) -> int:
        return hash((bytes(self._pts), bytes(self._sides)))


def _parse_boxes(value: object) -> CompactBoxes:
    if isinstance(value, CompactBoxes):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("not a list of detections with at least one element")
    try:
        boxes = CompactBoxes((item["pts"], item["box"]) for item in value)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not a list of detections: {error!r}") from error
    if not all(map(isfinite, boxes._sides)):
        raise ValueError("a box with a side that is not finite")
    return boxes


def _dump_boxes(boxes: CompactBoxes) -> list[dict[str, object]]:
    return [{"pts": item.pts, "box": item.box} for item in boxes]


# The type of a field that pydantic reads and writes as a list of objects `{"pts": ..., "box": [...]}`.
StoredBoxes = Annotated[CompactBoxes, PlainValidator(_parse_boxes), PlainSerializer(_dump_boxes)]
