"""Extend the mask of a hidden face while the face is still visible, but not detected.

After its last detection, a hidden face is followed until it left or was occluded, for MAX_AFTER_SECONDS at most. Before
its first detection it is followed backwards, for MAX_BEFORE_SECONDS at most. Frames wait in a look-ahead buffer for
that. A cut ends both, and so does another track in the face's place, because that track has a decision of its own.
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
from defacer.engine.rendering.box_motion import compute_overlap, contains_center, shared_area
from defacer.engine.rendering.masks import MIN_HEIGHT, MIN_WIDTH
from defacer.engine.rendering.point_tracker import FacePoints, Image
from defacer.report.compact_boxes import Box, BoxAt
from defacer.report.faces import Faces
from defacer.report.tracks import TrackRecord

MAX_AFTER_SECONDS = 4.0  # after the last detection
MAX_BEFORE_SECONDS = 1.0  # before the first one
MAX_LOST_SECONDS = 0.2  # in which no points are found: a flash or a quick movement takes less
MAX_BUFFERED_BYTES = 96 * 2**20  # of frames in the look-ahead buffer: 1.1 s of 1080p at 30 fps
IMAGE_SIDE = 960  # faces are followed in frames that are reduced to about this long side
GROWTH = 0.1  # of a box, because faces turn and approach
SAME_FACE = 0.2  # overlap (intersection over union) with a hidden track that masks the face itself
KEPT_FACE = 0.3  # share of the smaller box that the mask and a kept face have in common


@dataclass(frozen=True)
class _FollowRange:
    """Follow the face of track `number` from `sample` through the times `first` to `last` (both included)."""

    number: int
    sample: BoxAt
    first: int
    last: int


class MaskExtension:
    """Follows the hidden tracks of `faces`, or only those in `followed`, beyond their detections.

    More tracks can be added until the frames of their detections have passed.
    """

    def __init__(self, faces: Faces, orientation: Orientation, followed: Sequence[TrackRecord] | None = None):
        self._faces = faces = faces.without_manual_masks()
        self._orientation = orientation
        self._starts = np.array([track.start for track in faces.tracks], np.int64)
        self._ends = np.array([track.end for track in faces.tracks], np.int64)
        continued = {track.continues for track in faces.tracks}
        hidden = (
            [track for track in faces.tracks if track.decision == "hide"] if followed is None else followed
        )
        self._after = _sort_by_sample(
            self._range_after(track) for track in hidden if track.id not in continued
        )
        self._before = _sort_by_sample(
            self._range_before(track) for track in hidden if track.continues is None
        )

    def extend_before(self, track: TrackRecord) -> None:
        """Add a face that is followed before its first detection."""
        self._before = _sort_by_sample([*self._before, self._range_before(track)])

    def extend_after(self, track: TrackRecord) -> None:
        """Add a face that is followed after its last detection."""
        self._after = _sort_by_sample([*self._after, self._range_after(track)])

    def required_frames(self, segment: Segment) -> Segment:
        """Return the times whose frames have to be decoded for the segment, because faces are followed into it."""
        start, end = segment.start, segment.end
        if start is not None:
            past = (span.sample.pts for span in self._after if span.sample.pts < start <= span.last)
            start = min(past, default=start)
        if end is not None:
            later = (span.sample.pts + 1 for span in self._before if span.first < end <= span.sample.pts)
            end = max(later, default=end)
        return Segment(segment.source, start, end)

    def extend_masks(self, frames: Iterable[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, list[Box]]]:
        """Yield each frame, in order, with the boxes of the faces that are followed there."""
        followed: list[_FollowedFace] = []
        waiting: deque[_FollowedFrame] = deque()
        for picture in frames:
            frame = _FollowedFrame(picture, self._orientation)
            waiting.append(frame)
            followed = [face for face in followed if face.follow_into(frame)]
            followed += [self._follow_from(span, frame) for span in _pop_due(self._after, frame.pts)]
            for span in _pop_due(self._before, frame.pts):
                face = self._follow_from(span, frame)
                earlier = reversed(waiting)
                next(earlier)
                while (before := next(earlier, None)) and face.follow_into(before):
                    pass
            max_frames = MAX_BUFFERED_BYTES // frame_bytes(picture)
            while waiting and (len(waiting) > max_frames or not _has_to_wait(waiting[0].pts, self._before)):
                done = waiting.popleft()
                yield done.picture, done.boxes
        for frame in waiting:
            yield frame.picture, frame.boxes

    def _range_after(self, track: TrackRecord) -> _FollowRange:
        sample, shots = track.detections[-1], self._faces.cuts
        last = sample.pts + self._units(MAX_AFTER_SECONDS)
        cut = bisect_right(shots, sample.pts)
        return _FollowRange(
            track.id, sample, sample.pts + 1, min(last, shots[cut] - 1) if cut < len(shots) else last
        )

    def _range_before(self, track: TrackRecord) -> _FollowRange:
        sample, shots = track.detections[0], self._faces.cuts
        first = sample.pts - self._units(MAX_BEFORE_SECONDS)
        cut = bisect_right(shots, sample.pts)
        return _FollowRange(track.id, sample, max(first, shots[cut - 1]) if cut else first, sample.pts - 1)

    def _units(self, seconds: float) -> int:
        return round(seconds / Fraction(self._faces.time_base))

    def _follow_from(self, span: _FollowRange, frame: "_FollowedFrame") -> "_FollowedFace":
        overlapping = np.flatnonzero((self._starts <= span.last) & (self._ends >= span.first))
        tracks = (self._faces.tracks[index] for index in overlapping)
        others = [track for track in tracks if track.id != span.number]
        return _FollowedFace(
            span, frame, (self._faces.width, self._faces.height), others, self._units(MAX_LOST_SECONDS)
        )


class _FollowedFrame:
    """A frame before it is redacted. `boxes` belong to the faces that are followed in it."""

    def __init__(self, picture: av.VideoFrame, orientation: Orientation):
        self.picture = picture
        self.pts = picture.pts or 0
        self.boxes: list[Box] = []
        self._orientation = orientation

    @cached_property
    def image(self) -> Image:
        """Return a gray copy of the displayed frame, reduced by a whole factor to about IMAGE_SIDE."""
        plane, bits = self.picture.planes[0], self.picture.format.components[0].bits
        samples = np.frombuffer(memoryview(plane), np.uint8 if bits == 8 else "<u2")
        stride = plane.line_size // samples.itemsize
        rows = samples[: plane.height * stride].reshape(plane.height, stride)[:, : plane.width]
        step = max(1, round(max(rows.shape) / IMAGE_SIDE))
        if step > 1:
            size = max(1, plane.width // step), max(1, plane.height // step)
            rows = cv2.resize(rows, size, interpolation=cv2.INTER_AREA)
        gray = rows.copy() if bits == 8 else np.right_shift(rows, bits - 8).astype(np.uint8)
        return self._orientation.to_displayed(gray)


class _FollowedFace:
    """A face that is followed forwards or backwards, beginning at `frame`."""

    def __init__(
        self,
        span: _FollowRange,
        frame: _FollowedFrame,
        size: tuple[int, int],
        others: list[TrackRecord],
        max_lost: int,
    ):
        height, width = frame.image.shape
        self._scale = (size[0] / width, size[1] / height)
        self._span = span
        self._others = others
        self._patience = max_lost
        self._whole = _complete_at_edge(span.sample.box, *size)
        self._moved = (0.0, 0.0)
        self._last_seen = span.sample.pts
        across, down = self._scale
        x1, y1, x2, y2 = span.sample.box
        self._points = FacePoints(frame.image, (x1 / across, y1 / down, x2 / across, y2 / down))

    def follow_into(self, frame: _FollowedFrame) -> bool:
        """Follow the face into the next frame, and add its box there. Return False where following ends."""
        if not self._span.first <= frame.pts <= self._span.last:
            return False
        moved = self._points.follow(frame.image)
        if moved is not None:
            self._moved = (moved[0] * self._scale[0], moved[1] * self._scale[1])
            self._last_seen = frame.pts
        elif self._points.has_left or abs(frame.pts - self._last_seen) > self._patience:
            return False
        seen = _shift_box(self._span.sample.box, self._moved)
        if any(_is_place_of(seen, other, frame.pts) for other in self._others):
            return False
        if self._last_seen != self._span.sample.pts:  # before that, the mask's lead or tail is enough
            frame.boxes.append(_shift_box(self._whole, self._moved))
        return True


def _sort_by_sample(ranges: Iterable[_FollowRange]) -> deque[_FollowRange]:
    return deque(sorted(ranges, key=lambda span: span.sample.pts))


def _pop_due(ranges: deque[_FollowRange], pts: int) -> Iterator[_FollowRange]:
    """Remove the ranges up to `pts`, and yield those whose sampled frame is at `pts`."""
    while ranges and ranges[0].sample.pts <= pts:
        span = ranges.popleft()
        if span.sample.pts == pts:
            yield span


def _has_to_wait(pts: int, before_ranges: deque[_FollowRange]) -> bool:
    """Return whether a face that is detected later is followed back to the frame at `pts`."""
    return bool(before_ranges) and before_ranges[0].first <= pts


def frame_bytes(picture: av.VideoFrame) -> int:
    """Return the size of a frame in memory."""
    return max(1, sum(plane.buffer_size for plane in picture.planes))


def _shift_box(box: Box, moved: tuple[float, float]) -> Box:
    return (box[0] + moved[0], box[1] + moved[1], box[2] + moved[0], box[3] + moved[1])


def _complete_at_edge(box: Box, width: int, height: int) -> Box:
    """Return the box, slightly larger, with the part of the face that the frame's edge cuts off."""
    x1, y1, x2, y2 = box
    more_x, more_y = GROWTH / 2 * (x2 - x1), GROWTH / 2 * (y2 - y1)
    x1, y1, x2, y2 = x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y
    across, down = MIN_WIDTH * (y2 - y1) - (x2 - x1), MIN_HEIGHT * (x2 - x1) - (y2 - y1)
    if across > 0:
        x1, x2 = (x1 - across if x1 < 0 else x1), (x2 + across if x2 > width else x2)
    if down > 0:
        y1, y2 = (y1 - down if y1 < 0 else y1), (y2 + down if y2 > height else y2)
    return (x1, y1, x2, y2)


def _is_place_of(box: Box, track: TrackRecord, pts: int) -> bool:
    """Return whether the track is in this place at that time, so that its own decision applies."""
    if not track.start <= pts <= track.end:
        return False
    other = track.detections.box_at(pts)
    if track.decision == "keep":
        smaller = min(shared_area(box, box), shared_area(other, other))
        return shared_area(box, other) > KEPT_FACE * smaller
    return (
        contains_center(box, other)
        and contains_center(other, box)
        and compute_overlap(box, other) > SAME_FACE
    )
