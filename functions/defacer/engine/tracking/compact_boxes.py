"""Where a face was seen, frame by frame: a sequence of looks that takes 24 bytes for each, not 300."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class BoxAt:
    """A box that the detector saw: `x1, y1, x2, y2` in pixels of the displayed frame at time `pts`.

    Among `Looks` to a tenth of a pixel.
    """

    pts: int
    box: Box


class CompactBoxes(Sequence[BoxAt]):
    """Looks in the order of time; the crowds of a long video have millions of them."""

    def __init__(self, looks: Iterable[tuple[int, Iterable[float]]] = ()):
        self._pts = array("q")
        self._sides = array("f")
        for pts, box in looks:
            x1, y1, x2, y2 = box
            self._pts.append(pts)
            self._sides.extend(round(float(side), 1) for side in (x1, y1, x2, y2))

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
        """Return the looks from the index `start` to before `end`."""
        rest = CompactBoxes()
        rest._pts, rest._sides = (
            self._pts[start:end],
            self._sides[4 * start : None if end is None else 4 * end],
        )
        return rest

    def box_at(self, pts: int) -> Box:
        """Return the box at that time, interpolated; before the first look and after the last one, that look's."""
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
