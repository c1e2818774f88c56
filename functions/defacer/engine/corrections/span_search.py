"""Detect the faces in a time span of a video whose report exists already."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from defacer.engine.errors import ArgumentError
from defacer.engine.media.clock.clocked_source import Source
from defacer.engine.media.reader import read_frames, read_picture_form
from defacer.engine.models.arrays import Detection, Detector
from defacer.engine.runtime.prefetch import map_ordered, usable_threads
from defacer.engine.tracking.reduced_frame import ReducedFrame
from defacer.report.faces import Faces

FrameCallback = Callable[[int], None]  # gets the number of read frames, and can raise to stop


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
    """A sampled frame and its detections, in displayed pixels."""

    pts: int
    detections: tuple[Detection, ...]


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
        scale = held.width / image.shape[1]
        found = tuple(face.scaled(scale) for face in detector.detect([image])[0])
        return SampledFrame(held.pts, found)

    chosen = _choose_frames(span, per_second, times, progress)
    sample = None
    for sample in map_ordered(detect, chosen, usable_threads()):
        yield sample
    if sample is None:
        raise ArgumentError("The time span has no frame. Name times of the video.")


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
