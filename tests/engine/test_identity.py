"""Kept and hidden tracks, on made-up embeddings in a plane with known angles."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from defacer.engine.recognition.gallery import Gallery
from defacer.engine.tracking.identity import CLEAR, VERY_CLEAR, Limits, decide_tracks, warnings_about
from defacer.engine.tracking.linking import split_off_strangers
from defacer.engine.tracking.segment_detections import DetectedFace
from defacer.engine.tracking.tracker import EmbeddedView, Observation, Track
from defacer.report.tracks import Reason, TargetWarning

LIMITS = Limits.of("sface", 0.97)


def at(*degrees: float) -> np.ndarray:
    """Unit vectors; two that are a degrees apart have the distance 2 sin(a / 2): 0.97 is 58 degrees."""
    embeddings = np.zeros((len(degrees), 128), np.float32)
    embeddings[:, 0], embeddings[:, 1] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return embeddings


def beside(kept: float, distance: float, unlikeness: float, views: int = 3) -> np.ndarray:
    """Return views at a distance to the picture at 0 degrees, and at another one to a view at `kept` degrees."""
    x = 1 - distance**2 / 2
    angle = np.radians(kept)
    y = (1 - unlikeness**2 / 2 - x * np.cos(angle)) / np.sin(angle)
    found = np.zeros((views, 128), np.float32)
    found[:, :3] = x, y, np.sqrt(1 - x**2 - y**2)
    return found


def track(
    number: int,
    *times: int,
    seen: np.ndarray,
    quality: float = 0.9,
    continues: int | None = None,
    link: str | None = None,
) -> Track:
    face = DetectedFace(np.array([0, 0, 10, 10], np.float32), 0.9, 0.5)
    views = [EmbeddedView(quality, embedding, place) for place, embedding in enumerate(seen)]
    observations = [Observation(pts, face, is_occluded=False) for pts in times]
    return Track(number, observations, views, continues, link)


def gallery(**people: float) -> Gallery:
    return Gallery(tuple(people), at(*people.values()), "test/1")


def kept(*tracks: Track, targets: Gallery | None = None) -> list[int]:
    """Return the numbers of the tracks that are kept for the picture at 0 degrees."""
    decisions = decide_tracks(tracks, targets or gallery(ann=0), LIMITS)
    return [one.id for one, decision in zip(tracks, decisions, strict=True) if decision.keep]


def test_without_targets_everyone_is_hidden() -> None:
    for nobody in (None, Gallery((), at(), "test/1")):
        (decision,) = decide_tracks([track(0, 0, seen=at(0))], nobody, LIMITS)
        assert not decision.keep


def test_near_a_target_is_kept_and_named_and_far_is_hidden() -> None:
    near, far = decide_tracks(
        [track(0, 0, seen=at(10)), track(1, 0, seen=at(90))], gallery(ann=0, ben=180), LIMITS
    )
    assert (near.keep, near.person) == (True, "ann")
    assert not far.keep
    assert far.distance is not None
    assert far.distance > LIMITS.match


def test_a_track_without_a_view_is_hidden() -> None:
    (decision,) = decide_tracks([track(0, 0, seen=at())], gallery(ann=0), LIMITS)
    assert not decision.keep


def test_one_lucky_view_among_many_keeps_no_track() -> None:
    assert kept(track(0, 0, seen=at(50, 80, 80, 80, 80))) == []


def test_of_two_faces_in_one_frame_only_the_nearer_is_the_person() -> None:
    nearer, farther = decide_tracks(
        [track(0, 0, 6, seen=at(5)), track(1, 6, 12, seen=at(25))], gallery(ann=0), LIMITS
    )
    assert nearer.keep
    assert not farther.keep
    assert (farther.reason, farther.rival) == (Reason.RIVAL_NEARER, 0)


def test_of_two_faces_in_one_frame_that_are_as_near_neither_is_kept() -> None:
    both = decide_tracks([track(0, 0, 6, seen=at(22)), track(1, 6, 12, seen=at(24))], gallery(ann=0), LIMITS)
    assert not any(decision.keep for decision in both)
    assert [(one.reason, one.rival) for one in both] == [
        (Reason.RIVAL_AS_NEAR, 1),
        (Reason.RIVAL_AS_NEAR, 0),
    ]


def test_no_track_inherits_from_one_of_two_faces_that_are_as_near() -> None:
    def view(to_picture: float, axis: int) -> np.ndarray:
        seen = np.zeros((3, 128), np.float32)
        seen[:, 0], seen[:, axis] = 1 - to_picture**2 / 2, np.sqrt(1 - (1 - to_picture**2 / 2) ** 2)
        return seen

    sure = track(0, 0, seen=at(14, 14, 14))
    twins = track(1, 60, seen=view(0.7, 2)), track(2, 60, seen=view(0.72, 3))
    assert kept(sure, *twins, track(3, 90, seen=view(1.05, 2))) == [0]


def test_two_people_in_one_frame_are_both_kept() -> None:
    both = decide_tracks(
        [track(0, 0, seen=at(5)), track(1, 0, seen=at(175))], gallery(ann=0, ben=180), LIMITS
    )
    assert [decision.person for decision in both if decision.keep] == ["ann", "ben"]


def test_inside_the_threshold_a_track_is_kept_where_no_sure_track_is() -> None:
    assert kept(track(0, 0, seen=at(57))) == [0]
    assert kept(track(0, 0, seen=at(60))) == []


def test_a_look_alike_beside_a_sure_track_is_hidden_as_ambiguous() -> None:
    """Inside the match threshold, but much farther than the target and unlike the target's views in the video."""
    sure = track(0, 0, seen=at(14, 14, 14))
    tracks = [sure, track(1, 60, seen=beside(14, 0.94, 0.95))]
    _, decision = decide_tracks(tracks, gallery(ann=0), LIMITS)
    assert not decision.keep
    assert decision.reason == Reason.AMBIGUOUS


def test_track_that_resembles_the_kept_views_is_kept_inside_the_threshold() -> None:
    assert kept(track(0, 0, seen=at(14, 14, 14)), track(1, 60, seen=beside(14, 0.94, 0.83))) == [0, 1]


def test_a_track_hardly_farther_than_the_nearest_is_kept() -> None:
    assert kept(track(0, 0, seen=at(40, 40, 40)), track(1, 60, seen=beside(40, 0.95, 1.1))) == [0, 1]


def test_two_sure_tracks_that_are_unlike_each_other_are_not_one_target() -> None:
    assert kept(track(0, 0, seen=at(40, 40, 40)), track(1, 60, seen=at(-44, -44, -44))) == [0]


@pytest.mark.parametrize(("degrees", "expected"), [(45, [0, 1, 2]), (50, [0, 1])])
def test_sure_tracks_without_clear_views_are_kept(degrees: float, expected: list[int]) -> None:
    """In a dark or blurred video nothing can be compared with the nearest track. 0.8 is 47 degrees."""
    dark = [track(n, 60 * n, seen=at(angle), quality=0.4) for n, angle in enumerate((20, 30, degrees))]
    assert kept(*dark) == expected


def test_a_profile_beyond_the_threshold_is_kept_if_it_is_like_a_kept_view() -> None:
    assert kept(track(0, 0, seen=at(20, 40)), track(1, 60, seen=at(64))) == [0, 1]


def test_no_track_inherits_from_a_face_in_the_same_frame() -> None:
    assert kept(track(0, 0, seen=at(20, 40)), track(1, 0, seen=at(64))) == [0]


def test_no_track_inherits_from_a_track_that_inherited() -> None:
    """So a chain of likenesses leads to no stranger."""
    inherited, stranger = beside(50, 1.12, 0.7), beside(50, 1.14, 0.95)
    assert np.linalg.norm(inherited[0] - stranger[0]) < LIMITS.alike
    tracks = track(0, 0, seen=at(50, 50, 50)), track(1, 60, seen=inherited), track(2, 120, seen=stranger)
    assert kept(*tracks) == [0, 1]


def test_unclear_views_are_not_compared_within_the_video() -> None:
    """Small dark faces are all alike."""
    dark = track(1, 60, seen=at(64), quality=CLEAR - 0.1)
    assert kept(track(0, 0, seen=at(20, 40)), dark) == [0]


@pytest.mark.parametrize(("link", "expected"), [("moved", [0, 1]), ("changed", [0]), ("met", [0])])
def test_only_a_face_that_moved_by_itself_stays_the_target(link: str, expected: list[int]) -> None:
    before = track(0, 0, seen=at(14, 14, 14))
    turned = track(1, 6, seen=beside(14, 1.12, 0.95), continues=0, link=link)
    assert kept(before, turned) == expected


def test_a_face_before_a_kept_one_is_kept_if_it_moved_there_by_itself() -> None:
    turned = track(0, 0, seen=beside(14, 1.12, 0.95))
    assert kept(turned, track(1, 6, seen=at(14, 14, 14), continues=0, link="moved")) == [0, 1]


def test_a_stranger_in_the_targets_place_is_hidden() -> None:
    for distance, unlikeness in ((1.3, 1.2), (1.12, 1.2)):
        stranger = track(1, 6, seen=beside(14, distance, unlikeness), continues=0, link="moved")
        assert kept(track(0, 0, seen=at(14, 14, 14)), stranger) == [0]


@pytest.mark.parametrize(("link", "expected"), [("changed", [0, 1, 2]), ("met", [0, 2])])
def test_a_moment_between_two_kept_tracks_is_kept_if_no_face_was_met(link: str, expected: list[int]) -> None:
    tracks = [
        track(0, 0, seen=at(14, 14, 14)),
        track(1, 6, seen=beside(14, 1.12, 1.2), continues=0, link=link),
        track(2, 12, seen=at(14, 14, 14), continues=1, link="changed"),
    ]
    assert kept(*tracks) == expected


def test_a_stranger_inside_a_kept_track_is_split_off_and_hidden() -> None:
    """From the last view of the target to the next one."""
    views = np.concatenate([at(14, 14, 14), at(95, 95), at(14, 14)])
    whole, other = track(3, *range(0, 42, 6), seen=views), track(5, 42, seen=at(20), continues=3)
    decisions = decide_tracks([whole, other], gallery(ann=0), LIMITS)

    tracks, decisions = split_off_strangers([whole, other], decisions)

    parts = [
        ([detection.pts for detection in one.detections], decision.keep)
        for one, decision in zip(tracks, decisions, strict=True)
    ]
    assert parts == [([0, 6, 12], True), ([18, 24], False), ([30, 36], True), ([42], True)]
    assert [one.id for one in tracks] == [3, 6, 7, 5]
    assert [one.continues for one in tracks] == [None, 3, 6, 7]


@pytest.mark.parametrize("quality", [0.5, 0.95])
def test_one_view_of_a_stranger_counts_where_it_is_clear(quality: float) -> None:
    one = track(0, 0, 6, 12, seen=at(14, 14, 95))
    one.views[2] = replace(one.views[2], quality=quality)
    tracks, decisions = split_off_strangers([one], decide_tracks([one], gallery(ann=0), LIMITS))
    assert [decision.keep for decision in decisions] == ([True] if quality < VERY_CLEAR else [True, False])
    assert tracks[-1].last == 12


def test_a_stranger_that_the_target_dissolves_into_is_split_off() -> None:
    """No view differs much from the one before, and the stranger's views resemble each other."""
    one = track(0, *range(30), seen=at(*[14] * 10, 40, 66, *np.linspace(90, 100, 18)))
    tracks, decisions = split_off_strangers([one], decide_tracks([one], gallery(ann=0), LIMITS))
    assert [decision.keep for decision in decisions] == [True, False]
    assert tracks[0].last <= 12


@pytest.mark.parametrize(("degrees", "hidden"), [(65, [18, 24, 30]), (30, [])])
def test_a_view_without_evidence_between_strangers_is_hidden(degrees: float, hidden: list[int]) -> None:
    """At 65 degrees a view is beyond the match threshold; at 30 degrees it shows the target."""
    seen = at(14, 14, 14, 95, degrees, 95)
    one = track(0, *range(0, 36, 6), seen=seen, quality=0.7)
    tracks, decisions = split_off_strangers([one], decide_tracks([one], gallery(ann=0), LIMITS))
    found = zip(tracks, decisions, strict=True)
    assert [
        detection.pts for part, decision in found if not decision.keep for detection in part.detections
    ] == hidden


def test_a_stranger_in_a_kept_track_vouches_for_no_other_track() -> None:
    both = track(0, *range(8), seen=np.concatenate([at(14, 14, 14), beside(14, 1.1, 1.0, 5)]))
    assert kept(both, track(1, 60, seen=beside(14, 1.1, 1.0))) == [0]


@pytest.mark.parametrize(("link", "kept_from"), [("changed", 12), ("moved", 6)])
def test_detections_between_a_change_and_the_first_view_are_hidden(link: str, kept_from: int) -> None:
    """Their faces were not embedded, so they may show the person before the change."""
    stranger = track(0, 0, seen=at(95))
    target = track(1, 6, 12, seen=at(14), continues=0, link=link)
    target.views[0] = replace(target.views[0], place=1)
    before = [stranger, target]
    tracks, decisions = split_off_strangers(before, decide_tracks(before, gallery(ann=0), LIMITS))
    shown = [one.first for one, decision in zip(tracks, decisions, strict=True) if decision.keep]
    assert shown == [kept_from]


def test_memory_grows_with_the_views_and_not_with_their_square() -> None:
    one, other = (track(n, n, seen=np.repeat(at(14), 4000, axis=0)) for n in (0, 1))
    tracemalloc.start()
    try:
        assert kept(one, other) == [0, 1]
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_one_unclear_view_after_a_change_hides_no_detection() -> None:
    target = track(1, 6, 12, 18, seen=at(85, 14, 14), continues=0, link="changed")
    target.views[0] = replace(target.views[0], quality=VERY_CLEAR - 0.1)
    (_, decision) = decide_tracks([track(0, 0, seen=at(14, 14, 14)), target], gallery(ann=0), LIMITS)
    assert decision.keep
    assert decision.strangers == ()


def warnings_of(tracks: list[Track], targets: Gallery | None) -> tuple[TargetWarning, ...]:
    return warnings_about(tracks, decide_tracks(tracks, targets, LIMITS), targets, LIMITS.match)


def test_a_target_without_a_kept_track_is_warned_about_with_the_nearest() -> None:
    tracks = [track(0, 0, seen=at(10)), track(7, 0, seen=at(100)), track(8, 0, seen=at(80))]

    (warning,) = warnings_of(tracks, gallery(ann=0, ben=180))

    assert (warning.code, warning.person, warning.track) == ("no-track-kept", "ben", 7)
    assert warning.message == (
        "No track of ben was kept. The nearest is track 7 at distance 1.29, and the match threshold is 0.97."
    )


def test_a_match_that_was_hidden_is_warned_about_with_the_reason() -> None:
    (warning,) = warnings_of([track(0, 0, seen=at(20)), track(1, 0, seen=at(20))], gallery(ann=0))

    assert (
        "threshold is 0.97. That track is hidden (track 1, in the same frame, is as near" in warning.message
    )


def test_without_a_clear_face_the_warning_names_no_track() -> None:
    for tracks, why in (([], "the video shows no face"), ([track(0, 0, seen=at())], "clearly enough")):
        (warning,) = warnings_of(tracks, gallery(ann=0))
        assert why in warning.message
        assert warning.track is None


def test_a_kept_target_or_no_target_is_not_warned_about() -> None:
    tracks = [track(0, 0, seen=at(10))]
    assert warnings_of(tracks, gallery(ann=0)) == warnings_of(tracks, None) == ()
