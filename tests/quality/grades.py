"""What score.py says about one result."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import Openings
from defacer.report.compact_boxes import Box
from defacer.report.faces import Faces
from tests.quality.clips import Truth
from tests.quality.figures import Share

MAX_DRIFT_MS = 0.5
HIDDEN_SHARE = 0.5  # a face counts as hidden by its masks if they schedule this share of its box
Floats = NDArray[np.float64]
Place = tuple[int, Sequence[float]]  # time, box
HEAVY_BLUR = 6  # as score.py: a face that is like its own blur shows no structure to judge by
GRID = 24  # points in a row and a column of a box, to measure how much of it is covered


@dataclass(frozen=True)
class Grades:
    """The fields of score.py's result that are judged here. `hides_all`: no target was given, so no one is kept."""

    hides_all: bool
    leaked: Share
    kept: Share
    over_masking: float
    is_unchanged: bool  # the result has the source's frames, times, size and sound


def grades_of(truth: Truth, source: Path, result: Path, score: ModuleType, *, hides_all: bool) -> Grades:
    """Grade a result with score.py."""
    found: dict[str, Any] = score.score(truth, str(source), str(result), hides_all)
    return Grades(
        hides_all,
        Share(found["leaked"], found["faces_to_hide"]),
        Share(round((found["kept"] or 0) * found["target_faces"]), found["target_faces"]),
        found["spill"],
        found["frames_equal"]
        and found["size_equal"]
        and found["audio_equal"]
        and found["pts_drift_ms"] < MAX_DRIFT_MS
        and not found["av_offset_ms"],
    )


def visible_by_masks(faces: Faces, times: list[int], truth: Truth) -> tuple[Share, Share]:
    """Return the leaked faces and the target's visible faces, without rendering: by the share that masks schedule.

    `times` are those of the frames. Masks of faces that `hide` follows beyond their tracks are not counted.
    """
    graded = [(role, (times[number], box)) for number, _, role, *box in truth["faces"] if role != "ignore"]
    shares = covered_by_masks(faces, times, [place for _, place in graded])
    visible: dict[str, list[bool]] = {"other": [], "target": []}
    for (role, _), share in zip(graded, shares, strict=True):
        visible[role].append(share < HIDDEN_SHARE)
    leaked, kept = (Share(sum(found), len(found)) for found in visible.values())
    return leaked, kept


def graded_crop(gray: NDArray[Any], box: Sequence[float], score: ModuleType) -> NDArray[Any] | None:
    """Return score.py's crop of a face in a gray frame, or None if score.py would not grade the face."""
    crop: NDArray[Any] | None = score.crop(gray, box)
    if crop is None or score.ssim(crop, cv2.GaussianBlur(crop, (0, 0), HEAVY_BLUR)) >= score.SEEN_SSIM:
        return None
    return crop


def seen_places(segment: Segment, result: Path, places: Sequence[Place], score: ModuleType) -> list[Place]:
    """Return the places of a segment that can be seen in its redacted frames, by score.py's test of the pixels."""
    seen = []
    sources = read_frames(segment.source, segment.start, segment.end)
    for source, redacted in zip(sources, read_frames(str(result)), strict=True):
        here = [place for place in places if place[0] == source.pts]
        if not here:
            continue
        before, after = (
            cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2GRAY) for frame in (source, redacted)
        )
        for place in here:
            crop = graded_crop(before, place[1], score)
            if crop is not None and score.ssim(crop, score.crop(after, place[1])) >= score.SEEN_SSIM:
                seen.append(place)
    return seen


def covered_by_masks(faces: Faces, times: Sequence[int], places: Sequence[Place]) -> list[float]:
    """Return the share of each place that is masked. `times` are those of the frames, in order."""
    schedule = MaskSchedule(faces)
    masks = {pts: (schedule.boxes(pts), schedule.openings(pts)) for pts in times}
    return [_covered(box, *masks[pts]) for pts, box in places]


def _covered(box: Sequence[float], masks: list[Box], openings: Openings) -> float:
    """Return the share of the box that is masked."""
    x1, y1, x2, y2 = box
    x, y = np.meshgrid(np.linspace(x1, x2, GRID), np.linspace(y1, y2, GRID))
    is_open = _inside(x, y, openings.kept) & ~_inside(x, y, openings.closed)
    return float((_inside(x, y, masks) & ~is_open).mean())


def _inside(x: Floats, y: Floats, boxes: Sequence[Box]) -> NDArray[np.bool_]:
    """Return which points are in any of the boxes."""
    inside = np.zeros(x.shape, bool)
    for x1, y1, x2, y2 in boxes:
        inside |= (x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)
    return inside
