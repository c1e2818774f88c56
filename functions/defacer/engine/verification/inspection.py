"""Detect faces in redacted frames, and in frames of a segment's NUT file, for the check of the result."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np

from defacer.engine.errors import VideoError
from defacer.engine.media.orientation import Orientation
from defacer.engine.media.reader import open_video, time_base
from defacer.engine.models.arrays import Detection, Detector, Image
from defacer.engine.runtime.prefetch import map_ordered, usable_threads
from defacer.engine.tracking.reduced_frame import detector_image_of

SEEK_SECONDS = 2  # frames that are farther apart are reached by seeking
CONTRAST_LIMIT, CONTRAST_TILES = 2.0, (8, 8)  # of the histogram equalization

NO_LANDMARKS = np.zeros((5, 2), np.float32)  # the check needs none, and a long video has many detections

Detections = dict[int, list[Detection]]  # by presentation time, in displayed pixels
Timed = tuple[int, av.VideoFrame]


class Inspector:
    """Detects faces in frames and in NUT files.

    Times are in units of `base`, because NUT files have a finer time base than the segment. All frames have the same
    `orientation`. `on_frame` is called for each decoded frame, and can raise to stop.
    """

    def __init__(self, detector: Detector, base: Fraction, on_frame: Callable[[], None]):
        self.orientation = Orientation()
        self._detector = detector
        self._base = base
        self.on_frame = on_frame

    def detect(self, frame: av.VideoFrame) -> list[Detection]:
        """Return the detections in a frame, in displayed pixels. Several threads can call it."""
        image = detector_image_of(frame, self.orientation)
        scale = image.shape[1] / self.orientation.displayed_size(frame.width, frame.height)[0]
        found = self._detector.detect([_raise_contrast(image)])[0]
        return [Detection(face.box / scale, face.score, NO_LANDMARKS) for face in found]

    def detect_in_file(self, path: Path, wanted: set[int]) -> Detections:
        """Return the detections in the frames at the times `wanted`."""
        return self._detect_all(self._read_wanted(path, wanted)) if wanted else {}

    def _detect_all(self, frames: Iterator[Timed]) -> Detections:
        return dict(map_ordered(lambda item: (item[0], self.detect(item[1])), frames, usable_threads()))

    def _read_wanted(self, path: Path, wanted: set[int]) -> Generator[Timed]:
        for first, last in _group_times(wanted, round(SEEK_SECONDS / self._base)):
            with closing(self._read_from(path, first)) as frames:
                for pts, frame in frames:
                    if pts in wanted:
                        yield pts, frame
                    if pts >= last:
                        break

    def _read_from(self, path: Path, first: int) -> Generator[Timed]:
        """Decode from a key frame at or before `first` on, or from the start.

        FFmpeg cannot seek in a NUT file that has a single key frame.
        """
        frames = self._decode(path, first)
        try:
            head = next(frames, None)
        except VideoError:
            head = None
        if head is None or head[0] > first:
            frames.close()
            yield from self._decode(path)
        else:
            yield head
            yield from frames

    def _decode(self, path: Path, first: int | None = None) -> Generator[Timed]:
        with open_video(str(path)) as (container, stream):
            scale = self._base / time_base(stream)
            if first is not None:
                container.seek(int(first * scale), stream=stream)
            for frame in container.decode(stream):
                self.on_frame()
                yield int((frame.pts or 0) / scale), frame


def _raise_contrast(image: Image) -> Image:
    """Return the image with a higher local contrast, because YuNet misses dark faces."""
    parts = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    parts[..., 0] = cv2.createCLAHE(CONTRAST_LIMIT, CONTRAST_TILES).apply(parts[..., 0])
    return cv2.cvtColor(parts, cv2.COLOR_YCrCb2RGB).astype(np.uint8, copy=False)


def _group_times(times: set[int], max_gap: int) -> Iterator[tuple[int, int]]:
    """Yield intervals that contain all of these times. Times within `max_gap` of each other share an interval."""
    ordered = sorted(times)
    starts = [pts for before, pts in pairwise(ordered) if pts - before > max_gap]
    ends = [before for before, pts in pairwise(ordered) if pts - before > max_gap]
    yield from zip([ordered[0], *starts], [*ends, ordered[-1]], strict=True)
