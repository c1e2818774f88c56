"""Decide which detections in a redacted segment are faces that should have been hidden, without a model or a frame.

Detections are linked to chains through time. A detection is masked if masks cover it, or kept if it is at the place of
a kept track. A detection that continues a kept track is explained, too, as long as no other face is near. All other
detections are open. The open detections of a chain are a visible face if their number and scores are high enough.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

import numpy as np

from defacer.engine.models.arrays import Array, Detection, box_areas, compute_overlaps, shared_areas
from defacer.engine.rendering.manual_masks import ManualMasks
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import OPAQUE_SCALE
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces

MASKED_SHARE = 0.5  # a face is hidden if masks cover this share of its ellipse
KEPT_SHARE = 0.5  # a detection is the kept face if this share of its box is in the kept box,
KEPT_GROWTH = 1.3  # expanded by this factor, because a face can be larger than its box,
KEPT_SIZE = 0.25  # and if its area is at least this share of the kept box
# A detection shows only a part of the kept face if this share of its box is inside, if it is smaller than this share of
# the kept face, and if its score is lower by this.
PART_INSIDE, PART_SIZE, PART_SCORE = 0.65, 0.5, 0.05
GRID = 16  # points along each side of a box where the masks are tested
SAME_FACE = 0.3  # overlap of one face in two consecutive sampled frames
LINK_SECONDS = 0.45  # between two samples of a face, with room for a missed one
CONTINUES_SECONDS = 1.0  # a face that continues or precedes a kept track is the target's for this time
NEAR_OVERLAP = 0.05  # with this overlap, two faces, or a face and a mask, can be confused
MIN_CANDIDATE_SCORE = 0.6  # the score of a detection around which every frame is searched
# The best score of a visible face in MIN_FRAMES or at a segment's end, its score in a single frame, and its score in
# each of MIN_LIKELY_FRAMES.
MIN_SCORE, MIN_SCORE_ALONE, MIN_LIKELY_SCORE = 0.72, 0.8, 0.6
MIN_FRAMES, MIN_LIKELY_FRAMES = 2, 8

REASONS = ("target", "unlikely")  # why an open chain is not a visible face
State = Literal["masked", "kept", "open"]
Masks = Callable[[int], list[Box]]  # returns the masks that were drawn in the frame at that time


@dataclass(frozen=True, slots=True)
class ClassifiedDetection:
    """A detection in a redacted frame, what explains it, and whether another face or a mask is near."""

    face: Detection
    state: State
    has_neighbor: bool


Samples = Mapping[int, Sequence[ClassifiedDetection]]  # by presentation time


@dataclass
class _Chain:
    """One face through time."""

    pts: list[int] = field(default_factory=list)
    detections: list[ClassifiedDetection] = field(default_factory=list)


@dataclass(frozen=True)
class VisibleFaces:
    """Visible faces that should be hidden, and the numbers of other chains with open detections, by the reason."""

    faces: tuple[CompactBoxes, ...]
    passed: Mapping[str, int]


def find_candidates(samples: Samples) -> dict[int, list[Detection]]:
    """Return the likely detections that neither a mask nor a kept track explains, by time."""
    found: dict[int, list[Detection]] = {}
    for pts, detections in samples.items():
        for detection in detections:
            if detection.state == "open" and detection.face.score >= MIN_CANDIDATE_SCORE:
                found.setdefault(pts, []).append(detection.face)
    return found


def find_visible_faces(
    samples: Samples,
    faces: Faces,
    extra_score: float = 0.0,
    ends: Collection[int] | None = None,
) -> VisibleFaces:
    """Return the faces that stay visible in the sampled frames.

    The minimum scores are raised by `extra_score`. At the times `ends`, a neighboring segment might show the rest of a
    face. By default they are the first and the last time.
    """
    base = Fraction(faces.time_base)
    ends = {min(samples, default=0), max(samples, default=0)} if ends is None else ends
    found, passed = [], Counter[str]()
    for chain in _link_chains(samples, faces):
        for indices in _split_open_parts(chain, base, passed):
            scores = [chain.detections[n].face.score for n in indices]
            at_segment_end = any(chain.pts[n] in ends for n in indices)
            if _is_face(scores, extra_score, at_segment_end):
                found.append(CompactBoxes((chain.pts[n], chain.detections[n].face.box) for n in indices))
            else:
                passed["unlikely"] += max(scores) >= MIN_CANDIDATE_SCORE
    return VisibleFaces(tuple(found), {reason: count for reason, count in passed.items() if count})


def _is_face(scores: Sequence[float], extra_score: float, at_segment_end: bool) -> bool:
    best = max(scores) - extra_score
    many = sum(score >= MIN_LIKELY_SCORE + extra_score for score in scores) >= MIN_LIKELY_FRAMES
    return many or best >= (MIN_SCORE if at_segment_end or len(scores) >= MIN_FRAMES else MIN_SCORE_ALONE)


def classify_detections(
    samples: Mapping[int, Sequence[Detection]], faces: Faces, masks: Masks
) -> dict[int, list[ClassifiedDetection]]:
    """Return the detections of each sampled frame with their states, by time. Each frame is judged on its own.

    `masks` are the ellipses. The manual masks are part of the `faces`.
    """
    kept, manual = _places_of_kept_tracks(faces), ManualMasks(faces)
    size = (faces.width, faces.height)
    return {
        pts: _classify_frame(samples[pts], masks(pts), manual.at(pts), kept.boxes(pts), size)
        for pts in sorted(samples)
    }


def _classify_frame(
    detections: Sequence[Detection],
    drawn: Sequence[Box],
    manual: Sequence[Box],
    places: Sequence[Box],
    size: tuple[int, int],
) -> list[ClassifiedDetection]:
    boxes = np.array([face.box for face in detections], np.float32).reshape(-1, 4)
    all_boxes = np.concatenate([boxes, np.array([*drawn, *manual], np.float32).reshape(-1, 4)])
    targets = _match_to_places(detections, boxes, places)
    found = []
    for index, face in enumerate(detections):
        shares = compute_overlaps(face.box, all_boxes)
        shares[index] = 0
        state: State = "open"
        if (drawn or manual) and covered_share(face.box, drawn, *size, manual) >= MASKED_SHARE:
            state = "masked"
        elif index in targets:
            state = "kept"
        found.append(ClassifiedDetection(face, state, bool(shares.max() > NEAR_OVERLAP)))
    return found


def covered_share(
    box: Sequence[float] | Array,
    masks: Sequence[Box],
    width: int,
    height: int,
    rectangles: Sequence[Box] = (),
) -> float:
    """Return the share of a face's ellipse, inside the frame, that the opaque ellipses and the rectangles cover."""
    x1, y1, x2, y2 = (float(side) for side in box)
    x, y = x1 + _FACE_X * (x2 - x1), y1 + _FACE_Y * (y2 - y1)
    in_frame = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    hidden = np.zeros_like(in_frame)
    for left, top, right, bottom in masks:
        across = (2 * x - left - right) / max(OPAQUE_SCALE * (right - left), 1.0)
        down = (2 * y - top - bottom) / max(OPAQUE_SCALE * (bottom - top), 1.0)
        hidden |= across**2 + down**2 <= 1
    for left, top, right, bottom in rectangles:
        hidden |= (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    return float((hidden & in_frame).sum() / max(1, in_frame.sum()))


def _ellipse_points() -> tuple[Array, Array]:
    """Return the points of a grid that are inside the ellipse of a face, as shares of its box."""
    steps = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    x, y = (side.astype(np.float32) for side in np.meshgrid(steps, steps))
    inside = (2 * x - 1) ** 2 + (2 * y - 1) ** 2 <= 1
    return x[inside], y[inside]


_FACE_X, _FACE_Y = _ellipse_points()


def _places_of_kept_tracks(faces: Faces) -> MaskSchedule:
    """Return the places of the kept tracks, for as long as the masks of hidden tracks would last."""
    kept = {track.id: track for track in faces.tracks if track.decision == "keep"}
    tracks = (
        replace(track, decision="hide", continues=track.continues if track.continues in kept else None)
        for track in kept.values()
    )
    return MaskSchedule(replace(faces, tracks=tuple(tracks)))


def _match_to_places(detections: Sequence[Detection], boxes: Array, places: Sequence[Box]) -> set[int]:
    """Return the indices of the detections at these places. `boxes` (N, 4) are those of the detections.

    For each place these are the detection that overlaps most, and less certain detections of a part of the same face.
    """
    found = set()
    areas = box_areas(boxes)
    for x1, y1, x2, y2 in places if len(boxes) else ():
        more_x, more_y = (KEPT_GROWTH - 1) / 2 * (x2 - x1), (KEPT_GROWTH - 1) / 2 * (y2 - y1)
        expanded = np.array([x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y], np.float32)
        shares = compute_overlaps(np.array([x1, y1, x2, y2], np.float32), boxes)
        is_inside = shared_areas(expanded, boxes) >= KEPT_SHARE * np.maximum(areas, 1e-6)
        is_large = areas >= KEPT_SIZE * (x2 - x1) * (y2 - y1)
        shares[~(is_inside & is_large)] = 0
        best = int(shares.argmax())
        if shares[best] > 0:
            found |= {n for n, face in enumerate(detections) if n == best or _is_part(face, detections[best])}
    return found


def _is_part(face: Detection, whole: Detection) -> bool:
    """Return whether a detection shows only a part of another one, such as eyes and hair."""
    area = float(box_areas(face.box))
    inside = float(shared_areas(face.box, whole.box)) / max(area, 1e-6)
    is_smaller = area <= PART_SIZE * float(box_areas(whole.box))
    return inside >= PART_INSIDE and is_smaller and face.score <= whole.score - PART_SCORE


def _link_chains(samples: Samples, faces: Faces) -> list[_Chain]:
    """Link detections of consecutive sampled frames, best overlap first, but never across a cut."""
    reach = round(LINK_SECONDS / Fraction(faces.time_base))
    chains: list[_Chain] = []
    active: list[_Chain] = []
    for pts in sorted(samples):
        found = samples[pts]
        shot = bisect_right(faces.cuts, pts)
        active = [
            chain
            for chain in active
            if pts - chain.pts[-1] <= reach and bisect_right(faces.cuts, chain.pts[-1]) == shot
        ]
        boxes = np.array([detection.face.box for detection in found], np.float32).reshape(-1, 4)
        pairs = sorted(
            (
                (float(share), place, index)
                for place, chain in enumerate(active)
                for index, share in enumerate(compute_overlaps(chain.detections[-1].face.box, boxes))
                if share >= SAME_FACE
            ),
            reverse=True,
        )
        linked: dict[int, _Chain] = {}
        taken: set[int] = set()
        for _, place, index in pairs:
            if index not in linked and place not in taken:
                linked[index] = active[place]
                taken.add(place)
        for index, detection in enumerate(found):
            chain = linked.get(index)
            if chain is None:
                chain = _Chain()
                chains.append(chain)
                active.append(chain)
            chain.pts.append(pts)
            chain.detections.append(detection)
    return chains


def _split_open_parts(chain: _Chain, base: Fraction, passed: Counter[str]) -> Iterator[list[int]]:
    """Yield the runs of open detections that do not continue a kept one, as indices of the chain."""
    target = _find_continuations(chain, round(CONTINUES_SECONDS / base))
    passed["target"] += bool(target)
    indices: list[int] = []
    for n, detection in enumerate(chain.detections):
        if detection.state == "open" and n not in target:
            indices.append(n)
        elif indices and (detection.state == "kept" or n in target):
            yield indices
            indices = []
    if indices:
        yield indices


def _find_continuations(chain: _Chain, reach: int) -> set[int]:
    """Return the indices of open detections shortly after or before a kept one, with no other face near."""
    found: set[int] = set()
    for places in (range(len(chain.pts)), range(len(chain.pts) - 1, -1, -1)):
        kept: int | None = None
        for n in places:
            detection = chain.detections[n]
            if detection.state == "kept":
                kept = chain.pts[n]
            elif detection.state == "masked" or detection.has_neighbor:
                kept = None
            elif kept is not None and abs(chain.pts[n] - kept) <= reach:
                found.add(n)
    return found
