"""Tests of the tracker with invented faces: links, gaps, encounters and cuts."""

import dataclasses

import numpy as np
import pytest

from defacer.engine.tracking.segment_detections import DetectedFace
from defacer.engine.tracking.tracker import MAX_UNLIKE_VIEWS, Tracker

RATE = 30


def face(
    x: float,
    y: float = 100,
    side: float = 60,
    score: float = 0.8,
    quality: float = 0.5,
    embedded: bool = True,
) -> DetectedFace:
    embedding = np.eye(128, dtype=np.float32)[0] if embedded else None
    return DetectedFace(np.array([x, y, x + side, y + side], np.float32), score, quality, embedding)


def tracker() -> Tracker:
    return Tracker(lambda pts: pts / RATE, sure=0.3)


def test_moving_face_is_one_track() -> None:
    found = tracker()
    for pts in range(0, 60, 6):
        found.add_faces(pts, [face(10 + 3 * pts)])
    (track,) = found.tracks
    assert (track.first, track.last, len(track.observations)) == (0, 54, 10)


def test_two_faces_side_by_side_stay_apart() -> None:
    found = tracker()
    for pts in range(0, 60, 6):
        found.add_faces(pts, [face(100 + pts), face(300 - pts)])
    assert len(found.tracks) == 2
    assert all(len(track.observations) == 10 for track in found.tracks)


def test_brief_faint_face_continues_a_track_but_begins_none() -> None:
    found = tracker()
    found.add_faces(0, [face(10), face(300, score=0.2)])
    found.add_faces(6, [face(12, score=0.2), face(300, score=0.2)])
    (track,) = found.tracks
    assert track.last == 6


def test_faint_face_that_becomes_sure_is_one_track_from_its_beginning() -> None:
    """A face that appears in a dissolve, or comes into the frame, is detected with low scores at first."""
    found = tracker()
    for pts, score in enumerate((0.16, 0.2, 0.25, 0.5)):
        found.add_faces(6 * pts, [face(300, score=0.8), face(10 + 3 * pts, score=score)])
    assert [(track.first, track.last) for track in found.tracks] == [(0, 18), (0, 18)]


def test_faint_face_that_lasts_is_a_track() -> None:
    """A covered face, or one that leans, can have low scores all the time."""
    found = tracker()
    for pts in range(0, 24, 6):
        found.add_faces(pts, [face(10, score=0.2)])
    (track,) = found.tracks
    assert (track.first, track.last) == (0, 18)


def test_faint_part_of_a_sure_face_is_no_track() -> None:
    found = tracker()
    for pts in range(0, 60, 6):
        found.add_faces(pts, [face(100), face(130, 130, side=30, score=0.25)])
    (track,) = found.tracks
    assert {float(seen.box[2] - seen.box[0]) for seen in track.observations} == {60}


@pytest.mark.parametrize("score", [0.2, 0.5])
def test_faint_face_that_becomes_a_track_gets_one_of_two_near_faces(score: float) -> None:
    """Two detections with an overlap of 0.36 to 0.44 can both continue it."""
    found = tracker()
    for pts in (0, 6):
        found.add_faces(pts, [face(600), face(100, score=0.2)])
    found.add_faces(12, [face(600), face(100, score=score), face(127, score=score)])
    (first,) = [track for track in found.tracks if track.first == 0 and track.observations[0].box[0] == 100]
    assert [seen.pts for seen in first.observations] == [0, 6, 12]


def test_cut_ends_faint_faces() -> None:
    found = tracker()
    for pts in (0, 6, 12):
        found.add_faces(pts, [face(10, score=0.2)])
        found.end_shot()
    found.add_faces(18, [face(10)])
    assert [track.first for track in found.tracks] == [18]


def test_cut_ends_every_track_even_with_a_face_in_the_same_place() -> None:
    found = tracker()
    found.add_faces(0, [face(10)])
    found.end_shot()
    found.add_faces(1, [face(10)])
    assert [track.continues for track in found.tracks] == [None, None]


@pytest.mark.parametrize("place", [100, 140])
def test_face_lost_for_a_moment_is_a_new_track_that_continues_the_old_one(place: float) -> None:
    """The same applies in the same place, because it can be another face."""
    found = tracker()
    for pts in (0, 6, 12):
        found.add_faces(pts, [face(100)])
    found.add_faces(18, [])
    found.add_faces(24, [face(place)])
    assert [track.continues for track in found.tracks] == [None, 0]


def view(angle: float) -> np.ndarray:
    """Return a unit vector. Two vectors that are 60 degrees apart have the distance 1."""
    embedding = np.zeros(128, np.float32)
    embedding[:2] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return embedding


def test_face_that_changes_is_a_new_track_after_its_last_view() -> None:
    """Observations without a view belong to the new track, which is hidden if it is unknown."""
    found = tracker()
    seen = {0: 0, 6: None, 12: 10, 18: None, 24: None, 30: 100, 36: None, 42: 105}
    for pts, angle in seen.items():
        given = face(100, embedded=False)
        found.add_faces(pts, [given if angle is None else dataclasses.replace(given, embedding=view(angle))])
    before, after = found.tracks
    assert [o.pts for o in before.observations] == [0, 6, 12]
    assert [o.pts for o in after.observations] == [18, 24, 30, 36, 42]
    assert after.continues == before.id
    assert (len(before.views), len(after.views)) == (2, 2)


@pytest.mark.parametrize(("is_near", "views"), [(False, MAX_UNLIKE_VIEWS), (True, 20)])
def test_all_views_of_a_face_like_a_target_are_stored(is_near: bool, views: int) -> None:
    found = Tracker(lambda pts: pts / RATE, 0.3, lambda _: is_near)
    for pts in range(0, 120, 6):
        found.add_faces(pts, [face(100)])
    (track,) = found.tracks
    assert len(track.views) == views
    assert not [o for o in track.observations if o.face.embedding is not None]


def test_face_lost_for_long_is_a_new_track() -> None:
    found = tracker()
    found.add_faces(0, [face(100)])
    found.add_faces(40, [face(100)])
    assert [track.continues for track in found.tracks] == [None, None]


def test_face_after_an_encounter_is_a_new_track() -> None:
    """Two faces that occlude each other can be swapped, so both tracks end.

    The boxes overlap by a quarter. The detector returns one box where two overlap by OVERLAP_OF_ONE_FACE.
    """
    found = tracker()
    for pts, (one, other) in enumerate([(96, 204), (114, 186), (132, 168), (114, 186)]):
        found.add_faces(pts * 6, [face(one), face(other)])
    before, after = found.tracks[:2], found.tracks[2:]
    assert len(after) == 2
    assert {track.continues for track in after} == {track.id for track in before}
    assert [track.link for track in after] == ["met", "met"]


def test_view_in_which_two_faces_meet_is_not_stored() -> None:
    found = tracker()
    found.add_faces(0, [face(100), face(200)])
    found.add_faces(6, [face(140, quality=0.9), face(175, quality=0.9)])
    for track in found.tracks:
        assert [view.quality for view in track.views] in ([0.5], [])
        best = track.best_observation()
        assert best is None or best.pts == 0


def test_best_views_and_the_last_one_of_an_unlike_face_are_stored() -> None:
    found = tracker()
    qualities = [0.1, 0.9, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6, 0.5, 0.05]
    for number, quality in enumerate(qualities):
        found.add_faces(number * 6, [face(100, quality=quality)])
    found.add_faces(60, [face(100, quality=1.0, embedded=False)])
    (track,) = found.tracks
    assert [view.quality for view in track.views] == [0.9, 0.3, 0.7, 0.8, 0.4, 0.6, 0.5, 0.05]
    assert track.embeddings.shape == (MAX_UNLIKE_VIEWS, 128)
    assert track.best_observation() is track.observations[-1]


@pytest.mark.parametrize(("packed", "place"), [(False, 2), (True, 2)])
def test_track_is_split_with_its_boxes_and_views(packed: bool, place: int) -> None:
    found = tracker()
    for pts in range(0, 30, 6):
        found.add_faces(pts, [face(100 + pts)])
    (track,) = found.tracks
    detections = list(track.detections)
    if packed:
        found.end_shot()
        found.compact()
    rest = track.split(place, 7)
    assert (list(track.detections), list(rest.detections)) == (detections[:2], detections[2:])
    assert ([view.place for view in track.views], [view.place for view in rest.views]) == ([0, 1], [0, 1, 2])
    assert (rest.id, rest.continues, rest.link) == (7, 0, "changed")


def test_link_of_a_track_says_why_the_track_before_it_ended() -> None:
    found = tracker()
    found.add_faces(0, [face(100)])
    found.add_faces(15, [face(100)])  # half a second later
    found.add_faces(18, [dataclasses.replace(face(100), embedding=np.eye(128, dtype=np.float32)[1])])
    assert [(track.continues, track.link) for track in found.tracks] == [
        (None, None),
        (0, "moved"),
        (1, "changed"),
    ]


def test_each_face_of_a_crowd_is_linked_once() -> None:
    """Eight faces cross each other, and some samples miss some faces. Each detection is in one track."""
    random = np.random.default_rng(3)
    for _ in range(40):
        found = tracker()
        places, speeds = random.uniform(0, 500, 8), random.uniform(-8, 8, 8)
        seen = 0
        for pts in range(0, 120, 6):
            places += speeds
            faces = [face(x, y=100 + x % 40, side=50) for x in places if random.random() > 0.15]
            seen += len(faces)
            found.add_faces(pts, faces)
        observations = [observation for track in found.tracks for observation in track.observations]
        assert len(observations) == seen
        assert all(np.diff([o.pts for o in track.observations]).min(initial=1) > 0 for track in found.tracks)
