"""Record the masks that were drawn in each frame of a segment."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from defacer.report.compact_boxes import Box


class DrawnMasks:
    """Boxes by presentation time, added in the order of time; 24 bytes for each box."""

    def __init__(self) -> None:
        self._pts = array("q")
        self._sides = array("f")

    def add(self, pts: int, boxes: Sequence[Box]) -> None:
        """Record the boxes (x1, y1, x2, y2 in displayed pixels) that were drawn in the frame at `pts`."""
        for box in boxes:
            self._pts.append(pts)
            self._sides.extend(box)

    def at(self, pts: int) -> list[Box]:
        """Return the boxes that were drawn in the frame at `pts`."""
        boxes: list[Box] = []
        index = bisect_left(self._pts, pts)
        while index < len(self._pts) and self._pts[index] == pts:
            x1, y1, x2, y2 = self._sides[4 * index : 4 * index + 4]
            boxes.append((x1, y1, x2, y2))
            index += 1
        return boxes
