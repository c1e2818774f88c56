"""Hold the mask of a hidden face while the face is still seen, but not detected.

After its last sampled frame, a hidden face is followed until it left or was covered, for HOLD_SECONDS at most. Before
its first sampled frame it is followed backwards, for AHEAD_SECONDS at most: frames wait in a look-ahead buffer for
that. A cut ends both. Another track in the face's place does so too, because that track decides there.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import av
import cv2
import numpy as np

from defacer.engine.media.orientation import Orientation
from defacer.engine.media.reader import Segment
from defacer.engine.rendering.box_motion import overlap, shared_area
from defacer.engine.rendering.masks import MIN_HEIGHT, MIN_WIDTH
from defacer.engine.rendering.point_tracker import FacePoints, Image
from defacer.engine.tracking.compact_boxes import BoxAt
from defacer.engine.tracking.face_report import Box, Faces, Track

HOLD_SECONDS = 4.0
AHEAD_SECONDS = 1.0
MISSED_SECONDS = 0.2  # a flash or a quick movement hides the points for less
MAX_WAITING_BYTES = 96 * 2**20  # of frames in the look-ahead buffer: 1.1 s of 1080p at 30 fps
IMAGE_SIDE = 960  # faces are followed in frames that are made smaller, to this long side
GROWTH = 0.1  # of a box: the face turns and comes nearer
SAME_FACE = 0.2  # overlap (intersection over union) with a hidden track that covers the face itself
KEPT_FACE = 0.3  # share of the smaller box that the mask and a kept face have in common


@dataclass(frozen=True)
class _Stretch:
    """Follow the face of track `number` from `look` through the times `first` to `last` (both included)."""

    number: int
    look: BoxAt
    first: int
    last: int


class MaskExtension:
    """Follows the hidden tracks of `faces`, or only those in `followed`, beyond their sampled frames.

    More faces can be added until the frames of their detections have passed.
    """

    def __init__(self, faces: Faces, orientation: Orientation, followed: Sequence[Track] | None = None):
        self._faces = faces
        self._orientation = orientation
        self._starts = np.array([track.start for track in faces.tracks], np.int64)
        self._ends = np.array([track.end for track in faces.tracks], np.int64)
        continued = {track.continues for track in faces.tracks}
        hidden = (
            [track for track in faces.tracks if track.decision == "hide"] if followed is None else followed
        )
        self._after = _in_order(self._stretch_after(track) for track in hidden if track.id not in continued)
        self._before = _in_order(self._stretch_before(track) for track in hidden if track.continues is None)

    def follow_before(self, track: Track) -> None:
        """Follow the face before its first detection, too."""
        self._before = _in_order([*self._before, self._stretch_before(track)])

    def follow_after(self, track: Track) -> None:
        """Follow the face after its last detection, too."""
        self._after = _in_order([*self._after, self._stretch_after(track)])

    def reach(self, segment: Segment) -> Segment:
        """Return the times whose frames have to be decoded for the segment: a face may be followed into it."""
        start, end = segment.start, segment.end
        if start is not None:
            past = (s.look.pts for s in self._after if s.look.pts < start <= s.last)
            start = min(past, default=start)
        if end is not None:
            later = (s.look.pts + 1 for s in self._before if s.first < end <= s.look.pts)
            end = max(later, default=end)
        return Segment(segment.source, start, end)

    def follow(self, frames: Iterable[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, list[Box]]]:
        """Yield each frame, in order, with the boxes of the faces that are followed there."""
        followed: list[_Followed] = []
        waiting: deque[_Frame] = deque()
        for picture in frames:
            frame = _Frame(picture, self._orientation)
            waiting.append(frame)
            followed = [face for face in followed if face.is_held_in(frame)]
            followed += [self._followed(s, frame) for s in _due(self._after, frame.pts)]
            for stretch in _due(self._before, frame.pts):
                face = self._followed(stretch, frame)
                earlier = reversed(waiting)
                next(earlier)
                while (before := next(earlier, None)) and face.is_held_in(before):
                    pass
            most = MAX_WAITING_BYTES // size_of(picture)
            while waiting and (len(waiting) > most or not _is_awaited(waiting[0].pts, self._before)):
                done = waiting.popleft()
                yield done.picture, done.boxes
        for frame in waiting:
            yield frame.picture, frame.boxes

    def _stretch_after(self, track: Track) -> _Stretch:
        look, shots = track.looks[-1], self._faces.shots
        last = look.pts + self._units(HOLD_SECONDS)
        cut = bisect_right(shots, look.pts)
        return _Stretch(track.id, look, look.pts + 1, min(last, shots[cut] - 1) if cut < len(shots) else last)

    def _stretch_before(self, track: Track) -> _Stretch:
        look, shots = track.looks[0], self._faces.shots
        first = look.pts - self._units(AHEAD_SECONDS)
        cut = bisect_right(shots, look.pts)
        return _Stretch(track.id, look, max(first, shots[cut - 1]) if cut else first, look.pts - 1)

    def _units(self, seconds: float) -> int:
        return round(seconds / Fraction(self._faces.time_base))

    def _followed(self, stretch: _Stretch, frame: "_Frame") -> "_Followed":
        meanwhile = np.flatnonzero((self._starts <= stretch.last) & (self._ends >= stretch.first))
        tracks = (self._faces.tracks[index] for index in meanwhile)
        others = [track for track in tracks if track.id != stretch.number]
        return _Followed(
            stretch, frame, (self._faces.width, self._faces.height), others, self._units(MISSED_SECONDS)
        )


class _Frame:
    """A frame before it is redacted. `boxes` are those of the faces that are followed in it."""

    def __init__(self, picture: av.VideoFrame, orientation: Orientation):
        self.picture = picture
        self.pts = picture.pts or 0
        self.boxes: list[Box] = []
        self._orientation = orientation

    @cached_property
    def image(self) -> Image:
        """A copy of the displayed frame in grey, made smaller by a whole number, to about IMAGE_SIDE."""
        plane, bits = self.picture.planes[0], self.picture.format.components[0].bits
        samples = np.frombuffer(memoryview(plane), np.uint8 if bits == 8 else "<u2")
        stride = plane.line_size // samples.itemsize
        rows = samples[: plane.height * stride].reshape(plane.height, stride)[:, : plane.width]
        step = max(1, round(max(rows.shape) / IMAGE_SIDE))
        if step > 1:
            size = max(1, plane.width // step), max(1, plane.height // step)
            rows = cv2.resize(rows, size, interpolation=cv2.INTER_AREA)
        grey = np.right_shift(rows, bits - 8).astype(np.uint8)
        return self._orientation.to_displayed(grey)


class _Followed:
    """One face that is followed, forwards or backwards, from `frame` on."""

    def __init__(
        self, stretch: _Stretch, frame: _Frame, size: tuple[int, int], others: list[Track], patience: int
    ):
        height, width = frame.image.shape
        self._scale = (size[0] / width, size[1] / height)
        self._stretch = stretch
        self._others = others
        self._patience = patience
        self._whole = _with_the_part_outside(stretch.look.box, *size)
        self._moved = (0.0, 0.0)
        self._seen = stretch.look.pts
        across, down = self._scale
        x1, y1, x2, y2 = stretch.look.box
        self._points = FacePoints(frame.image, (x1 / across, y1 / down, x2 / across, y2 / down))

    def is_held_in(self, frame: _Frame) -> bool:
        """Add the face's box to the frame, the next one. Return False if the face is not to be followed on."""
        if not self._stretch.first <= frame.pts <= self._stretch.last:
            return False
        moved = self._points.follow(frame.image)
        if moved is not None:
            self._moved = (moved[0] * self._scale[0], moved[1] * self._scale[1])
            self._seen = frame.pts
        elif self._points.has_left or abs(frame.pts - self._seen) > self._patience:
            return False
        seen = _shifted(self._stretch.look.box, self._moved)
        if any(_is_taken(seen, other, frame.pts) for other in self._others):
            return False
        if self._seen != self._stretch.look.pts:  # else the mask's usual lead and tail are enough
            frame.boxes.append(_shifted(self._whole, self._moved))
        return True


def _in_order(stretches: Iterable[_Stretch]) -> deque[_Stretch]:
    return deque(sorted(stretches, key=lambda stretch: stretch.look.pts))


def _due(stretches: deque[_Stretch], pts: int) -> Iterator[_Stretch]:
    """Take those whose sampled frame has come; one that was not shown is skipped."""
    while stretches and stretches[0].look.pts <= pts:
        stretch = stretches.popleft()
        if stretch.look.pts == pts:
            yield stretch


def _is_awaited(pts: int, entering: deque[_Stretch]) -> bool:
    """Whether a face that is detected later may be seen in the frame of that time. (The first are the earliest.)"""
    return bool(entering) and entering[0].first <= pts


def size_of(picture: av.VideoFrame) -> int:
    """Return how many bytes a frame takes."""
    return max(1, sum(plane.buffer_size for plane in picture.planes))


def _shifted(box: Box, moved: tuple[float, float]) -> Box:
    return (box[0] + moved[0], box[1] + moved[1], box[2] + moved[0], box[3] + moved[1])


def _with_the_part_outside(box: Box, width: int, height: int) -> Box:
    """Return the box, a little larger, with the part of the face that the frame's edge cuts off."""
    x1, y1, x2, y2 = box
    more_x, more_y = GROWTH / 2 * (x2 - x1), GROWTH / 2 * (y2 - y1)
    x1, y1, x2, y2 = x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y
    across, down = MIN_WIDTH * (y2 - y1) - (x2 - x1), MIN_HEIGHT * (x2 - x1) - (y2 - y1)
    if across > 0:
        x1, x2 = (x1 - across if x1 < 0 else x1), (x2 + across if x2 > width else x2)
    if down > 0:
        y1, y2 = (y1 - down if y1 < 0 else y1), (y2 + down if y2 > height else y2)
    return (x1, y1, x2, y2)


def _is_taken(box: Box, track: Track, pts: int) -> bool:
    """Whether the track is in this place at that time and decides there."""
    if not track.start <= pts <= track.end:
        return False
    other = track.looks.box_at(pts)
    if track.decision == "keep":
        smaller = min(shared_area(box, box), shared_area(other, other))
        return shared_area(box, other) > KEPT_FACE * smaller
    return _holds_center(box, other) and _holds_center(other, box) and overlap(box, other) > SAME_FACE


def _holds_center(box: Box, other: Box) -> bool:
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    return box[0] < x < box[2] and box[1] < y < box[3]
