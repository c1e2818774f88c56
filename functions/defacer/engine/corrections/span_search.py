"""Detect the faces in a time span of a video whose report exists already."""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np

from defacer.engine.errors import ArgumentError
from defacer.engine.media.clock.clocked_source import Source
from defacer.engine.media.reader import read_frames, read_picture_form
from defacer.engine.models.arrays import Detection, Detector, Image
from defacer.engine.runtime.prefetch import map_ordered, usable_threads
from defacer.engine.tracking.reduced_frame import ReducedFrame
from defacer.report.compact_boxes import Box
from defacer.report.faces import Faces

FrameCallback = Callable[[int], None]  # gets the number of read frames, and can raise to stop
CropFace = Callable[[Image, Detection], Image]  # `Recognizer.crop`
MAX_CROPS = 4  # of a frame: each one takes 37 KB


@dataclass(frozen=True)
class TimeSpan:
    """A time span of a video (first and last time, both included), and the report's faces.

    With `past_damage`, damaged frames are black instead of an error.
    """

    source: Source
    faces: Faces
    start: int
    end: int
    past_damage: bool = False

    def seconds(self, time: int) -> float:
        """Return a time or a time difference in seconds."""
        return float(time * Fraction(self.faces.time_base))


@dataclass(frozen=True)
class SampledFrame:
    """A sampled frame and its detections, in displayed pixels.

    A frame of a close search (`search_closely`) has a crop for some detections, and its neighbors are sampled too.
    """

    pts: int
    detections: tuple[Detection, ...]
    crops: tuple[Image | None, ...] = ()
    is_close: bool = False

    def only(self, kept: Callable[[Detection], bool]) -> "SampledFrame":
        """Return the sample with these detections alone."""
        numbers = [number for number, face in enumerate(self.detections) if kept(face)]
        crops = tuple(self.crops[number] for number in numbers) if self.crops else ()
        return replace(self, detections=tuple(self.detections[number] for number in numbers), crops=crops)


def search_span(
    span: TimeSpan,
    detector: Detector,
    per_second: int,
    progress: FrameCallback,
    *,
    full_size: bool = False,
    times: Collection[int] = (),
) -> Iterator[SampledFrame]:
    """Yield sampled frames with their detections: `per_second`, the first and the last frame, and both sides of a cut.

    The frames that are displayed at `times` are sampled, too. With `full_size`, the detector gets frames of up to 1920
    pixels instead of its usual size. Raises ArgumentError for a span without a frame, and VideoError.
    """
    if span.start > span.end:
        raise ArgumentError("The time span ends before it begins. Name the earlier time first.")
    orientation = read_picture_form(span.source).orientation

    def detect(frame: av.VideoFrame) -> SampledFrame:
        held = ReducedFrame(frame, orientation=orientation)
        image = held.crop_image() if full_size else held.detector_image()
        return SampledFrame(held.pts, _detect(detector, image, held.width))

    chosen = _choose_frames(span, per_second, times, progress)
    sample = None
    for sample in map_ordered(detect, chosen, usable_threads()):
        yield sample
    if sample is None:
        raise ArgumentError("The time span has no frame. Name times of the video.")


def search_closely(
    span: TimeSpan, detector: Detector, crop: CropFace, near: Sequence[Box], progress: Callable[[], None]
) -> Generator[SampledFrame]:
    """Yield every frame with its detections, and with crops of the faces that are nearest to the boxes `near`."""
    orientation = read_picture_form(span.source).orientation
    places = np.array(near, np.float32).reshape(-1, 2, 2).mean(axis=1)

    def distance(face: Detection) -> float:
        center = face.box.reshape(2, 2).mean(axis=0)
        return float(np.linalg.norm(places - center, axis=1).min())

    def detect(frame: av.VideoFrame) -> SampledFrame:
        held = ReducedFrame(frame, orientation=orientation)
        found = _detect(detector, held.detector_image(), held.width)
        nearest = {id(face) for face in sorted(found, key=distance)[:MAX_CROPS]}
        image = held.crop_image()
        scale = image.shape[1] / held.width
        crops = tuple(crop(image, face.scaled(scale)) if id(face) in nearest else None for face in found)
        return SampledFrame(held.pts, found, crops, is_close=True)

    black: list[int] | None = [] if span.past_damage else None
    frames = read_frames(span.source, span.start, span.end + 1, black, progress)
    yield from map_ordered(detect, frames, usable_threads())


def _detect(detector: Detector, image: Image, width: int) -> tuple[Detection, ...]:
    """Return the detections in pixels of the displayed frame, which is `width` pixels wide."""
    scale = width / image.shape[1]
    return tuple(face.scaled(scale) for face in detector.detect([image])[0])


def _choose_frames(
    span: TimeSpan, per_second: int, times: Collection[int], progress: FrameCallback
) -> Iterator[av.VideoFrame]:
    slot_time = 1 / (per_second * Fraction(span.faces.time_base))
    cuts = set(span.faces.cuts)
    held: av.VideoFrame | None = None
    is_chosen, last_slot = False, None
    black: list[int] | None = [] if span.past_damage else None
    frames = read_frames(span.source, span.start, span.end + 1, black, lambda: progress(0))
    for number, frame in enumerate(frames, start=1):
        progress(number)
        pts = frame.pts or 0
        if held is not None and (is_chosen or pts in cuts or _any_between(times, held.pts or 0, pts)):
            yield held
        slot = pts // slot_time
        held, is_chosen, last_slot = frame, slot != last_slot or pts in cuts, slot
    if held is not None:
        yield held


def _any_between(times: Collection[int], first: int, end: int) -> bool:
    return any(first <= time < end for time in times)
