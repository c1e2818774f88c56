"""Detect faces in frames of a redacted segment's NUT file."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import local

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from defacer.engine.errors import VideoError
from defacer.engine.media.hdr import sdr_curve
from defacer.engine.media.orientation import Orientation
from defacer.engine.media.reader import open_video, time_base
from defacer.engine.models.arrays import Detection, Detector, Image
from defacer.engine.runtime.prefetch import map_ordered, usable_threads
from defacer.engine.tracking.views import MAX_LOOK, MIN_LOOK

SEEK_SECONDS = 2  # between frames that are farther apart, the file is not decoded but skipped
CONTRAST_LIMIT, CONTRAST_TILES = 2.0, (8, 8)  # of the histogram equalisation

NO_LANDMARKS = np.zeros((5, 2), np.float32)  # they are not needed, and a long video has many detections

Detections = dict[int, list[Detection]]  # by presentation time, in displayed pixels
Timed = tuple[int, av.VideoFrame]


class Inspector:
    """Detects faces in frames, and in frames of NUT files.

    Times are in units of `base`, because NUT writes a finer time base than it is given.
    `orientation` is that of all frames. `waiting` is called for each frame that is decoded and may raise to stop.
    """

    def __init__(self, detector: Detector, base: Fraction, waiting: Callable[[], None]):
        self.orientation = Orientation()
        self._detector = detector
        self._base = base
        self.waiting = waiting

    def detect(self, frame: av.VideoFrame) -> list[Detection]:
        """Return the detections in a frame, in displayed pixels. Several threads may call it."""
        image, scale = _small(frame, self.orientation)
        found = self._detector.detect([_lit(image)])[0]
        return [Detection(face.box / scale, face.score, NO_LANDMARKS) for face in found]

    def look(self, path: Path, wanted: set[int]) -> Detections:
        """Look at these frames."""
        return self._detected(self._chosen(path, wanted)) if wanted else {}

    def _detected(self, frames: Iterator[Timed]) -> Detections:
        return dict(map_ordered(lambda item: (item[0], self.detect(item[1])), frames, usable_threads()))

    def _chosen(self, path: Path, wanted: set[int]) -> Generator[Timed]:
        for first, last in _intervals(wanted, round(SEEK_SECONDS / self._base)):
            with closing(self._from(path, first)) as frames:
                for pts, frame in frames:
                    if pts in wanted:
                        yield pts, frame
                    if pts >= last:
                        break

    def _from(self, path: Path, first: int) -> Generator[Timed]:
        """Decode from a key frame at or before `first` on, or from the start.

        FFmpeg cannot seek in a NUT file that has a single key frame.
        """
        frames = self._decoded(path, first)
        try:
            head = next(frames, None)
        except VideoError:
            head = None
        if head is None or head[0] > first:
            frames.close()
            yield from self._decoded(path)
        else:
            yield head
            yield from frames

    def _decoded(self, path: Path, first: int | None = None) -> Generator[Timed]:
        with open_video(str(path)) as (container, stream):
            scale = self._base / time_base(stream)
            if first is not None:
                container.seek(int(first * scale), stream=stream)
            for frame in container.decode(stream):
                self.waiting()
                yield int((frame.pts or 0) / scale), frame


class _Scaling(local):
    """Each thread's, because a frame's own is made for each frame."""

    def __init__(self) -> None:
        self.to_rgb = VideoReformatter()


_scaling = _Scaling()


def _small(frame: av.VideoFrame, orientation: Orientation) -> tuple[Image, float]:
    """Return the displayed frame in the detector's size, RGB uint8 (H, W, 3), and its scale."""
    shown = orientation.displayed_size(frame.width, frame.height)
    scale = min(1.0, min(max(MIN_LOOK, max(shown) / 2), MAX_LOOK) / max(shown))
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    small = _scaling.to_rgb.reformat(frame, *size, "rgb24", interpolation="AREA", threads=1)
    image = orientation.to_displayed(small.to_ndarray().astype(np.uint8, copy=False))
    curve = sdr_curve(frame)
    if curve is not None:
        image = cv2.LUT(image, curve).astype(np.uint8, copy=False)
    return image, image.shape[1] / shown[0]


def _lit(image: Image) -> Image:
    """Return the picture with its local contrast raised: YuNet overlooks faces in the dark."""
    parts = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    parts[..., 0] = cv2.createCLAHE(CONTRAST_LIMIT, CONTRAST_TILES).apply(parts[..., 0])
    return cv2.cvtColor(parts, cv2.COLOR_YCrCb2RGB).astype(np.uint8, copy=False)


def _intervals(times: set[int], reach: int) -> Iterator[tuple[int, int]]:
    """Yield intervals that hold all of these times. Times within `reach` of each other share an interval."""
    ordered = sorted(times)
    starts = [pts for before, pts in pairwise(ordered) if pts - before > reach]
    ends = [before for before, pts in pairwise(ordered) if pts - before > reach]
    yield from zip([ordered[0], *starts], [*ends, ordered[-1]], strict=True)
