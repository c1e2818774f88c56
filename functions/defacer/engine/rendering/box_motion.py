"""The motion of one face: its box between, before and after the sampled frames."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from defacer.engine.models.arrays import Array
from defacer.report.compact_boxes import Box, BoxAt

EXTRAPOLATED_GROWTH = 0.1  # a box grows by this share before the first sample and after the last one
# Such a box also encloses the face's way at its first or last speed, up to this many times its size. In a fast pan a
# face moves by five times its size in a second.
MAX_EXTRAPOLATION = 3.0
# Speed is measured between samples at least this far apart, because boxes jitter. Between nearer samples, a box
# that only grows or shrinks does not count as moving.
SPEED_SECONDS = 0.1


@dataclass(frozen=True)
class BoxMotion:
    """The box of a face from `start` to `end` (both included), by its sampled boxes."""

    start: int
    end: int
    samples: Sequence[BoxAt]
    speed_time: int = 0  # SPEED_SECONDS; 0: the box stays after its last sample
    is_gap: bool = False  # between two tracks: the face was not detected there
    earlier: Sequence[BoxAt] = ()  # the last sample of the track before, for the speed
    later: Sequence[BoxAt] = ()  # the first sample of the next track, for the speed
    continues_in_place: bool = (
        False  # the next track is hidden and in the last place, so the tail stays there
    )

    def is_tracked(self, pts: int) -> bool:
        """Return whether `pts` is between the first and the last sample of a track."""
        return not self.is_gap and self._first_sample.pts <= pts <= self._last_sample.pts

    def nearest_end(self, pts: int) -> BoxAt:
        """Return the first sample for a time before it, else the last sample."""
        return self._first_sample if pts < self._first_sample.pts else self._last_sample

    def enclosing_box(self, pts: int) -> Box:
        """Return the box around the samples before and after `pts`, expanded. A tracked face stays inside it."""
        after = bisect_right(self._times, pts)
        one, other = self.samples[max(after - 1, 0)].box, self.samples[min(after, len(self.samples) - 1)].box
        if self.samples[max(after - 1, 0)].pts == pts:
            other = one
        return expand_box(enclose_boxes(one, other), EXTRAPOLATED_GROWTH / 2)

    @cached_property
    def _first_sample(self) -> BoxAt:
        return self.samples[0]

    @cached_property
    def _last_sample(self) -> BoxAt:
        return self.samples[-1]

    @cached_property
    def _times(self) -> list[int]:
        return [sample.pts for sample in self.samples]

    def box(self, pts: int) -> Box:
        """Return the box at `pts`: interpolated between samples, else extrapolated from the nearest one."""
        times = self._times
        after = bisect_right(times, pts)
        if after == 0:
            return self._extrapolated_box(self._first_sample, self._second_sample, pts)
        if pts > times[-1]:
            return self._extrapolated_box(self._last_sample, self._last_but_one_sample, pts)
        one, other = self.samples[after - 1], self.samples[min(after, len(times) - 1)]
        share = (pts - one.pts) / (other.pts - one.pts) if other.pts > one.pts else 0.0
        x1, y1, x2, y2 = (a + share * (b - a) for a, b in zip(one.box, other.box, strict=True))
        return (x1, y1, x2, y2)

    @cached_property
    def _second_sample(self) -> BoxAt:
        return self._far_enough(self.samples[0], [*self.samples, *self.later])

    @cached_property
    def _last_but_one_sample(self) -> BoxAt:
        if self.continues_in_place:
            return self.samples[-1]
        return self._far_enough(self.samples[-1], [*reversed(self.samples), *self.earlier])

    def _far_enough(self, sample: BoxAt, others: Sequence[BoxAt]) -> BoxAt:
        """Return the first of the others that is far enough from `sample` to measure a speed, else the last."""
        far = (other for other in others if abs(other.pts - sample.pts) >= self.speed_time)
        return next(far, others[-1])

    def _extrapolated_box(self, sample: BoxAt, other: BoxAt, pts: int) -> Box:
        """Return the box around `sample` and its place at `pts`, expanded. `other` defines the speed."""
        time = sample.pts - other.pts
        x1, y1, x2, y2 = (a - b for a, b in zip(sample.box, other.box, strict=True))
        near = abs(time) < self.speed_time
        move_x, move_y = (
            (_common_shift(x1, x2), _common_shift(y1, y2)) if near else ((x1 + x2) / 2, (y1 + y2) / 2)
        )
        steps = (pts - sample.pts) / time if time else 0.0
        reach_x, reach_y = (MAX_EXTRAPOLATION * (sample.box[side + 2] - sample.box[side]) for side in (0, 1))
        shift_x = max(-reach_x, min(steps * move_x, reach_x))
        shift_y = max(-reach_y, min(steps * move_y, reach_y))
        x1, y1, x2, y2 = sample.box
        return expand_box(
            enclose_boxes(sample.box, (x1 + shift_x, y1 + shift_y, x2 + shift_x, y2 + shift_y)),
            EXTRAPOLATED_GROWTH / 2,
        )


def compute_overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    shared = shared_area(one, other)
    return shared / max(shared_area(one, one) + shared_area(other, other) - shared, 1e-6)


def shared_area(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def expand_box(box: Box, share: float) -> Box:
    """Return the box, larger on each side by this share of its size."""
    more_x, more_y = (share * (box[side + 2] - box[side]) for side in (0, 1))
    return (box[0] - more_x, box[1] - more_y, box[2] + more_x, box[3] + more_y)


def enclose_boxes(*boxes: Box) -> Box:
    """Return the smallest box that contains all of these."""
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return (min(x1), min(y1), max(x2), max(y2))


def contains_center(box: Box | Array, other: Box | Array) -> bool:
    """Return whether the center of the other box is inside this one."""
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    return bool(box[0] < x < box[2] and box[1] < y < box[3])


def _common_shift(one: float, other: float) -> float:
    """Return how far two opposite sides of a box moved together."""
    return math.copysign(min(abs(one), abs(other)), one) if one * other > 0 else 0.0
