"""Choose a few detections that stand for tracks, so that a person can recognize who the tracks show."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise

from defacer.report.compact_boxes import Box, BoxAt, CompactBoxes


@dataclass(frozen=True)
class FaceView:
    """A detection of a track that stands for it."""

    track: int
    pts: int
    box: Box


def choose_views(tracks: Sequence[tuple[int, CompactBoxes]], count: int) -> list[FaceView]:
    """Return at most `count` large detections, in the order of time, spread over the tracks and over their time.

    `tracks` are ids and detections. Each view is the largest box of its part of a track.
    """
    parts = dict.fromkeys(range(len(tracks)), 0)
    for number in islice(cycle(range(len(tracks))), count if tracks else 0):
        parts[number] += 1
    views = []
    for number, wanted in parts.items():
        track, detections = tracks[number]
        pieces = min(wanted, len(detections))
        edges = [len(detections) * piece // pieces for piece in range(pieces + 1)] if pieces else []
        for first, last in pairwise(edges):
            largest = max(detections[first:last], key=_area)
            views.append(FaceView(track, largest.pts, largest.box))
    return sorted(views, key=lambda view: (view.pts, view.track))


def _area(detection: BoxAt) -> float:
    x1, y1, x2, y2 = detection.box
    return (x2 - x1) * (y2 - y1)
