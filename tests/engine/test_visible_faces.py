"""Tests of the rules for visible faces, without a model or a frame."""

from fractions import Fraction

import numpy as np
import pytest

from defacer.engine.models.arrays import Detection
from defacer.engine.verification.check_ahead import intervals_around_candidates
from defacer.engine.verification.visible_faces import (
    VisibleFaces,
    classify_detections,
    covered_share,
    find_visible_faces,
)
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Reason, TrackRecord

PLACE: Box = (100.0, 100.0, 160.0, 180.0)
BESIDE: Box = (150.0, 100.0, 210.0, 180.0)
FAR: Box = (400.0, 100.0, 460.0, 180.0)
TIMES = range(0, 300, 20)  # in hundredths of a second


def face(box: Box, score: float = 0.9) -> Detection:
    return Detection(np.array(box, np.float32), score, np.zeros((5, 2), np.float32))


def kept(first: int, last: int, box: Box = PLACE) -> TrackRecord:
    detections = CompactBoxes((pts, box) for pts in range(first, last + 1, 20))
    return TrackRecord(0, first, last, "keep", "ann", Reason.MATCHED, 0.5, 0.5, None, detections)


def faces(*tracks: TrackRecord, shots: tuple[int, ...] = ()) -> Faces:
    return Faces("centerface", None, 1.0, 640, 360, "1/100", 300, 15, cuts=shots, tracks=tracks)


def visible_in(detections: dict[int, list[Detection]], extra_score: float = 0.0) -> VisibleFaces:
    """Return the visible faces of a video without tracks and masks."""
    return find_visible_faces(classify_detections(detections, faces(), lambda _: []), faces(), extra_score)


def found(
    detections: dict[int, list[Detection]], known: Faces, masks: dict[int, list[Box]] | None = None
) -> list[list[int]]:
    """Return the times of each visible face."""
    samples = classify_detections(detections, known, lambda pts: (masks or {}).get(pts, []))
    visible = find_visible_faces(samples, known)
    return [[detection.pts for detection in face_detections] for face_detections in visible.faces]


@pytest.mark.parametrize(
    ("box", "mask", "least", "most"),
    [
        (PLACE, PLACE, 1.0, 1.0),
        (PLACE, FAR, 0.0, 0.0),
        (PLACE, (140.0, 100.0, 200.0, 180.0), 0.3, 0.6),
        (
            (-30.0, 100.0, 30.0, 180.0),
            (0.0, 100.0, 30.0, 180.0),
            0.95,
            1.0,
        ),  # half of it is outside the frame
    ],
)
def test_covered_share_counts_the_face_inside_the_frame(
    box: Box, mask: Box, least: float, most: float
) -> None:
    assert least <= covered_share(box, [mask], 640, 360) <= most


def test_face_outside_all_masks_is_visible() -> None:
    detections = {pts: [face(PLACE), face(FAR)] for pts in TIMES}
    assert found(detections, faces(), {pts: [PLACE] for pts in TIMES}) == [list(TIMES)]


def test_face_that_leaves_its_mask_is_visible() -> None:
    detections = {pts: [face((100.0 + pts, 100.0, 160.0 + pts, 180.0))] for pts in range(0, 100, 10)}
    assert found(detections, faces(), {pts: [PLACE] for pts in detections}) == [list(range(40, 100, 10))]


def test_face_inside_a_kept_box_is_not_reported() -> None:
    detections = {pts: [face((90.0, 85.0, 170.0, 190.0))] for pts in TIMES}
    assert found(detections, faces(kept(0, 280))) == []


def test_second_face_at_a_kept_place_is_visible() -> None:
    detections = {pts: [face(PLACE), face((130.0, 120.0, 175.0, 180.0))] for pts in TIMES}
    assert found(detections, faces(kept(0, 280))) == [list(TIMES)]


def test_small_face_inside_a_kept_one_is_visible() -> None:
    detections = {pts: [face((110.0, 110.0, 130.0, 135.0))] for pts in TIMES}
    assert found(detections, faces(kept(0, 280))) == [list(TIMES)]


def test_face_that_continues_a_kept_track_is_reported_after_a_second() -> None:
    detections = {pts: [face(PLACE)] for pts in TIMES}
    (times,) = found(detections, faces(kept(0, 60)))
    assert times == list(range(220, 300, 20))  # 0.4 s after the track's end, and a second more


def test_face_that_continues_a_kept_track_across_a_cut_is_visible() -> None:
    detections = {pts: [face(PLACE)] for pts in TIMES}
    assert found(detections, faces(kept(0, 100), shots=(110,))) == [list(range(120, 300, 20))]


def test_face_that_continues_a_kept_track_beside_another_face_is_visible() -> None:
    detections = {pts: [face(PLACE), *([face(BESIDE)] if pts >= 160 else [])] for pts in TIMES}
    found_times = found(detections, faces(kept(0, 100)))
    assert list(range(160, 300, 20)) in found_times
    assert len(found_times) == 2  # the other face, and the face that can be the target


def test_face_that_comes_out_of_a_mask_is_not_taken_for_the_kept_one() -> None:
    detections = {pts: [face(PLACE)] for pts in TIMES}
    masks = {pts: [PLACE] for pts in range(160, 200, 20)}
    assert found(detections, faces(kept(0, 100)), masks) == [list(range(200, 300, 20))]


@pytest.mark.parametrize(
    ("scores", "is_face"),
    [
        ([0.9], True),
        ([0.75], False),
        ([0.75, 0.4], True),
        ([0.7, 0.7, 0.7], False),
        ([0.62] * 8, True),
        ([0.59] * 15, False),
    ],
)
def test_face_needs_one_high_score_or_many_likely_scores(scores: list[float], is_face: bool) -> None:
    detections = {20 * number: [face(FAR, score)] for number, score in enumerate(scores, start=1)}
    assert bool(found({0: [], **detections, 400: []}, faces())) is is_face


@pytest.mark.parametrize("pts", [TIMES[0], TIMES[-1]])
def test_face_in_a_segments_end_frame_needs_no_higher_score(pts: int) -> None:
    """The other frames of the face are in the neighboring segment, which is checked separately."""
    detections = {time: [face(FAR, 0.75)] if time == pts else [] for time in TIMES}
    assert found(detections, faces()) == [[pts]]


def test_candidate_is_searched_beside_a_face_that_is_known_already() -> None:
    detections = {pts: [face(PLACE)] for pts in TIMES}
    detections[100].append(face(FAR, 0.65))
    samples = classify_detections(detections, faces(), lambda _: [])
    known = find_visible_faces(samples, faces()).faces
    assert list(intervals_around_candidates(samples, Fraction(1, 100), known)) == [(90, 110)]


def test_unlikely_detections_are_counted() -> None:
    visible = visible_in({0: [face(FAR, 0.7)]})
    assert visible.passed == {"unlikely": 1}


def test_second_check_needs_a_higher_score() -> None:
    detections = {0: [face(FAR, 0.74)], 20: [face(FAR, 0.74)]}
    assert visible_in(detections).faces
    assert not visible_in(detections, 0.05).faces


@pytest.mark.parametrize(
    ("box", "score", "is_visible"),
    [
        ((98.0, 92.0, 136.0, 140.0), 0.8, False),  # hair and eyes of the kept face
        ((98.0, 92.0, 136.0, 140.0), 0.9, True),  # as certain as the kept face
        ((80.0, 84.0, 118.0, 132.0), 0.8, True),  # less than two thirds inside
        ((95.0, 95.0, 150.0, 165.0), 0.8, True),  # more than half as large
    ],
)
def test_detection_of_a_part_of_the_kept_face_is_not_visible(
    box: Box, score: float, is_visible: bool
) -> None:
    seen = {pts: [face(PLACE), face(box, score)] for pts in range(20, 101, 20)}
    assert bool(found(seen, faces(kept(0, 120)))) == is_visible
