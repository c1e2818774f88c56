"""Plan the segments of a video from its header."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from defacer.pipeline.documents.manifest import TimeRange
from defacer.pipeline.media_engine import VideoHeader
from defacer.pipeline.settings import Settings

MAX_SHARE_OF_DEADLINE = (
    1 / 3
)  # for one step of a segment, because a worker can be slower than the measured one
MIN_SEGMENT_SECONDS = 1.0
MAX_SEGMENT_SECONDS = (
    300.0  # of a segment far from its key frame; the networks need about a third of this time
)
# A segment far from its key frame is this share of the distance long, so that all segments together decode the video
# about three times.
MIN_SHARE_OF_DISTANCE = 1 / 2
# Decoding is this many times as fast as a step that works at the speed of the settings. H.264 was measured at 46 times
# (infra/capacity/inputs.toml), and other codecs are slower.
DECODE_SPEED = 20
MAX_SEGMENTS = 10_000  # if they are shorter than the settings say
DEFAULT_FRAME_RATE = 60.0  # if the header has none
MAX_FRAME_RATE = 240.0  # some headers have 1,000 or more, whatever the frames' times are


def plan_segments(
    video: VideoHeader, seconds: float, longest: float = MAX_SEGMENT_SECONDS
) -> tuple[TimeRange, ...]:
    """Cut the video about every `seconds`, at a key frame if one is within half of that time.

    A worker that starts at a key frame decodes no frame in vain. Far from a key frame the segments are longer, because
    each of them decodes everything since the key frame. Decoding and processing such a segment take at most as long as
    processing `longest` seconds.

    The first range has no start and the last has no end, so that each frame belongs to exactly one range. A last
    segment shorter than half of `seconds` joins the one before. A video of unknown length is one segment.
    """
    if video.duration_seconds is None:
        return (TimeRange(start=None, end=None),)
    usual, limit = (max(1, round(Fraction(length) / video.time_base)) for length in (seconds, longest))
    end = video.start_pts + round(Fraction(video.duration_seconds) / video.time_base)
    boundaries: list[int] = []
    previous = video.start_pts
    while True:
        distance = _distance_from_keyframe(video, previous)
        step = max(usual, min(int(distance * MIN_SHARE_OF_DISTANCE), limit - distance // DECODE_SPEED))
        if 2 * (end - previous) < 3 * step:
            break
        boundary = _nearest(video.keyframes, previous + step, step // 2)
        if boundary is None:
            boundary = previous + step
        if 2 * (end - boundary) < usual:
            break
        boundaries.append(boundary)
        previous = boundary
    return tuple(
        TimeRange(start=start, end=stop)
        for start, stop in zip([None, *boundaries], [*boundaries, None], strict=True)
    )


@dataclass(frozen=True)
class DecodeCost:
    """What the segments of a video decode. `times`: how often a frame is decoded, in the mean of the video.

    `longest_distance` is the largest time in seconds between a segment and its key frame.
    """

    times: float
    longest_distance: float


def measure_decode_cost(video: VideoHeader, segments: Sequence[TimeRange]) -> DecodeCost:
    """Return what these segments decode in one step, by the key frames of the index."""
    starts = [segment.start for segment in segments if segment.start is not None]
    distances = [float(_distance_from_keyframe(video, start) * video.time_base) for start in starts]
    duration = video.duration_seconds or 0
    return DecodeCost(1 + sum(distances) / duration if duration > 0 else 1.0, max(distances, default=0.0))


def _distance_from_keyframe(video: VideoHeader, time: int) -> int:
    """Return the time since the last key frame. Without an index the key frames are unknown: return 0.

    Then the worker limits the distance (`media/reader.py`).
    """
    if not video.keyframes:
        return 0
    position = bisect_right(video.keyframes, time)
    return time - (video.keyframes[position - 1] if position else video.start_pts)


def choose_segment_seconds(header: VideoHeader, given: Settings) -> float:
    """Return the length of a segment: the setting, or less if a worker needs too long for such large frames."""
    return min(given.segment_seconds, seconds_in_time(header, given))


def seconds_in_time(header: VideoHeader, given: Settings) -> float:
    """Return how many seconds of this video a worker can process within its share of the deadline."""
    rate = min(header.frame_rate or DEFAULT_FRAME_RATE, MAX_FRAME_RATE)
    pixels_per_second = header.width * header.height * rate
    in_time = (
        given.deadline_seconds
        * MAX_SHARE_OF_DEADLINE
        * given.worker_megapixels_per_second
        * 1e6
        / pixels_per_second
    )
    # A long video has at most MAX_SEGMENTS such short segments.
    shortest = max(MIN_SEGMENT_SECONDS, (header.duration_seconds or 0) / MAX_SEGMENTS)
    return max(shortest, in_time)


def _nearest(sorted_times: Sequence[int], wanted: int, reach: int) -> int | None:
    """Return the time nearest to `wanted` that is at most `reach` away, or None."""
    position = bisect_left(sorted_times, wanted)
    around = sorted_times[max(position - 1, 0) : position + 1]
    nearest = min(around, key=lambda time: abs(time - wanted), default=None)
    return nearest if nearest is not None and abs(nearest - wanted) <= reach else None
