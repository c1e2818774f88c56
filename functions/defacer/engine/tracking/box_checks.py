"""Check boxes that come from a person or a file: whether they are in the video, and whether they cover other boxes."""

from itertools import pairwise

from defacer.engine.errors import EngineError
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.tracks import Decision, FacesHead, TrackRecord

TOLERANCE = 0.25  # pixels: boxes are stored in tenths, and other programs round them
MAX_SIDE = 1.5  # of a face's box, as a share of the frame's side: the whole ellipse takes memory


def require_boxes_in_video(track: TrackRecord, head: FacesHead) -> None:
    """Raise EngineError unless the boxes are in the order of time and have an area inside the frame and the video.

    The sides of a face's box are limited. A drawn mask takes memory only inside the frame.
    """
    boxes = track.detections
    for one, other in pairwise(boxes):
        if one.pts >= other.pts:
            raise EngineError(f"the times of a track's boxes are {one.pts} and {other.pts}. Sort them.")
    for sample in boxes:
        x1, y1, x2, y2 = clip_box(sample.box, head)
        if x1 >= x2 or y1 >= y2:
            raise _wrong_box(sample.box, "has no area inside the frame", head)
        left, top, right, bottom = sample.box
        is_large = right - left > MAX_SIDE * head.width or bottom - top > MAX_SIDE * head.height
        if is_large and not track.is_manual_mask:
            raise _wrong_box(sample.box, "is far larger than the frame", head)
    first, last = boxes[0].pts, boxes[-1].pts
    if (head.end is not None and first > head.end) or (head.start is not None and last < head.start):
        raise EngineError(
            f"the boxes from {first} to {last} are outside the video, which lasts from {head.start} to {head.end}. "
            "Name times of the video."
        )


def find_uncovered(
    track: TrackRecord, boxes: CompactBoxes, decision: Decision, head: FacesHead
) -> tuple[int, int] | None:
    """Return the first and the last time where new boxes of a track can show more than its old ones, or None.

    The boxes of a hidden track can show more where they do not contain the old ones. Those of a kept track can show
    more where they are outside the old ones, because masks open over them.
    """
    if decision == "hide":
        return _find_outside(boxes, track.detections, head)
    return None if track.is_manual_mask else _find_outside(track.detections, boxes, head)


def _find_outside(outer: CompactBoxes, inner: CompactBoxes, head: FacesHead) -> tuple[int, int] | None:
    """Return the first and the last time where `inner` is not inside `outer`, or None.

    Only the part of the boxes inside the frame counts.
    """
    first, last = inner[0].pts, inner[-1].pts
    times = {sample.pts for boxes in (outer, inner) for sample in boxes if first <= sample.pts <= last}
    uncovered = [
        pts
        for pts in times
        if not outer[0].pts <= pts <= outer[-1].pts
        or not _contains(clip_box(outer.box_at(pts), head), clip_box(inner.box_at(pts), head))
    ]
    return (min(uncovered), max(uncovered)) if uncovered else None


def _wrong_box(box: Box, problem: str, head: FacesHead) -> EngineError:
    sides = ", ".join(f"{side:g}" for side in box)
    return EngineError(
        f"the box {sides} {problem} of {head.width}x{head.height} pixels. Name a box inside it."
    )


def clip_box(box: Box, head: FacesHead) -> Box:
    """Return the part of the box inside the frame."""
    x1, y1, x2, y2 = box
    return (max(x1, 0.0), max(y1, 0.0), min(x2, float(head.width)), min(y2, float(head.height)))


def _contains(box: Box, other: Box) -> bool:
    return (
        box[0] <= other[0] + TOLERANCE
        and box[1] <= other[1] + TOLERANCE
        and box[2] >= other[2] - TOLERANCE
        and box[3] >= other[3] - TOLERANCE
    )
