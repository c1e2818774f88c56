"""Frames as the sampler holds them: a reduced copy, a thumbnail, and the result of the detector."""

import math
from collections.abc import Generator, Iterable, Sequence
from fractions import Fraction
from threading import Event, Lock, local

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from defacer.engine.media.hdr import sdr_curve
from defacer.engine.media.orientation import Orientation
from defacer.engine.models.arrays import Array, Detection, Image

# Pixels, the long side of the frames that are looked at: half of the frame's, between these. So the least face that
# is found grows less than the picture, and looking stays a part of what decoding and encoding take.
MIN_LOOK, MAX_LOOK = 640, 1280


CROP_SIDE = 1920  # pixels, the long side from which on frames are held smaller,


WINDOW_BYTES = 128_000_000  # or sooner, where more of them come in a window than this holds,


MIN_CROP_SIDE = 320  # but never below this


SLOT_SECONDS = Fraction(1, 5)


WINDOW_SECONDS = 3 * SLOT_SECONDS


CUT_POOL = 2  # pixels of the thumbnail, in both directions: cuts are detected in a coarser one
THUMBNAIL = (64, 36)  # long and short side: a face of a tenth of the frame's height has 4 x 3 of its pixels


class View:
    """One displayed frame as the first pass sees it, held with a long side of `side` pixels at most.

    `detections` are in displayed pixels, None until the detector has looked. `width` and `height` are those of the
    displayed frame; `thumbnail` (36, 64), or (64, 36) for a portrait frame, is grey and as displayed.
    """

    def __init__(
        self,
        frame: av.VideoFrame,
        side: int = CROP_SIDE,
        orientation: Orientation = Orientation(),  # noqa: B008
    ):
        self.pts = frame.pts or 0
        self.seconds = self.pts * Fraction(frame.time_base or 1)
        self.slot = int(self.seconds // SLOT_SECONDS)
        self.starts_shot = False
        self.detections: list[Detection] | None = None
        self._claim, self._seen = Lock(), Event()
        self._failure: BaseException | None = None
        self._orientation = orientation
        self.width, self.height = self._orientation.displayed_size(frame.width, frame.height)
        self._sdr_curve = sdr_curve(frame)
        self._frame = _at_most(frame, side)
        width, height = THUMBNAIL if frame.width >= frame.height else THUMBNAIL[::-1]
        grey = _scaling.to_thumbnail.reformat(
            self._frame, width, height, "gray", interpolation="AREA", threads=1
        )
        self.thumbnail: Array = self._orientation.to_displayed(
            grey.to_ndarray().astype(np.uint8, copy=False)
        ).astype(np.float32)
        self.coarse: Array = cv2.resize(
            self.thumbnail, None, fx=1 / CUT_POOL, fy=1 / CUT_POOL, interpolation=cv2.INTER_AREA
        ).astype(np.float32, copy=False)

    def large(self) -> Image:
        """The frame to take crops from: RGB uint8 (H, W, 3), as large as it is held."""
        plane = _scaling.to_rgb.reformat(self._frame, format="rgb24", threads=1).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
        image = rows[:, : plane.width * 3].reshape(plane.height, plane.width, 3)
        image = self._orientation.to_displayed(image)
        return image if self._sdr_curve is None else cv2.LUT(image, self._to_sdr).astype(np.uint8, copy=False)

    def small(self) -> Image:
        """The frame as the detector looks at it: RGB uint8 (H, W, 3)."""
        large = self.large()  # scaling down what is RGB already is a third cheaper
        height, width = large.shape[:2]
        side = min(max(MIN_LOOK, max(self.width, self.height) / 2), MAX_LOOK)
        scale = min(1.0, side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cv2.resize(large, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)

    def claim(self) -> bool:
        """Whether the caller is to look: two windows share the frame between them, and one looks for both."""
        return self._claim.acquire(blocking=False)

    def see(self, found: Sequence[Detection], scale: float) -> None:
        """Take what the detector found in the frame at `scale` times its displayed size."""
        self.detections = [face.scaled(1 / scale) for face in found]

    def end_look(self, failure: BaseException | None = None) -> None:
        """Let those go on who wait for the one who claimed this view."""
        self._failure = failure
        self._seen.set()

    def wait(self) -> None:
        """Until whoever claimed this view has looked. Raises what they met."""
        self._seen.wait()
        if self._failure is not None:
            raise self._failure


def crop_side(stream: VideoStream) -> int:
    """How large the stream's frames are held: by its header, so that all segments' are of one size."""
    frames = max(1.0, float((stream.average_rate or 30) * WINDOW_SECONDS))
    samples = 1.5 if (stream.pix_fmt or "").endswith("420p") else 3  # bytes a pixel
    width, height = max(1, stream.width), max(1, stream.height)
    share = math.sqrt(WINDOW_BYTES / (frames * samples * width * height))
    return max(MIN_CROP_SIDE, min(CROP_SIDE, round(max(width, height) * share)))


def views_of(frames: Iterable[av.VideoFrame], side: int, orientation: Orientation) -> Generator[View]:
    for frame in frames:
        yield View(frame, side, orientation)


class _Scaling(local):
    """Each thread's: a frame's own would be made for it anew, with threads, and be held as long as the frame."""

    def __init__(self) -> None:
        self.to_smaller, self.to_thumbnail, self.to_rgb = (VideoReformatter() for _ in range(3))


_scaling = _Scaling()


def _at_most(frame: av.VideoFrame, side: int) -> av.VideoFrame:
    """The frame, made smaller where its long side exceeds `side` pixels."""
    scale = side / max(frame.width, frame.height)
    if scale >= 1:
        return frame
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    return _scaling.to_smaller.reformat(frame, width, height, interpolation="AREA")
