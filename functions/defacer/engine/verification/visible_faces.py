"""Decide which detections in a redacted segment are faces that should have been hidden. Pure: no model, no frame.

Detections are linked to chains through time. A detection is explained by a mask that covers it, or by a kept track at
its place. One that continues a kept track is explained, too, as long as no other face is near. All others are open. The
open detections of a chain are a visible face if one of them is sure and they are more than one or at a segment's end,
or if one is very sure.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from defacer.engine.models.arrays import Array, Detection, overlap
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import OPAQUE
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces

MASKED_SHARE = 0.5  # a face is hidden if masks cover this share of its ellipse
KEPT_SHARE = 0.5  # a detection with this share of its box in a kept one is that face,
KEPT_GROWTH = 1.3  # which is often larger than its box,
KEPT_SIZE = 0.25  # if its area is at least this share of the kept one's
GRID = 16  # points along each side of a box where coverage is measured
SAME_FACE = 0.3  # overlap of one face in two frames that follow one another
LINK_SECONDS = 0.45  # two sampled frames, with room for one that was missed between
CONTINUES_SECONDS = 1.0  # a face that continues a kept track, or precedes it, is the target's for this time
NEAR = 0.05  # with this overlap, a face can be confused with another one or a masked one
CANDIDATE = 0.6  # the score of a detection around which every frame is searched
# Scores of a visible face: this one in one of two frames or more or at a segment's end, or this one in a single frame,
# or in many.
SURE, SURE_ALONE, LIKELY = 0.72, 0.8, 0.6
MIN_FRAMES, MANY_FRAMES = 2, 8

REASONS = ("target", "unlikely")  # why an open chain is not a visible face
State = Literal["masked", "kept", "open"]
Masks = Callable[[int], list[Box]]  # those that were drawn in the frame at that time


@dataclass
class _Chain:
    """One face through time."""

    pts: list[int] = field(default_factory=list)
    faces: list[Detection] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    meets: list[bool] = field(default_factory=list)  # whether another face or a mask is near

    def add(self, pts: int, face: Detection, state: State, meets: bool) -> None:
        self.pts.append(pts)
        self.faces.append(face)
        self.states.append(state)
        self.meets.append(meets)


@dataclass(frozen=True)
class Visible:
    """Faces that are visible and should not be, and how many chains were passed, by the reason."""

    faces: tuple[CompactBoxes, ...]
    passed: Mapping[str, int]


def candidates(
    looks: Mapping[int, Sequence[Detection]], faces: Faces, masks: Masks
) -> dict[int, list[Detection]]:
    """Return the likely detections that neither a mask nor a kept track explains, by time."""
    found: dict[int, list[Detection]] = {}
    for pts, face, state, _ in _explained(looks, faces, masks):
        if state == "open" and face.score >= CANDIDATE:
            found.setdefault(pts, []).append(face)
    return found


def visible_faces(
    looks: Mapping[int, Sequence[Detection]],
    faces: Faces,
    masks: Masks,
    more: float = 0.0,
    ends: Collection[int] | None = None,
) -> Visible:
    """Return the faces that stay visible in the sampled frames.

    `looks` are the detections by time. A face needs a score that is `more` than usual. At the times
    `ends` a neighbouring segment might show the rest of a face. By default they are the first and the last time.
    """
    base = Fraction(faces.time_base)
    ends = {min(looks, default=0), max(looks, default=0)} if ends is None else ends
    found, passed = [], Counter[str]()
    for chain in _chains(looks, faces, masks):
        for part in _open_parts(chain, base, passed):
            scores = [chain.faces[n].score for n in part]
            goes_on = any(chain.pts[n] in ends for n in part)
            if _is_face(scores, more, goes_on):
                found.append(CompactBoxes((chain.pts[n], chain.faces[n].box) for n in part))
            else:
                passed["unlikely"] += max(scores) >= CANDIDATE
    return Visible(tuple(found), {reason: count for reason, count in passed.items() if count})


def _is_face(scores: Sequence[float], more: float, goes_on: bool) -> bool:
    best = max(scores) - more
    many = sum(score >= LIKELY + more for score in scores) >= MANY_FRAMES
    return many or best >= (SURE if goes_on or len(scores) >= MIN_FRAMES else SURE_ALONE)


def _explained(
    looks: Mapping[int, Sequence[Detection]], faces: Faces, masks: Masks
) -> Iterator[tuple[int, Detection, State, bool]]:
    """Yield each detection with its time, what explains it, and whether another face is near."""
    kept = _places_of_kept(faces)
    for pts in sorted(looks):
        detections, drawn, places = looks[pts], masks(pts), kept.boxes(pts)
        targets = _at_places(detections, places)
        boxes = np.array([face.box for face in detections] + drawn, np.float32).reshape(-1, 4)
        for index, face in enumerate(detections):
            others = np.delete(boxes, index, axis=0)
            meets = bool(len(others)) and bool((overlap(face.box, others) > NEAR).any())
            state: State = "open"
            if drawn and covered_share(face.box, drawn, faces.width, faces.height) >= MASKED_SHARE:
                state = "masked"
            elif index in targets:
                state = "kept"
            yield pts, face, state, meets


def covered_share(box: Sequence[float] | Array, masks: Sequence[Box], width: int, height: int) -> float:
    """Return the share of a face's ellipse, inside the frame, that the opaque ellipses of the masks cover."""
    x1, y1, x2, y2 = (float(side) for side in box)
    steps = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    x, y = (side.astype(np.float32) for side in np.meshgrid(x1 + steps * (x2 - x1), y1 + steps * (y2 - y1)))
    of_face = _in_ellipse(x, y, (x1, y1, x2, y2), 1.0) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    hidden = np.zeros_like(of_face)
    for mask in masks:
        hidden |= _in_ellipse(x, y, mask, OPAQUE)
    return float((hidden & of_face).sum() / max(1, of_face.sum()))


def _in_ellipse(x: Array, y: Array, box: Box, growth: float) -> npt.NDArray[np.bool_]:
    x1, y1, x2, y2 = box
    across = (2 * x - x1 - x2) / max(growth * (x2 - x1), 1.0)
    down = (2 * y - y1 - y2) / max(growth * (y2 - y1), 1.0)
    inside: npt.NDArray[np.bool_] = across**2 + down**2 <= 1
    return inside


def _places_of_kept(faces: Faces) -> MaskSchedule:
    """Return the places of the kept tracks, for as long as the mask of a hidden one would last."""
    kept = {track.id: track for track in faces.tracks if track.decision == "keep"}
    tracks = (
        replace(track, decision="hide", continues=track.continues if track.continues in kept else None)
        for track in kept.values()
    )
    return MaskSchedule(replace(faces, tracks=tuple(tracks)))


def _at_places(detections: Sequence[Detection], places: Sequence[Box]) -> set[int]:
    """Return the indices of the detections at these places: one for each place, the one that overlaps most."""
    found = set()
    for place in places:
        x1, y1, x2, y2 = place
        more_x, more_y = (KEPT_GROWTH - 1) / 2 * (x2 - x1), (KEPT_GROWTH - 1) / 2 * (y2 - y1)
        grown = np.array([x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y], np.float32)
        best, most = None, 0.0
        for index, face in enumerate(detections):
            sides = np.minimum(face.box[2:], grown[2:]) - np.maximum(face.box[:2], grown[:2])
            area = float(np.prod(face.box[2:] - face.box[:2]))
            share = float(np.prod(np.clip(sides, 0, None))) / max(area, 1e-6)
            shared = float(overlap(np.array(place, np.float32), face.box[None])[0])
            if share >= KEPT_SHARE and area >= KEPT_SIZE * (x2 - x1) * (y2 - y1) and shared > most:
                best, most = index, shared
        if best is not None:
            found.add(best)
    return found


def _chains(looks: Mapping[int, Sequence[Detection]], faces: Faces, masks: Masks) -> list[_Chain]:
    """Link detections of frames that follow one another, best overlap first; never across a cut."""
    reach = round(LINK_SECONDS / Fraction(faces.time_base))
    by_time: dict[int, list[tuple[Detection, State, bool]]] = {}
    for pts, face, state, meets in _explained(looks, faces, masks):
        by_time.setdefault(pts, []).append((face, state, meets))
    chains: list[_Chain] = []
    active: list[_Chain] = []
    for pts, found in by_time.items():
        shot = bisect_right(faces.cuts, pts)
        active = [
            chain
            for chain in active
            if pts - chain.pts[-1] <= reach and bisect_right(faces.cuts, chain.pts[-1]) == shot
        ]
        boxes = np.array([face.box for face, _, _ in found])
        pairs = sorted(
            (
                (float(share), place, index)
                for place, chain in enumerate(active)
                for index, share in enumerate(overlap(chain.faces[-1].box, boxes))
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
        for index, (face, state, meets) in enumerate(found):
            chain = linked.get(index)
            if chain is None:
                chain = _Chain()
                chains.append(chain)
                active.append(chain)
            chain.add(pts, face, state, meets)
    return chains


def _open_parts(chain: _Chain, base: Fraction, passed: Counter[str]) -> Iterator[list[int]]:
    """Yield the runs of open detections that no kept one explains, as places in the chain."""
    target = _continuing(chain, round(CONTINUES_SECONDS / base))
    passed["target"] += bool(target)
    part: list[int] = []
    for n, state in enumerate(chain.states):
        if state == "open" and n not in target:
            part.append(n)
        elif part and (state == "kept" or n in target):
            yield part
            part = []
    if part:
        yield part


def _continuing(chain: _Chain, reach: int) -> set[int]:
    """Return the places of open detections that come soon after a kept one, or before it, with no other face near."""
    found: set[int] = set()
    for places in (range(len(chain.pts)), range(len(chain.pts) - 1, -1, -1)):
        kept: int | None = None
        for n in places:
            if chain.states[n] == "kept":
                kept = chain.pts[n]
            elif chain.states[n] == "masked" or chain.meets[n]:
                kept = None
            elif kept is not None and abs(chain.pts[n] - kept) <= reach:
                found.add(n)
    return found
