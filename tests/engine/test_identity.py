"""Who is kept and who is hidden, on embeddings that are made up: a plane in which angles are known."""

import numpy as np

from functions.engine.faces import TargetWarning
from functions.engine.findings import Face
from functions.engine.gallery import Gallery
from functions.engine.identity import decide, warnings_about
from functions.engine.track import Observation, Track, ViewOfFace

KEEP = 0.6


def at(*degrees: float) -> np.ndarray:
    """Unit vectors; two that are a degrees apart have the distance 2 sin(a / 2): 0.6 is 34.9 degrees."""
    embeddings = np.zeros((len(degrees), 512), np.float32)
    embeddings[:, 0], embeddings[:, 1] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return embeddings


def track(number: int, *times: int, seen: np.ndarray) -> Track:
    face = Face(np.array([0, 0, 10, 10], np.float32), 0.9, 0.5)
    views = [ViewOfFace(0.5, embedding) for embedding in seen]
    return Track(number, [Observation(pts, face, contended=False) for pts in times], views)


def gallery(**people: float) -> Gallery:
    return Gallery(tuple(people), at(*people.values()), "test/1")


def test_without_targets_everyone_is_hidden() -> None:
    for nobody in (None, Gallery((), at(), "test/1")):
        (decision,) = decide([track(0, 0, seen=at(0))], nobody, KEEP)
        assert not decision.keep


def test_near_a_target_is_kept_and_named_and_far_is_hidden() -> None:
    near, far = decide([track(0, 0, seen=at(10)), track(1, 0, seen=at(90))], gallery(ann=0, ben=180), KEEP)
    assert (near.keep, near.person) == (True, "ann")
    assert not far.keep
    assert far.distance is not None
    assert far.distance > KEEP


def test_a_track_that_was_never_seen_clearly_is_hidden() -> None:
    (decision,) = decide([track(0, 0, seen=at())], gallery(ann=0), KEEP)
    assert not decision.keep


def test_one_lucky_crop_among_many_keeps_nobody() -> None:
    (decision,) = decide([track(0, 0, seen=at(20, 60, 60, 60, 60))], gallery(ann=0), KEEP)
    assert not decision.keep


def test_of_two_faces_in_one_frame_only_the_nearer_is_the_person() -> None:
    nearer, farther = decide([track(0, 0, 6, seen=at(5)), track(1, 6, 12, seen=at(25))], gallery(ann=0), KEEP)
    assert nearer.keep
    assert not farther.keep
    assert "track 0" in farther.reason


def test_of_two_faces_in_one_frame_that_are_as_near_neither_is_kept() -> None:
    both = decide([track(0, 0, 6, seen=at(22)), track(1, 6, 12, seen=at(24))], gallery(ann=0), KEEP)
    assert not any(decision.keep for decision in both)
    assert ["track 0" in both[1].reason, "track 1" in both[0].reason] == [True, True]


def test_two_people_in_one_frame_are_both_kept() -> None:
    both = decide([track(0, 0, seen=at(5)), track(1, 0, seen=at(175))], gallery(ann=0, ben=180), KEEP)
    assert [decision.person for decision in both if decision.keep] == ["ann", "ben"]


def test_a_profile_inherits_from_the_frontal_view_of_the_same_person() -> None:
    frontal, profile = decide([track(0, 0, seen=at(20, 30)), track(1, 60, seen=at(44))], gallery(ann=0), KEEP)
    assert frontal.keep
    assert profile.keep
    assert "track 0" in profile.reason


def test_nobody_inherits_from_a_face_in_the_same_frame() -> None:
    _, other = decide([track(0, 0, seen=at(20, 30)), track(1, 0, seen=at(44))], gallery(ann=0), KEEP)
    assert not other.keep


def test_nobody_inherits_what_the_target_contradicts() -> None:
    _, other = decide([track(0, 0, seen=at(30, 30, 30)), track(1, 60, seen=at(50))], gallery(ann=0), KEEP)
    assert not other.keep


def warnings_of(tracks: list[Track], targets: Gallery | None) -> tuple[TargetWarning, ...]:
    return warnings_about(tracks, decide(tracks, targets, KEEP), targets, KEEP)


def test_a_target_without_a_kept_track_is_warned_about_with_the_nearest() -> None:
    tracks = [track(0, 0, seen=at(10)), track(7, 0, seen=at(100)), track(8, 0, seen=at(50))]

    (warning,) = warnings_of(tracks, gallery(ann=0, ben=180))

    assert (warning.code, warning.person, warning.track) == ("no-track-kept", "ben", 7)
    assert warning.message == (
        "No track of ben was kept. The nearest is track 7 at distance 1.29, and the match threshold is 0.60."
    )


def test_a_match_that_was_hidden_is_warned_about_with_the_reason() -> None:
    (warning,) = warnings_of([track(0, 0, seen=at(20)), track(1, 0, seen=at(20))], gallery(ann=0))

    assert "threshold is 0.60. That track is hidden because another face in the same frame" in warning.message


def test_without_a_clear_face_the_warning_names_no_track() -> None:
    for tracks, why in (([], "the video shows no face"), ([track(0, 0, seen=at())], "clearly enough")):
        (warning,) = warnings_of(tracks, gallery(ann=0))
        assert why in warning.message
        assert warning.track is None


def test_a_kept_target_or_no_target_is_not_warned_about() -> None:
    tracks = [track(0, 0, seen=at(10))]
    assert warnings_of(tracks, gallery(ann=0)) == warnings_of(tracks, None) == ()
