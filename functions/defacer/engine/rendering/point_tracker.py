"""Follow one face from frame to frame by points on its surface (OpenCV's pyramidal Lucas-Kanade).

A detector does not find a face that is turned away or cut off by the frame's edge, but points on its visible part can
be followed. Each frame is compared with the one before, so slow changes are allowed. Each point must also resemble its
surroundings in the sampled frame, so that no point drifts onto the background.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from defacer.report.compact_boxes import Box

Image = npt.NDArray[np.uint8]  # gray (H, W)
Array = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

MAX_POINTS = 60
MIN_POINTS = 3
MIN_SHARE = 0.2  # of the points that are expected inside the frame
MIN_INSIDE = 0.1  # of all points: with fewer inside the frame, the face has left
FACE_SIDE = 96  # pixels: a larger face is followed in a reduced copy
MARGIN = 0.5  # of the face's longer side: the area around it where points are searched
MIN_MARGIN = 20
WINDOW_SHARE = 1 / 6  # of the face's shorter side: the size of a point's surroundings
MIN_WINDOW, MAX_WINDOW = 7, 21
COARSE_LEVELS, FINE_LEVELS = 3, 1  # of the image pyramid: large movements are found at coarse levels
CORNER_QUALITY = 0.002  # of the quality of the best corner on the face
MAX_ROUND_TRIP_ERROR = (
    2.0  # pixels, between a point and the same point after it was followed forwards and backwards
)
MIN_SIMILARITY = 0.4  # normalized cross-correlation of a point's surroundings with those in the sampled frame
MAX_DEVIATION = (
    0.15  # of the face's longer side: a point that moves so differently from the others is not on the face
)


class FacePoints:
    """Points on the face that was detected at `box` (pixels of `image`).

    `has_left` is True if the face is outside the frame, or has too few points to be followed.
    """

    def __init__(self, image: Image, box: Box):
        x1, y1, x2, y2 = box
        self._box = box
        self._side = max(x2 - x1, y2 - y1, 1.0)
        self._step = max(1, round(self._side / FACE_SIDE))
        shorter = min(x2 - x1, y2 - y1) / self._step
        window = int(min(max(shorter * WINDOW_SHARE, MIN_WINDOW), MAX_WINDOW)) | 1
        self._window = (window, window)
        self._moved: Array = np.zeros(2, np.float32)  # since the sampled frame
        self._image = image
        self._first: Array = self._find_corners(image)
        self._last = self._first
        self.has_left = len(self._first) < MIN_POINTS
        small, origin = self._crop_around(image)
        self._patches = self._cut_patches(small, (self._first - origin) / self._step)

    def follow(self, image: Image) -> tuple[float, float] | None:
        """Return how far right and down the face has moved since it was detected.

        Return None if too few points are found in `image`. Then the next image is compared with an earlier one.
        """
        if self.has_left:
            return None
        before, origin = self._crop_around(self._image)
        now, _ = self._crop_around(image)
        if min(now.shape) <= max(self._window):
            return None
        start = (self._last - origin) / self._step
        no_shift = np.zeros(2, np.float32)
        coarse, is_coarse = self._flow(before, now, start, no_shift, COARSE_LEVELS)
        is_coarse &= self._leads_back(before, now, start, coarse, is_coarse, no_shift, COARSE_LEVELS)
        # The second search starts from the median shift, because coarse levels fail near the frame's edge.
        shift = np.median((coarse - start)[is_coarse], axis=0) if is_coarse.any() else no_shift
        found, kept = self._flow(before, now, start, shift, FINE_LEVELS)
        # Only points with similar surroundings are followed back, because that takes longer than to compare them.
        kept &= self._is_similar(now, found, kept)
        kept &= self._leads_back(before, now, start, found, kept, shift, FINE_LEVELS)
        if not kept.any():
            return None
        last = found * self._step + origin
        moves = last - self._first
        moved = np.median(moves[kept], axis=0)
        kept &= np.linalg.norm(moves - moved, axis=1) <= MAX_DEVIATION * self._side
        expected = self._first + moved
        inside = _is_inside(expected, image, 1)
        kept &= inside
        self.has_left = bool(inside.sum() < max(MIN_POINTS, MIN_INSIDE * len(self._first)))
        # Near the frame's edge, a point whose surroundings are cut off cannot be found.
        findable = _is_inside(expected, image, self._window[0] * self._step / 2).sum()
        if self.has_left or kept.sum() < max(MIN_POINTS, MIN_SHARE * findable):
            return None
        self._last = np.where(kept[:, None], last, expected).astype(np.float32)
        self._moved, self._image = moved, image
        return float(moved[0]), float(moved[1])

    def _find_corners(self, image: Image) -> Array:
        x1, y1, x2, y2 = self._box
        left, top = max(0, int(x1)), max(0, int(y1))
        part = image[top : max(0, int(y2) + 1), left : max(0, int(x2) + 1)]
        if not part.size:
            return np.zeros((0, 2), np.float32)
        mask = np.zeros_like(part)
        center = ((x1 + x2) / 2 - left, (y1 + y2) / 2 - top)
        cv2.ellipse(mask, (center, (x2 - x1, y2 - y1), 0.0), (255,), -1)
        apart = max(2.0, min(x2 - x1, y2 - y1) / 14)
        corners = cv2.goodFeaturesToTrack(part, MAX_POINTS, CORNER_QUALITY, apart, mask=mask, blockSize=5)
        places: Array = np.reshape([] if corners is None else corners, (-1, 2)).astype(np.float32)
        places += (left, top)
        return places

    def _crop_around(self, image: Image) -> tuple[Image, Array]:
        """Return the part of `image` around the face's last place, reduced, and its upper left corner."""
        x1, y1, x2, y2 = (
            side + shift for side, shift in zip(self._box, (*self._moved, *self._moved), strict=True)
        )
        margin = max(MARGIN * self._side, MIN_MARGIN)
        rows, columns = image.shape
        left, top = min(max(0, int(x1 - margin)), columns - 1), min(max(0, int(y1 - margin)), rows - 1)
        right, bottom = max(left + 1, int(x2 + margin)), max(top + 1, int(y2 + margin))
        part = image[top:bottom, left:right]
        height, width = (max(1, side // self._step) for side in part.shape)
        part = part[: height * self._step, : width * self._step]
        if self._step > 1:
            part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA).astype(
                np.uint8, copy=False
            )
        return np.ascontiguousarray(part, np.uint8), np.array([left, top], np.float32)

    def _is_similar(self, now: Image, found: Array, wanted: Mask) -> Mask:
        """Return which of the `wanted` points resemble their surroundings in the sampled frame."""
        similar = np.zeros_like(wanted)
        similarity = (self._patches[wanted] * self._cut_patches(now, found[wanted])).sum(axis=1)
        similar[wanted] = similarity >= MIN_SIMILARITY
        return similar

    def _leads_back(
        self, before: Image, now: Image, points: Array, found: Array, wanted: Mask, shift: Array, levels: int
    ) -> Mask:
        """Return which of the `wanted` points in `now` lead back to `points`. They were `found` from a `shift` on."""
        leading = np.zeros_like(wanted)
        if wanted.any():
            back, is_back = self._flow(now, before, found[wanted], -shift, levels)
            error = np.linalg.norm(back - points[wanted], axis=1)
            leading[wanted] = is_back & (error < MAX_ROUND_TRIP_ERROR)
        return leading

    def _flow(
        self, before: Image, now: Image, points: Array, shift: Array, levels: int
    ) -> tuple[Array, Mask]:
        """Return the points' places in `now`, and which of them were found. The search starts at `shift`."""
        start, goal = (
            np.ascontiguousarray(places, np.float32).reshape(-1, 1, 2) for places in (points, points + shift)
        )
        found, is_found, _ = cv2.calcOpticalFlowPyrLK(
            before,
            now,
            start,
            goal,
            winSize=self._window,
            maxLevel=levels,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        return found.reshape(-1, 2).astype(np.float32), is_found.ravel() == 1

    def _cut_patches(self, image: Image, points: Array) -> Array:
        """Return each point's surroundings (N, pixels), with the mean 0 and the length 1."""
        parts = np.empty((len(points), *self._window), np.uint8)
        for part, place in zip(parts, points.tolist(), strict=True):
            cv2.getRectSubPix(image, self._window, place, part)
        cut = parts.reshape(len(points), self._window[0] * self._window[1]).astype(np.float32)
        cut -= cut.mean(axis=1, keepdims=True)
        lengths: Array = np.linalg.norm(cut, axis=1, keepdims=True)
        cut /= np.maximum(lengths, 1e-3)
        return cut


def _is_inside(points: Array, image: Image, margin: float) -> Mask:
    rows, columns = image.shape
    x, y = points[:, 0], points[:, 1]
    inside: Mask = (x >= margin) & (x < columns - margin) & (y >= margin) & (y < rows - margin)
    return inside
