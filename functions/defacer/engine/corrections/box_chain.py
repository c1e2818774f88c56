"""Link detections from a drawn box through consecutive sampled frames, and compute the mask's box at each of them.

A link is plain if the boxes overlap well and no other face is near. Any other link is doubtful: its frames are searched
closely, one by one, and the looks of the faces decide which one continues the chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from defacer.engine.corrections.face_looks import FaceLooks
from defacer.engine.corrections.span_search import SampledFrame, TimeSpan
from defacer.engine.models.arrays import Array, Detection, box_areas, compute_overlaps
from defacer.engine.rendering.box_motion import contains_center
from defacer.report.compact_boxes import Box

MAX_LOST_SECONDS = 2.0  # after a longer gap the face is not linked again
MAX_DISTANCE = 0.5  # of the face's size, between its predicted place and a detection,
MAX_DISTANCE_LOST = (
    1.5  # and at most this much after a gap, as it grows by one size a second, or if the looks agree
)
MIN_OVERLAP = 0.3  # of a prediction and a detection
PLAIN_OVERLAP = 0.5  # of a prediction and the detection of a plain link
PLAIN_SECONDS = 0.15  # between the two samples of a plain link, at most
SIZE_RATIO = 0.6  # of the smaller and the larger size of one face in two samples
MIN_AREA, MAX_AREA = 0.08, 2.0  # of a detection inside a drawn box, as shares of that box's area
MAX_SPEED_STEPS = 2.0  # a speed is continued for this many times the time that it was measured in
CERTAIN_SCORE = 0.3  # of each face in a drawn box that shows several
MIN_GROWTH = 0.1  # of a detection's size, on each side: a rectangle has no soft edge

Doubt = tuple[int, int, Box]  # the first and the last time of a doubtful span, and the face's box beside it


@dataclass(frozen=True)
class Chain:
    """The mask's boxes by time, and the doubtful spans that were not searched closely."""

    boxes: dict[int, Box] = field(default_factory=dict)
    doubts: list[Doubt] = field(default_factory=list)


@dataclass(frozen=True)
class _Link:
    sample: SampledFrame
    face: Detection

    @property
    def pts(self) -> int:
        return self.sample.pts

    @property
    def box(self) -> Array:
        return self.face.box


@dataclass(frozen=True)
class _Candidate:
    """A detection that might continue a chain. `is_near` if its place alone makes that likely."""

    face: Detection
    overlap: float
    rank: float
    is_near: bool


def link_detections(samples: Sequence[SampledFrame], drawn: Box, span: TimeSpan, looks: FaceLooks) -> Chain:
    """Return the mask's boxes in the samples where a detection confirms the place of what is in the drawn box.

    `samples` begin at the moment of the drawn box. They are in the order of time, or in the reverse order. The chain
    ends at a cut. It is empty if the drawn box shows several faces, because one box cannot follow all of them.
    """
    chain = Chain()
    links: list[_Link] = []
    margins: Array | None = None
    lost: list[SampledFrame] = []  # since the last link
    for number, sample in enumerate(samples):
        if number and is_cut_between(span, samples[number - 1].pts, sample.pts):
            break
        if links:
            if span.seconds(abs(sample.pts - links[-1].pts)) > MAX_LOST_SECONDS:
                break
            face, is_plain = _find_next(sample, links, span, looks, is_next=not lost)
            lost.append(sample)
            if face is not None and not is_plain:
                _add_doubt(chain, links[-1], lost)
        else:
            if span.seconds(abs(sample.pts - samples[0].pts)) > MAX_LOST_SECONDS:
                break
            faces = _faces_inside(drawn, sample.detections)
            if len(faces) > 1:
                break
            face = faces[0] if faces else None
        if face is None:
            continue
        if margins is None:
            margins = _margins_of(drawn, face.box, is_same_frame=number == 0)
        links.append(_Link(sample, face))
        lost = []
        chain.boxes[sample.pts] = _grow(face.box, margins)
    if links and lost:
        _add_doubt(chain, links[-1], lost)
    return chain


def _add_doubt(chain: Chain, link: _Link, later: Sequence[SampledFrame]) -> None:
    """Add the part of a doubtful link that was not searched closely. It ends in the last of the later samples."""
    samples = [link.sample, *later]
    sparse = [number for number, sample in enumerate(samples) if not sample.is_close]
    if sparse:
        first, last = sorted((samples[max(sparse[0] - 1, 0)].pts, samples[sparse[-1]].pts))
        x1, y1, x2, y2 = (float(side) for side in link.box)
        chain.doubts.append((first, last, (x1, y1, x2, y2)))


def is_cut_between(span: TimeSpan, one: int, other: int) -> bool:
    """Return whether the two times are in different shots."""
    first, last = sorted((one, other))
    return any(first < cut <= last for cut in span.faces.cuts)


def _faces_inside(drawn: Box, faces: Sequence[Detection]) -> list[Detection]:
    """Return the likeliest face in a drawn box, or all of its certain faces if it shows several."""
    box = np.array(drawn, np.float32)
    area = max(float(box_areas(box)), 1.0)
    inside = [
        face
        for face in faces
        if contains_center(box, face.box) and MIN_AREA <= float(box_areas(face.box)) / area <= MAX_AREA
    ]
    certain = [face for face in inside if face.score >= CERTAIN_SCORE]
    if len(certain) > 1:
        return certain
    return sorted(inside, key=lambda face: -face.score * float(compute_overlaps(box, face.box[None])[0]))[:1]


def _find_next(
    sample: SampledFrame, links: Sequence[_Link], span: TimeSpan, looks: FaceLooks, *, is_next: bool
) -> tuple[Detection | None, bool]:
    """Return the detection that continues the chain, and whether the link is plain.

    `is_next` states that the face was found in the sample before.
    """
    gap = span.seconds(abs(sample.pts - links[-1].pts))
    found = _find_candidates(sample, links, gap)
    near = [candidate for candidate in found if candidate.is_near]
    if (
        len(near) == 1
        and near[0].overlap >= PLAIN_OVERLAP
        and is_next
        and gap <= PLAIN_SECONDS
        and not _has_other_face_near(links[-1])
    ):
        return near[0].face, True
    if not sample.is_close:
        return (near[0].face if near else None), False
    likeness = {
        id(candidate): looks.compare(candidate.face, sample, [(link.sample, link.face) for link in links])
        for candidate in found
    }
    same = [candidate for candidate in found if likeness[id(candidate)] == "same"]
    unknown = [candidate for candidate in near if likeness[id(candidate)] == "unknown"]
    chosen = [*same, *unknown]
    return (chosen[0].face if chosen else None), False


def _find_candidates(sample: SampledFrame, links: Sequence[_Link], gap: float) -> list[_Candidate]:
    """Return the detections that might continue the chain, the likeliest first."""
    last, expected = links[-1].box, _predict(links, sample.pts)
    size = float(np.sqrt(box_areas(last)))
    reach = min(MAX_DISTANCE + gap, MAX_DISTANCE_LOST)
    found = []
    for face in sample.detections:
        other = float(np.sqrt(box_areas(face.box)))
        if min(size, other) < SIZE_RATIO * max(size, other):
            continue
        overlap = float(compute_overlaps(face.box, np.stack([expected, last])).max())
        distance = float(np.linalg.norm(_center(face.box) - _center(expected))) / max(size, 1.0)
        if overlap < MIN_OVERLAP and distance > MAX_DISTANCE_LOST:
            continue
        is_near = overlap >= MIN_OVERLAP or distance <= reach
        found.append(_Candidate(face, overlap, overlap - distance / 2 + min(face.score, 0.5), is_near))
    return sorted(found, key=lambda candidate: -candidate.rank)


def _has_other_face_near(link: _Link) -> bool:
    """Return whether another face is so near to the followed one that they can be confused in the next sample."""
    size = float(np.sqrt(box_areas(link.box)))
    return any(
        face is not link.face
        and float(np.linalg.norm(_center(face.box) - _center(link.box))) < MAX_DISTANCE_LOST * size
        and float(np.sqrt(box_areas(face.box))) > SIZE_RATIO * size
        for face in link.sample.detections
    )


def _predict(links: Sequence[_Link], pts: int) -> Array:
    """Return the last box, moved on at its last speed."""
    last = links[-1]
    if len(links) < 2:
        return last.box
    before = links[-2]
    steps = min((pts - last.pts) / (last.pts - before.pts), MAX_SPEED_STEPS)
    expected: Array = (last.box + np.tile((_center(last.box) - _center(before.box)) * steps, 2)).astype(
        np.float32
    )
    return expected


def _margins_of(drawn: Box, face: Array, *, is_same_frame: bool) -> Array:
    """Return how far the drawn box reaches beyond the face: left, up, right and down, as shares of the face's sides.

    If the face was detected in another frame, it is taken to be in the middle of the drawn box.
    """
    box: Array = np.array(drawn, np.float32)
    if not is_same_frame:
        box = (box + np.tile(_center(face) - _center(box), 2)).astype(np.float32)
    sides = np.maximum(face[2:] - face[:2], 1.0)
    margins = [*(face[:2] - box[:2]) / sides, *(box[2:] - face[2:]) / sides]
    return np.maximum(np.array(margins, np.float32), MIN_GROWTH).astype(np.float32)


def _grow(face: Array, margins: Array) -> Box:
    width, height = (float(side) for side in face[2:] - face[:2])
    left, up, right, down = (float(margin) for margin in margins)
    x1, y1, x2, y2 = (float(side) for side in face)
    return (x1 - left * width, y1 - up * height, x2 + right * width, y2 + down * height)


def _center(box: Array) -> Array:
    center: Array = box.reshape(2, 2).mean(axis=0)
    return center
