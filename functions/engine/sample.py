"""Which frames are looked at, and when to look closer.

The detector looks at the first frame of each slot of a fixed time grid. Where two neighbouring looks disagree
(a face appears, is lost, or moved too far) the frame in the middle is looked at, and so on, until neighbours
agree or are adjacent; both sides of a cut are looked at. The grid hangs on presentation times, not on where
reading began: segments that share frames look at the same ones, but for the first that each reads.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import cv2
import numpy as np

from functions.engine.detect import Array, Detection, Detector, Image, overlap
from functions.engine.errors import VideoError

SMALL_SIDE = 640  # pixels, the long side of the frames that are looked at
SLOT_SECONDS = Fraction(1, 5)
SAME_PLACE = 0.5  # overlap (intersection over union) of one face in two looks that agree
CUT_DIFFERENCE = 24.0  # mean grey-level difference of neighbouring thumbnails, of 255
CUT_RATIO = 3.0  # and this many times the difference that is usual in the shot
THUMBNAIL = (32, 18)


@dataclass
class Sighting:
    """One displayed frame as the first pass sees it. `small` is RGB uint8; `scale` is small over displayed."""

    frame: av.VideoFrame
    pts: int
    time_base: Fraction
    small: Image
    scale: float
    detections: list[Detection] | None = None
    starts_shot: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the displayed frame."""
        width, height = self.frame.width, self.frame.height
        return (height, width) if int(self.frame.rotation) % 180 else (width, height)

    def full(self) -> Image:
        """The displayed frame at full size, RGB uint8 (H, W, 3)."""
        return _upright(self.frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False), self.frame)


@dataclass
class Sampler:
    """Runs over frames once; afterwards `pts` has every frame's time and `cuts` those that start a shot.

    `size` is the displayed frame's width and height, `looks` the number of frames that were looked at.
    """

    detector: Detector
    pts: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    looks: int = 0
    size: tuple[int, int] = (0, 0)

    def run(self, frames: Iterable[av.VideoFrame]) -> Iterator[Sighting]:
        """Give the frames that were looked at, in order, boxes in displayed pixels.

        Holds the frames of one slot of the grid, no more.
        """
        pending: list[Sighting] = []  # from the last look on
        cut_detector = _CutDetector()
        slot = None
        for frame in frames:
            sighting = _sighting(frame)
            self.pts.append(sighting.pts)
            self.size = sighting.size
            this_slot = sighting.pts * sighting.time_base // SLOT_SECONDS
            if cut_detector.is_cut(sighting.small):
                yield from self._close(pending)
                sighting.starts_shot = True
                self.cuts.append(sighting.pts)
                pending = []
            pending.append(sighting)
            if len(pending) == 1:
                self._look(sighting)
                yield sighting
            elif this_slot != slot:
                yield from self._close(pending)
                pending = [sighting]
            slot = this_slot
        yield from self._close(pending)

    def _close(self, pending: Sequence[Sighting]) -> Iterator[Sighting]:
        """Look at the last of `pending`, and between its ends where they disagree; the first was given before."""
        if len(pending) < 2:
            return
        self._look(pending[-1])
        self._look_between(pending, 0, len(pending) - 1)
        yield from (sighting for sighting in pending[1:] if sighting.detections is not None)

    def _look_between(self, pending: Sequence[Sighting], first: int, last: int) -> None:
        if last - first < 2 or self._agree(pending[first], pending[last]):
            return
        middle = (first + last) // 2
        self._look(pending[middle])
        self._look_between(pending, first, middle)
        self._look_between(pending, middle, last)

    def _look(self, sighting: Sighting) -> None:
        self.looks += 1
        sighting.detections = [
            Detection(found.box / sighting.scale, found.score, found.landmarks / sighting.scale)
            for found in self.detector.detect([sighting.small])[0]
        ]

    def _agree(self, one: Sighting, other: Sighting) -> bool:
        return self._all_found(one, other) and self._all_found(other, one)

    def _all_found(self, here: Sighting, there: Sighting) -> bool:
        """Every sure face of `here` is at the same place `there`, where a faint one is enough."""
        candidates = np.array([face.box for face in there.detections or ()], np.float32).reshape(-1, 4)
        free = np.ones(len(candidates), bool)
        for face in here.detections or ():
            if face.score < self.detector.sure:
                continue
            shares = overlap(face.box, candidates) * free
            if not len(shares) or shares.max() < SAME_PLACE:
                return False
            free[int(shares.argmax())] = False
        return True


class _CutDetector:
    """Compares thumbnails of neighbouring frames: a cut is a jump far above what the shot does by itself."""

    def __init__(self) -> None:
        self._last: Array | None = None
        self._usual = 4.0

    def is_cut(self, small: Image) -> bool:
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        thumbnail: Array = cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, thumbnail
        if last is None:
            return False
        difference = float(np.abs(thumbnail - last).mean())
        cut = difference > CUT_DIFFERENCE and difference > CUT_RATIO * self._usual
        if not cut:
            self._usual += 0.2 * (difference - self._usual)
        return cut


def _sighting(frame: av.VideoFrame) -> Sighting:
    scale = min(1.0, SMALL_SIDE / max(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    small = frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
    if frame.pts is None or frame.time_base is None:
        raise VideoError("a frame has no presentation time. Convert the video to MP4 first.")
    return Sighting(
        frame, frame.pts, frame.time_base, _upright(small.astype(np.uint8, copy=False), frame), scale
    )


def _upright(image: Image, frame: av.VideoFrame) -> Image:
    """Turn a stored picture as a player does: counter-clockwise by the frame's rotation."""
    rotation = int(frame.rotation)
    return np.ascontiguousarray(np.rot90(image, k=rotation // 90)) if rotation % 360 else image
