"""Detect shot cuts from the differences of neighboring thumbnails."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from defacer.engine.tracking.reduced_frame import ReducedFrame

CUT_SECONDS = Fraction(1, 2)  # a cut is detected by comparison with the changes in this time before it
CONTEXT_SECONDS = 2 * CUT_SECONDS  # each of these differences compares frames that are at most this far apart
CUT_DIFFERENCE = 10.0  # mean gray-level difference of neighboring thumbnails, of 255
CUT_RATIO = 4.0  # and this many times that of the frames before and after


def mark_cuts(frames: Iterable[ReducedFrame]) -> Iterator[ReducedFrame]:
    """Set `starts_shot` of frames where the picture jumps, and changes far less just before and after.

    So neither a fast pan nor a flash is a cut. Frames more than CUT_SECONDS apart are not compared, because the result
    would depend on where reading began.
    """
    recent: deque[tuple[Fraction, float]] = deque()
    waiting: tuple[ReducedFrame, float | None] | None = None
    for frame, difference in _compare_neighbors(frames):
        if waiting:
            _mark_cut(*waiting, recent, difference)
            yield waiting[0]
        waiting = frame, difference
    if waiting:
        _mark_cut(*waiting, recent, None)
        yield waiting[0]


def _compare_neighbors(frames: Iterable[ReducedFrame]) -> Iterator[tuple[ReducedFrame, float | None]]:
    """Yield each frame with the mean gray-level difference from the frame before, or None if that is too far away."""
    last: ReducedFrame | None = None
    for frame in frames:
        near = last is not None and frame.seconds - last.seconds <= CUT_SECONDS
        yield (
            frame,
            float(np.abs(frame.coarse - last.coarse).mean()) if last is not None and near else None,
        )
        last = frame


def _mark_cut(
    frame: ReducedFrame,
    difference: float | None,
    recent: deque[tuple[Fraction, float]],
    following: float | None,
) -> None:
    """Mark `frame` by its difference, those of CUT_SECONDS before it (kept in `recent`) and the one after it."""
    if difference is None:
        return
    while recent and frame.seconds - recent[0][0] > CUT_SECONDS:
        recent.popleft()
    before = [item[1] for item in recent] or [0.0]
    usual = max(float(np.median(before)), before[-1], following or 0.0)
    frame.starts_shot = difference > max(CUT_DIFFERENCE, CUT_RATIO * usual)
    recent.append((frame.seconds, difference))
