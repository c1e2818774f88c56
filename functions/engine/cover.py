"""Where a picture has to be hidden at a given time: from the faces' tracks to boxes."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from functions.engine.conceal import OPAQUE, SOFT, Openings
from functions.engine.detect import OVERLAP_OF_ONE_FACE
from functions.engine.faces import Box, Faces, Look

LEAD_SECONDS = 0.25  # a face is covered this long before it was first seen,
TAIL_SECONDS = 0.4  # and this long after it was last seen
UNSEEN_GROWTH = 0.1  # and then by this share larger,
UNSEEN_REACH = (
    1.0  # and as far as it moves at its first or last speed, but no farther than this share of its size
)
SPEED_SECONDS = 0.1  # speed is told from two looks at least so far apart: boxes tremble
FLASHES_SECONDS = 0.5  # cuts that are nearer to each other are a flashing light: what was hidden stays hidden
LEAST_WIDTH = 0.7  # of its height: a box at the frame's edge that is narrower shows a part of a face,
LEAST_HEIGHT = 1.1  # of its width: and so does one that is lower
EDGE = 0.02  # of the frame's width or height


@dataclass(frozen=True)
class _Span:
    """Cover the way through these looks from `start` to `end` (both included)."""

    start: int
    end: int
    looks: Sequence[Look]
    speed_time: int = 0  # SPEED_SECONDS; 0: nothing moves on
    is_gap: bool = False  # between two tracks: the face was not seen on the way

    def is_followed(self, pts: int) -> bool:
        """Return whether `pts` is between the first and the last sample of a track."""
        return not self.is_gap and self.looks[0].pts <= pts <= self.looks[-1].pts

    def nearest_end(self, pts: int) -> Look:
        """Return the first sample for a time before it, else the last sample."""
        return self.looks[0] if pts < self.looks[0].pts else self.looks[-1]

    def reach(self, pts: int) -> Box:
        """Return the box around the samples before and after `pts`, grown. A followed face stays inside it."""
        after = bisect_right(self._times, pts)
        one, other = self.looks[max(after - 1, 0)].box, self.looks[min(after, len(self.looks) - 1)].box
        if self.looks[max(after - 1, 0)].pts == pts:
            other = one
        return _grown(_around(one, other))

    @cached_property
    def _times(self) -> list[int]:
        return [look.pts for look in self.looks]

    def box(self, pts: int) -> Box:
        """Interpolated between looks; before the first and after the last it stays there and moves on, both, grown."""
        times = self._times
        after = bisect_right(times, pts)
        if after == 0:
            return _unseen(self.looks[0], self._second, pts)
        if pts > times[-1]:
            return _unseen(self.looks[-1], self._last_but_one, pts)
        one, other = self.looks[after - 1], self.looks[min(after, len(times) - 1)]
        share = (pts - one.pts) / (other.pts - one.pts) if other.pts > one.pts else 0.0
        x1, y1, x2, y2 = (a + share * (b - a) for a, b in zip(one.box, other.box, strict=True))
        return (x1, y1, x2, y2)

    @cached_property
    def _second(self) -> Look:
        far = (look for look in self.looks if look.pts - self.looks[0].pts >= self.speed_time > 0)
        return next(far, self.looks[0])

    @cached_property
    def _last_but_one(self) -> Look:
        far = (look for look in reversed(self.looks) if self.looks[-1].pts - look.pts >= self.speed_time > 0)
        return next(far, self.looks[-1])


class _Timeline:
    """Spans in order of time."""

    def __init__(self, spans: Iterable[_Span]):
        self._waiting = sorted(spans, key=lambda span: span.start, reverse=True)
        self._active: list[_Span] = []

    def at(self, pts: int) -> list[_Span]:
        """Return the spans that hold `pts`, which must not go back."""
        while self._waiting and self._waiting[-1].start <= pts:
            self._active.append(self._waiting.pop())
        self._active = [span for span in self._active if span.end >= pts]
        return self._active


class Cover:
    """The boxes to hide and the openings in their masks, frame by frame, in order of time."""

    def __init__(self, faces: Faces, tail_seconds: float = TAIL_SECONDS):
        self._size = (faces.width, faces.height)
        self._shots = faces.shots
        self._hidden = _Timeline(_spans(faces, tail_seconds))
        self._kept = _Timeline(
            _Span(track.start, track.end, track.looks) for track in faces.tracks if track.decision == "keep"
        )

    def boxes(self, pts: int) -> list[Box]:
        """The boxes (x1, y1, x2, y2 in displayed pixels) to hide at `pts`, which must not go back."""
        return [self._whole(span.box(pts)) for span in self._masked(pts)]

    def openings(self, pts: int, held: Sequence[Box] = ()) -> Openings:
        """Return where the masks of `boxes` stay open at `pts`, so that kept faces are seen.

        `held` are the boxes of faces that are followed beyond their tracks (see `hold.py`); they have masks, too.
        A mask is larger than the face under it, and it opens over kept faces. Boxes that can contain a hidden face
        stay closed. In a lead, a tail or a gap a face can be anywhere, so the whole mask stays closed.
        """
        masked = self._masked(pts)
        masks = [_masked_box(self._whole(span.box(pts))) for span in masked]
        kept = [span.box(pts) for span in self._kept.at(pts)]
        masks_of_all = [*masks, *map(_masked_box, held)]
        kept = [box for box in kept if any(_shared(box, mask) for mask in masks_of_all)]
        if not kept:
            return Openings()
        closed = [
            self._whole(span.reach(pts)) if span.is_followed(pts) else mask
            for span, mask in zip(masked, masks, strict=True)
        ]
        return Openings(kept, [*closed, *held])

    def _whole(self, box: Box) -> Box:
        return _whole_face(box, *self._size)

    def _masked(self, pts: int) -> list[_Span]:
        hidden, kept = self._hidden.at(pts), self._kept.at(pts)
        return [span for span in hidden if not self._is_replaced(span, pts, hidden, kept)]

    def _is_replaced(self, span: _Span, pts: int, hidden: Sequence[_Span], kept: Sequence[_Span]) -> bool:
        """Return whether a kept face took the place of a face that is not seen at `pts`, by a cut.

        A flashing light looks like cuts that follow one another, so the cut alone does not end a mask.
        """
        if span.is_gap or span.is_followed(pts):
            return False
        look = span.nearest_end(pts)
        return any(self._replaces(other, look) for other in kept) and not any(
            other.is_followed(pts) and _overlap(other.box(pts), look.box) >= OVERLAP_OF_ONE_FACE
            for other in hidden
        )

    def _replaces(self, kept: _Span, look: Look) -> bool:
        other = kept.nearest_end(look.pts)
        cuts = bisect_right(self._shots, look.pts), bisect_right(self._shots, other.pts)
        return cuts[0] != cuts[1] and _overlap(other.box, look.box) >= OVERLAP_OF_ONE_FACE


def _spans(faces: Faces, tail_seconds: float) -> Iterator[_Span]:
    """What has to be covered: each hidden track, and the gap between two tracks unless both are kept."""
    lead, tail, speed_time, flashes = (
        round(seconds / Fraction(faces.time_base))
        for seconds in (LEAD_SECONDS, tail_seconds, SPEED_SECONDS, FLASHES_SECONDS)
    )
    tracks = {track.id: track for track in faces.tracks}
    cuts = _single(faces.shots, flashes)
    for track in faces.tracks:
        before = None if track.continues is None else tracks[track.continues]
        if track.decision == "hide":
            cut = bisect_right(cuts, track.start)
            start = track.start - (0 if before else lead)
            end = track.end + tail
            if cut:
                start = max(start, cuts[cut - 1])
            if cut < len(cuts):
                end = min(end, cuts[cut] - 1)
            yield _Span(start, end, track.looks, speed_time)
        if before and "hide" in (track.decision, before.decision):
            yield _Span(before.end, track.start, (before.looks[-1], track.looks[0]), is_gap=True)


def _single(shots: Sequence[int], least: int) -> list[int]:
    """The cuts that have no other one nearer than `least`."""
    apart = [True, *(later - earlier >= least for earlier, later in pairwise(shots)), True]
    return [shot for shot, before, after in zip(shots, apart, apart[1:], strict=False) if before and after]


def _unseen(look: Look, other: Look, pts: int) -> Box:
    """Where a face may be that was seen at `look` and, before or after that, at `other`, but not at `pts`."""
    x1, y1, x2, y2 = look.box
    away = (pts - look.pts) / (look.pts - other.pts) if look.pts != other.pts else 0.0
    reach_x, reach_y = UNSEEN_REACH * (x2 - x1), UNSEEN_REACH * (y2 - y1)
    shift_x = _between(-reach_x, away * (x1 + x2 - other.box[0] - other.box[2]) / 2, reach_x)
    shift_y = _between(-reach_y, away * (y1 + y2 - other.box[1] - other.box[3]) / 2, reach_y)
    return _grown(_around(look.box, (x1 + shift_x, y1 + shift_y, x2 + shift_x, y2 + shift_y)))


def _between(least: float, value: float, most: float) -> float:
    return max(least, min(value, most))


def _grown(box: Box) -> Box:
    more_x, more_y = ((box[2] - box[0]) * UNSEEN_GROWTH / 2, (box[3] - box[1]) * UNSEEN_GROWTH / 2)
    return (box[0] - more_x, box[1] - more_y, box[2] + more_x, box[3] + more_y)


def _around(one: Box, other: Box) -> Box:
    """Return the smallest box that holds both."""
    return (min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3]))


def _masked_box(box: Box) -> Box:
    """Return the box around the mask that is drawn for this box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_width, half_height = ((box[side + 2] - box[side]) / 2 * OPAQUE * SOFT for side in (0, 1))
    return (x - half_width, y - half_height, x + half_width, y + half_height)


def _shared(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    shared = _shared(one, other)
    return shared / max(_shared(one, one) + _shared(other, other) - shared, 1e-6)


def _whole_face(box: Box, width: int, height: int) -> Box:
    """The box grown to a face's proportions where the frame's edge (width x height) cuts the face off.

    What the detector boxes there is the part that is seen, and often not all of that.
    """
    x1, y1, x2, y2 = box
    margin_x, margin_y = EDGE * width, EDGE * height
    if x1 < margin_x or y1 < margin_y or x2 > width - margin_x or y2 > height - margin_y:
        more_x = max(0.0, LEAST_WIDTH * (y2 - y1) - (x2 - x1)) / 2
        more_y = max(0.0, LEAST_HEIGHT * (x2 - x1) - (y2 - y1)) / 2
        return (x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y)
    return box
