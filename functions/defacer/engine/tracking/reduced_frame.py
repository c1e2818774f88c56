"""Decoded frames as the first pass holds them: a reduced copy, a thumbnail, and the detector's result."""

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

# Pixels, the long side of the copy that the detector gets: half of the frame's, between these limits. Larger frames get
# a larger copy, so small faces are found, and detection takes no longer than decoding and encoding.
MIN_DETECTOR_SIDE, MAX_DETECTOR_SIDE = 640, 1280
CROP_SIDE = 1920  # pixels: frames with a longer side are held smaller,
WINDOW_BYTES = 128_000_000  # and smaller still where the frames of a window take more than this,
MIN_CROP_SIDE = 320  # but never below this
SLOT_SECONDS = Fraction(1, 5)
WINDOW_SECONDS = 3 * SLOT_SECONDS
CUT_POOL = 2  # pixels of the thumbnail, in both directions: cuts are detected in a coarser one
THUMBNAIL = (64, 36)  # long and short side: a face of a tenth of the frame's height has 4 x 3 of its pixels


class ReducedFrame:
    """A displayed frame, held with a long side of `side` pixels at most.

    `turns` are the turned copies that the detector searches too (see `turns/`).
    `detections` are in displayed pixels, and None until the detector ran. `width` and `height` are those of the
    displayed frame. `thumbnail` (36, 64), or (64, 36) for a portrait frame, is gray and as displayed.

    The detector's result works like a future: two windows share the frame between them, so one thread computes the
    result (`try_start`, then `set_result` and `finish`), and the other one waits for it.
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
        self.turns: tuple[int, ...] = ()
        self.detections: list[Detection] | None = None
        self._started, self._finished = Lock(), Event()
        self._failure: BaseException | None = None
        self._orientation = orientation
        self.width, self.height = self._orientation.displayed_size(frame.width, frame.height)
        self._sdr_curve = sdr_curve(frame)
        self._frame = _limit_size(frame, side)
        width, height = THUMBNAIL if frame.width >= frame.height else THUMBNAIL[::-1]
        gray = _scalers.to_thumbnail.reformat(
            self._frame, width, height, "gray", interpolation="AREA", threads=1
        )
        self.thumbnail: Array = self._orientation.to_displayed(
            gray.to_ndarray().astype(np.uint8, copy=False)
        ).astype(np.float32)
        self.coarse: Array = cv2.resize(
            self.thumbnail, None, fx=1 / CUT_POOL, fy=1 / CUT_POOL, interpolation=cv2.INTER_AREA
        ).astype(np.float32, copy=False)

    def crop_image(self) -> Image:
        """Return the frame to take face crops from: RGB uint8 (H, W, 3), as large as it is held."""
        return _to_rgb(self._frame, self._orientation, self._sdr_curve)

    def detector_image(self) -> Image:
        """Return the frame in the detector's size: RGB uint8 (H, W, 3)."""
        return _to_detector_size(self.crop_image(), max(self.width, self.height))

    def try_start(self) -> bool:
        """Return whether the caller has to run the detector: True for the first caller alone."""
        return self._started.acquire(blocking=False)

    def set_result(self, found: Sequence[Detection], scale: float) -> None:
        """Store the detections, which are in pixels of the displayed frame at `scale` times its size."""
        self.detections = [face.scaled(1 / scale) for face in found]

    def finish(self, failure: BaseException | None = None) -> None:
        """Wake the threads that wait for the result. They raise `failure`, if it is given."""
        self._failure = failure
        self._finished.set()

    def wait(self) -> None:
        """Wait until the detector ran. Raise its error."""
        self._finished.wait()
        if self._failure is not None:
            raise self._failure


def crop_side(stream: VideoStream) -> int:
    """Return the long side that frames are held with. It depends on the header, so all segments use the same one."""
    frames = max(1.0, float((stream.average_rate or 30) * WINDOW_SECONDS))
    samples = 1.5 if (stream.pix_fmt or "").endswith("420p") else 3  # bytes a pixel
    width, height = max(1, stream.width), max(1, stream.height)
    share = math.sqrt(WINDOW_BYTES / (frames * samples * width * height))
    return max(MIN_CROP_SIDE, min(CROP_SIDE, round(max(width, height) * share)))


def reduce_frames(
    frames: Iterable[av.VideoFrame], side: int, orientation: Orientation
) -> Generator[ReducedFrame]:
    """Yield a reduced copy of each frame."""
    for frame in frames:
        yield ReducedFrame(frame, side, orientation)


class _Scalers(local):
    """Each thread's scalers. A frame's own scaler would start threads, and live as long as the frame."""

    def __init__(self) -> None:
        self.to_smaller, self.to_thumbnail, self.to_rgb = (VideoReformatter() for _ in range(3))


_scalers = _Scalers()


def detector_image_of(frame: av.VideoFrame, orientation: Orientation) -> Image:
    """Return the displayed frame in the detector's size: RGB uint8 (H, W, 3)."""
    image = _to_rgb(_limit_size(frame, CROP_SIDE), orientation, sdr_curve(frame))
    return _to_detector_size(image, max(orientation.displayed_size(frame.width, frame.height)))


def _to_rgb(frame: av.VideoFrame, orientation: Orientation, curve: Image | None) -> Image:
    plane = _scalers.to_rgb.reformat(frame, format="rgb24", threads=1).planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)  # type: ignore[call-overload]
    image = rows[:, : plane.width * 3].reshape(plane.height, plane.width, 3)
    image = orientation.to_displayed(image)
    return image if curve is None else cv2.LUT(image, curve).astype(np.uint8, copy=False)


def _to_detector_size(image: Image, long_side: int) -> Image:
    """Reduce an RGB image, which takes half of the time of reducing the frame. `long_side` is that of the frame."""
    height, width = image.shape[:2]
    side = min(max(MIN_DETECTOR_SIDE, long_side / 2), MAX_DETECTOR_SIDE)
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _limit_size(frame: av.VideoFrame, side: int) -> av.VideoFrame:
    """Return the frame, reduced if its long side exceeds `side` pixels."""
    scale = side / max(frame.width, frame.height)
    if scale >= 1:
        return frame
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    return _scalers.to_smaller.reformat(frame, width, height, interpolation="AREA")
