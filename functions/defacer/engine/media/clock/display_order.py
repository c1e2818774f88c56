"""Set the times of frames without presentation times: the n-th displayed frame gets the n-th time."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

import av


def order_times(frames: Iterable[av.VideoFrame], depth: int) -> Iterator[av.VideoFrame]:
    """Yield the frames in the given order, with their times sorted.

    `depth` is the largest number of frames between the decoding and the display of a frame.
    """
    waiting: deque[av.VideoFrame] = deque()
    times: list[int] = []
    for frame in frames:
        if frame.pts is None:
            yield frame  # the reader reports it
            continue
        waiting.append(frame)
        heapq.heappush(times, frame.pts)
        if len(waiting) > depth:
            yield _with_time(waiting.popleft(), heapq.heappop(times))
    while waiting:
        yield _with_time(waiting.popleft(), heapq.heappop(times))


def _with_time(frame: av.VideoFrame, pts: int) -> av.VideoFrame:
    frame.pts = pts
    return frame
