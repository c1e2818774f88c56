"""The way of one face through time: its box between, before and after the sampled frames."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from defacer.report.compact_boxes import Box, BoxAt

UNSEEN_GROWTH = 0.1  # a box is this share larger where the face was not sampled before and after it
# There it also reaches as far as the face moves at its first or last speed, up to this many times its size. A fast
# pan carries a face across five times its size in a second and more.
UNSEEN_REACH = 3.0
# Speed is measured between samples at least this far apart, because boxes tremble. Between nearer samples, a box
# that only grows or shrinks does not count as moving.
SPEED_SECONDS = 0.1


@dataclass(frozen=True)
class BoxMotion:
    """Cover the way through these looks from `start` to `end` (both included)."""

    start: int
    end: int
    looks: Sequence[BoxAt]
    speed_time: int = 0  # SPEED_SECONDS; 0: nothing moves on
    is_gap: bool = False  # between two tracks: the face was not seen on the way
    earlier: Sequence[BoxAt] = ()  # the last sample of the track that this one continues: for the speed
    later: Sequence[BoxAt] = ()  # the first sample of the track that continues this one
    is_followed_there: bool = False  # a hidden track continues in the last place, so the tail stays there

    def is_followed(self, pts: int) -> bool:
        """Return whether `pts` is between the first and the last sample of a track."""
        return not self.is_gap and self._first.pts <= pts <= self._last.pts

    def nearest_end(self, pts: int) -> BoxAt:
        """Return the first sample for a time before it, else the last sample."""
        return self._first if pts < self._first.pts else self._last

    def reach(self, pts: int) -> Box:
        """Return the box around the samples before and after `pts`, grown. A followed face stays inside it."""
        after = bisect_right(self._times, pts)
        one, other = self.looks[max(after - 1, 0)].box, self.looks[min(after, len(self.looks) - 1)].box
        if self.looks[max(after - 1, 0)].pts == pts:
            other = one
        return _grown(_around(one, other))

    @cached_property
    def _first(self) -> BoxAt:
        return self.looks[0]

    @cached_property
    def _last(self) -> BoxAt:
        return self.looks[-1]

    @cached_property
    def _times(self) -> list[int]:
        return [look.pts for look in self.looks]

    def box(self, pts: int) -> Box:
        """Interpolated between looks; before the first and after the last it stays there and moves on, both, grown."""
        times = self._times
        after = bisect_right(times, pts)
        if after == 0:
            return self._unseen(self._first, self._second, pts)
        if pts > times[-1]:
            return self._unseen(self._last, self._last_but_one, pts)
        one, other = self.looks[after - 1], self.looks[min(after, len(times) - 1)]
        share = (pts - one.pts) / (other.pts - one.pts) if other.pts > one.pts else 0.0
        x1, y1, x2, y2 = (a + share * (b - a) for a, b in zip(one.box, other.box, strict=True))
        return (x1, y1, x2, y2)

    @cached_property
    def _second(self) -> BoxAt:
        return self._apart(self.looks[0], [*self.looks, *self.later])

    @cached_property
    def _last_but_one(self) -> BoxAt:
        if self.is_followed_there:
            return self.looks[-1]
        return self._apart(self.looks[-1], [*reversed(self.looks), *self.earlier])

    def _apart(self, look: BoxAt, others: Sequence[BoxAt]) -> BoxAt:
        """Return the first of the others that is far enough from `look` to measure a speed, else the last."""
        far = (other for other in others if abs(other.pts - look.pts) >= self.speed_time)
        return next(far, others[-1])

    def _unseen(self, look: BoxAt, other: BoxAt, pts: int) -> Box:
        """Return the box around the places from `look` to where the face is at `pts` at its speed, grown."""
        time = look.pts - other.pts
        x1, y1, x2, y2 = (a - b for a, b in zip(look.box, other.box, strict=True))
        near = abs(time) < self.speed_time
        move_x, move_y = (_common(x1, x2), _common(y1, y2)) if near else ((x1 + x2) / 2, (y1 + y2) / 2)
        away = (pts - look.pts) / time if time else 0.0
        reach_x, reach_y = (UNSEEN_REACH * (look.box[side + 2] - look.box[side]) for side in (0, 1))
        shift_x = max(-reach_x, min(away * move_x, reach_x))
        shift_y = max(-reach_y, min(away * move_y, reach_y))
        x1, y1, x2, y2 = look.box
        return _grown(_around(look.box, (x1 + shift_x, y1 + shift_y, x2 + shift_x, y2 + shift_y)))


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    shared = shared_area(one, other)
    return shared / max(shared_area(one, one) + shared_area(other, other) - shared, 1e-6)


def shared_area(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _grown(box: Box) -> Box:
    more_x, more_y = ((box[2] - box[0]) * UNSEEN_GROWTH / 2, (box[3] - box[1]) * UNSEEN_GROWTH / 2)
    return (box[0] - more_x, box[1] - more_y, box[2] + more_x, box[3] + more_y)


def _around(one: Box, other: Box) -> Box:
    """Return the smallest box that holds both."""
    return (min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3]))


def _common(one: float, other: float) -> float:
    """Return how far two opposite sides of a box moved together."""
    return math.copysign(min(abs(one), abs(other)), one) if one * other > 0 else 0.0
