"""Plan the segments of a video from its header."""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

from defacer.pipeline.documents.manifest import TimeRange
from defacer.pipeline.media_engine import VideoHeader
from defacer.pipeline.settings import Settings

MAX_SHARE_OF_DEADLINE = (
    1 / 3
)  # for one step of a segment, because a worker can be slower than the measured one
MIN_SEGMENT_SECONDS = 1.0
MAX_SEGMENTS = 10_000  # if they are shorter than the settings say
DEFAULT_FRAME_RATE = 60.0  # if the header has none
MAX_FRAME_RATE = 240.0  # some headers have 1,000 or more, whatever the frames' times are


def plan_segments(video: VideoHeader, seconds: float) -> tuple[TimeRange, ...]:
    """Cut the video about every `seconds`, at a key frame if one is within half of that time.

    A worker that starts at a key frame decodes no frame in vain. The first range has no start and the last has no end,
    so that each frame belongs to exactly one range. A last segment shorter than half of `seconds` joins the one
    before. A video of unknown length is one segment.
    """
    if video.duration_seconds is None:
        return (TimeRange(start=None, end=None),)
    step = max(1, round(Fraction(seconds) / video.time_base))
    end = video.start_pts + round(Fraction(video.duration_seconds) / video.time_base)
    boundaries: list[int] = []
    previous = video.start_pts
    while 2 * (end - previous) >= 3 * step:
        boundary = _nearest(video.keyframes, previous + step, step // 2)
        if boundary is None:
            boundary = previous + step
        if 2 * (end - boundary) < step:
            break
        boundaries.append(boundary)
        previous = boundary
    return tuple(
        TimeRange(start=start, end=stop)
        for start, stop in zip([None, *boundaries], [*boundaries, None], strict=True)
    )


def choose_segment_seconds(header: VideoHeader, given: Settings) -> float:
    """Return the length of a segment: the setting, or less if a worker needs too long for such large frames."""
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
    return min(given.segment_seconds, max(shortest, in_time))


def _nearest(sorted_times: Sequence[int], wanted: int, reach: int) -> int | None:
    """Return the time nearest to `wanted` that is at most `reach` away, or None."""
    position = bisect_left(sorted_times, wanted)
    around = sorted_times[max(position - 1, 0) : position + 1]
    nearest = min(around, key=lambda time: abs(time - wanted), default=None)
    return nearest if nearest is not None and abs(nearest - wanted) <= reach else None
