"""Detect shot cuts from the differences of neighbouring thumbnails."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from defacer.engine.tracking.views import View

CUT_SECONDS = Fraction(1, 2)  # a cut is detected by comparison with the changes in this time before it


CONTEXT_SECONDS = 2 * CUT_SECONDS  # each of the differences in it is that of two frames, as far apart at most


CUT_DIFFERENCE = 10.0  # mean grey-level difference of neighbouring thumbnails, of 255


CUT_RATIO = 4.0  # and this many times that of the frames before and after


def marking_cuts(views: Iterable[View]) -> Iterator[View]:
    """Mark the views that start a shot: there the picture jumps, and moves far less just before and after.

    So neither a fast pan nor a flash is a cut. Views more than CUT_SECONDS apart are not compared, because that
    would hang on where reading began.
    """
    recent: deque[tuple[Fraction, float]] = deque()
    waiting: tuple[View, float | None] | None = None
    for view, difference in _with_differences(views):
        if waiting:
            _mark_cut(*waiting, recent, difference)
            yield waiting[0]
        waiting = view, difference
    if waiting:
        _mark_cut(*waiting, recent, None)
        yield waiting[0]


def _with_differences(views: Iterable[View]) -> Iterator[tuple[View, float | None]]:
    """Each view with the mean grey-level difference of its thumbnail from the one before, if that is near."""
    last: View | None = None
    for view in views:
        near = last is not None and view.seconds - last.seconds <= CUT_SECONDS
        yield (
            view,
            float(np.abs(view.coarse - last.coarse).mean()) if last is not None and near else None,
        )
        last = view


def _mark_cut(
    view: View, difference: float | None, recent: deque[tuple[Fraction, float]], following: float | None
) -> None:
    """Mark `view` by its difference, those of CUT_SECONDS before it (kept in `recent`) and the one after it."""
    if difference is None:
        return
    while recent and view.seconds - recent[0][0] > CUT_SECONDS:
        recent.popleft()
    before = [item[1] for item in recent] or [0.0]
    usual = max(float(np.median(before)), before[-1], following or 0.0)
    view.starts_shot = difference > max(CUT_DIFFERENCE, CUT_RATIO * usual)
    recent.append((view.seconds, difference))
