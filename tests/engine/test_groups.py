"""Person groups, on made-up embeddings in a plane with known angles."""

import numpy as np

from defacer.engine.tracking.identity import Limits, TrackDecision
from defacer.engine.tracking.person_groups import person_groups
from defacer.engine.tracking.segment_detections import DetectedFace
from defacer.engine.tracking.tracker import EmbeddedView, Observation, Track
from defacer.report.tracks import Reason

LIMITS = Limits.of("sface", 0.97)  # two views that are 42 degrees apart are alike


def track(number: int, first: int, last: int, *degrees: float, quality: float = 0.9) -> Track:
    face = DetectedFace(np.array([0, 0, 10, 10], np.float32), 0.9, 0.5)
    observations = [Observation(pts, face, is_occluded=False) for pts in (first, last)]
    angles = np.radians(degrees)
    views = [
        EmbeddedView(quality, np.array([np.cos(angle), np.sin(angle)], np.float32), place)
        for place, angle in enumerate(angles)
    ]
    return Track(number, observations, views)


def groups(*tracks: Track, kept: dict[int, str] | None = None) -> list[int]:
    decisions = [
        TrackDecision(n in (kept or {}), Reason.MATCHED, (kept or {}).get(n), 0.5) for n in range(len(tracks))
    ]
    return person_groups(tracks, decisions, LIMITS)


def test_tracks_of_one_person_are_one_group_and_of_two_people_two() -> None:
    assert groups(track(0, 0, 9, 0), track(1, 10, 19, 120), track(2, 20, 29, 10), track(3, 30, 39, 110)) == [
        0,
        1,
        0,
        1,
    ]


def test_tracks_that_are_seen_at_the_same_time_are_never_one_group() -> None:
    assert groups(track(0, 0, 9, 0), track(1, 5, 14, 0)) == [0, 1]


def test_a_group_takes_no_track_that_is_seen_beside_any_of_its_tracks() -> None:
    """Track 2 is like both tracks of the group, and seen at the same time as one of them."""
    assert groups(track(0, 0, 9, 0), track(1, 20, 29, 1), track(2, 25, 34, 10)) == [0, 0, 1]


def test_kept_tracks_of_one_person_are_one_group_without_the_hidden_ones() -> None:
    tracks = [track(0, 0, 9, 0), track(1, 10, 19, 60), track(2, 20, 29, 0), track(3, 30, 39, 0)]
    assert groups(*tracks, kept={0: "ann", 1: "ann", 2: "ben"}) == [0, 0, 1, 2]


def test_tracks_without_a_clear_view_are_groups_of_their_own() -> None:
    assert groups(track(0, 0, 9), track(1, 10, 19), track(2, 20, 29, 0, quality=0.5)) == [0, 1, 2]


def test_thousands_of_tracks_are_grouped_by_their_person() -> None:
    random = np.random.default_rng(5)
    people = random.normal(size=(40, 128))
    views = (people / np.linalg.norm(people, axis=1, keepdims=True)).astype(np.float32)
    face = DetectedFace(np.array([0, 0, 10, 10], np.float32), 0.9, 0.5)
    tracks = [
        Track(n, [Observation(n, face, is_occluded=False)], [EmbeddedView(0.9, views[n % 40])])
        for n in range(3000)
    ]
    assert groups(*tracks) == [n % 40 for n in range(3000)]
