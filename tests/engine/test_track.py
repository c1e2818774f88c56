"""Links, gaps, encounters and cuts, on detections that are made up."""

import numpy as np
import pytest

from functions.engine.detect import Detection
from functions.engine.track import Tracker, boxes_at, crop_quality

RATE = 30


def face(x: float, y: float = 100, side: float = 60, score: float = 0.8) -> Detection:
    box = np.array([x, y, x + side, y + side], np.float32)
    eyes_and_mouth = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    return Detection(box, score, box[:2] + eyes_and_mouth * side)


def tracker() -> Tracker:
    return Tracker(lambda pts: pts / RATE, sure=0.3)


def test_a_moving_face_is_one_track() -> None:
    found = tracker()
    for pts in range(0, 60, 6):
        found.look(pts, [face(10 + 3 * pts)], None)
    (track,) = found.tracks
    assert (track.first, track.last, len(track.observations)) == (0, 54, 10)


def test_two_faces_side_by_side_stay_apart() -> None:
    found = tracker()
    for pts in range(0, 60, 6):
        found.look(pts, [face(100 + pts), face(300 - pts)], None)
    assert len(found.tracks) == 2
    assert all(len(track.observations) == 10 for track in found.tracks)


def test_a_faint_face_goes_on_but_never_begins_a_track() -> None:
    found = tracker()
    found.look(0, [face(10), face(300, score=0.2)], None)
    found.look(6, [face(12, score=0.2), face(300, score=0.2)], None)
    (track,) = found.tracks
    assert track.last == 6


def test_a_cut_ends_every_track_though_a_face_is_at_the_same_place() -> None:
    found = tracker()
    found.look(0, [face(10)], None)
    found.cut()
    found.look(1, [face(10)], None)
    assert [track.continues for track in found.tracks] == [None, None]


def test_a_face_lost_for_a_moment_is_a_new_track_that_continues_the_old_one() -> None:
    found = tracker()
    for pts in (0, 6, 12):
        found.look(pts, [face(100)], None)
    found.look(18, [], None)
    found.look(24, [face(140)], None)
    assert [track.continues for track in found.tracks] == [None, 0]


def test_a_face_lost_for_long_is_new() -> None:
    found = tracker()
    found.look(0, [face(100)], None)
    found.look(40, [face(100)], None)
    assert [track.continues for track in found.tracks] == [None, None]


def test_who_comes_out_of_an_encounter_is_asked_anew() -> None:
    """Two faces that cover each other may be swapped: after it neither goes on as who it was."""
    found = tracker()
    for pts, (one, other) in enumerate([(100, 200), (120, 180), (140, 160), (120, 180)]):
        found.look(pts * 6, [face(one), face(other)], None)
    before, after = found.tracks[:2], found.tracks[2:]
    assert len(after) == 2
    assert {track.continues for track in after} == {track.id for track in before}


def test_no_crop_is_taken_while_two_faces_meet() -> None:
    found = tracker()
    asked = []

    def crop_of(detection: Detection) -> np.ndarray:
        asked.append(float(detection.box[0]))
        return np.zeros((160, 160, 3), np.uint8)

    found.look(0, [face(100), face(200)], crop_of)
    found.look(6, [face(140), face(165)], crop_of)
    assert asked == [100, 200]


def test_of_each_half_second_the_best_crop_is_kept() -> None:
    found = tracker()
    for pts, score in ((0, 0.5), (6, 0.9), (12, 0.6), (18, 0.7)):
        found.look(
            pts, [face(100, score=score)], lambda seen: np.full((2, 2, 3), round(100 * seen.score), np.uint8)
        )
    (track,) = found.tracks
    assert [int(crop[0, 0, 0]) for crop in track.best_crops()] == [90, 70]


def test_a_frontal_face_says_more_than_a_profile_and_a_large_one_more_than_a_small_one() -> None:
    profile = face(100)
    profile.landmarks[2, 0] = profile.box[0]
    assert crop_quality(face(100)) > crop_quality(profile)
    assert crop_quality(face(100, side=80)) > crop_quality(face(100, side=20))


def test_boxes_are_interpolated_between_looks_and_stay_beyond_them() -> None:
    found = tracker()
    found.look(10, [face(100)], None)
    found.look(20, [face(120)], None)
    boxes = dict(boxes_at(found.tracks[0].observations, list(range(40)), lead=5, tail=8))
    assert sorted(boxes) == list(range(5, 29))
    assert boxes[15] == pytest.approx([110, 100, 170, 160])
    assert boxes[28][0] < 120 < 180 < boxes[28][2]  # grown: where it went is not known


def test_no_link_of_a_crowd_is_made_twice() -> None:
    """Eight faces wander about each other, some looks miss some: each face of each look is in one track."""
    random = np.random.default_rng(3)
    for _ in range(40):
        found = tracker()
        places, speeds = random.uniform(0, 500, 8), random.uniform(-8, 8, 8)
        seen = 0
        for pts in range(0, 120, 6):
            places += speeds
            faces = [face(x, y=100 + x % 40, side=50) for x in places if random.random() > 0.15]
            seen += len(faces)
            found.look(pts, faces, None)
        observations = [observation for track in found.tracks for observation in track.observations]
        assert len(observations) == seen
        assert all(np.diff([o.pts for o in track.observations]).min(initial=1) > 0 for track in found.tracks)
