"""Where a video is cut into segments: a pure function of what its header says."""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from defacer.pipeline.documents.manifest import TimeRange


class Timeline(Protocol):
    """What cutting needs to know of a video: `defacer.engine.media.reader.VideoInfo` has it.

    `keyframes` are the presentation times of the key frames that the index lists, sorted; it may be empty.
    """

    @property
    def time_base(self) -> Fraction: ...
    @property
    def start_pts(self) -> int: ...
    @property
    def duration_seconds(self) -> float | None: ...
    @property
    def keyframes(self) -> tuple[int, ...]: ...


class VideoFacts(Timeline, Protocol):
    """What the manifest needs to know of a video besides."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def codec(self) -> str: ...
    @property
    def frame_rate(self) -> float | None: ...


def plan_segments(video: Timeline, seconds: float) -> tuple[TimeRange, ...]:
    """Cut the video about every `seconds`, at a key frame where one lies within half of that.

    A worker that starts at a key frame decodes nothing for nothing; without one near, the cut is exact. The
    first range has no start and the last no end, so whatever frames there are, each lies in one range. A
    last piece shorter than half of `seconds` joins the one before; a video of unknown length is one segment.
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


def _nearest(sorted_times: Sequence[int], wanted: int, reach: int) -> int | None:
    """The time nearest to `wanted` that is at most `reach` away, or None."""
    position = bisect_left(sorted_times, wanted)
    around = sorted_times[max(position - 1, 0) : position + 1]
    nearest = min(around, key=lambda time: abs(time - wanted), default=None)
    return nearest if nearest is not None and abs(nearest - wanted) <= reach else None
