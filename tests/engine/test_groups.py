"""Person groups, on made-up embeddings in a plane with known angles."""

from itertools import pairwise

import numpy as np

from defacer.engine.tracking.identity import Limits, TrackDecision
from defacer.engine.tracking.person_groups import person_groups, suggest_merges
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


def chain(number: int, first: int, continues: int | None, x: float, *degrees: float) -> Track:
    """Return a track of 10 units that continues another one, at `x`."""
    face = DetectedFace(np.array([x, 0, x + 10, 10], np.float32), 0.9, 0.5)
    seen = [Observation(pts, face, is_occluded=False) for pts in (first, first + 9)]
    return Track(number, seen, track(number, 0, 1, *degrees).views, continues, "changed")


def suggestions(*tracks: Track, kept: dict[int, str] | None = None) -> tuple[tuple[int, int], ...]:
    decisions = [
        TrackDecision(n in (kept or {}), Reason.MATCHED, (kept or {}).get(n), 0.5) for n in range(len(tracks))
    ]
    found = person_groups(tracks, decisions, LIMITS)
    return suggest_merges(tracks, decisions, found, LIMITS, max_gap=5)


def test_a_track_that_continues_another_in_its_place_is_suggested() -> None:
    turned = [chain(0, 0, None, 0, 0), chain(1, 10, 0, 2, 50), chain(2, 20, 1, 50, 180), chain(3, 40, 2, 50)]
    assert suggestions(*turned) == ((0, 1),)  # 2 is in another place, and 3 begins later


def test_continuation_with_clear_views_of_two_people_is_not_suggested() -> None:
    """At a cut that was not detected, the next person's face is often in the same place."""
    assert suggestions(chain(0, 0, None, 0, 0), chain(1, 10, 0, 2, 90)) == ()
    assert suggestions(chain(0, 0, None, 0, 0), chain(1, 10, 0, 2)) == ((0, 1),)  # no view to compare


def test_groups_with_views_that_are_alike_on_average_are_suggested() -> None:
    assert suggestions(track(0, 0, 9, 0), track(1, 20, 39, 50), track(2, 50, 59, 150)) == ((1, 0),)


def test_tracks_seen_together_and_two_targets_are_never_suggested() -> None:
    together = (chain(0, 0, None, 0, 0), chain(1, 10, 0, 0, 50), chain(2, 12, 0, 1, 55))
    assert suggestions(*together) == ((0, 1),)
    assert suggestions(track(0, 0, 9, 0), track(1, 5, 14, 50)) == ()
    assert suggestions(track(0, 0, 9, 0), track(1, 20, 29, 50), kept={0: "ann", 1: "ben"}) == ()


def test_merging_all_suggestions_never_joins_two_faces_of_one_frame() -> None:
    random = np.random.default_rng(3)
    tracks = [
        track(n, first := int(random.integers(500)), first + 20, *random.uniform(0, 360, 2))
        for n in range(150)
    ]
    merged = {n: {n} for n in range(150)}
    for one, other in suggestions(*tracks):
        together = merged[one] | merged[other]
        merged.update(dict.fromkeys(together, together))
    for people in merged.values():
        spans = sorted((tracks[n].first, tracks[n].last) for n in people)
        assert all(one[1] < other[0] for one, other in pairwise(spans))
