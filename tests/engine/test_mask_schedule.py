"""Tests of the mask schedule with invented tracks: which boxes are masked at which time."""

import pytest

from defacer.engine.rendering import masks
from defacer.engine.rendering.box_motion import BoxMotion
from defacer.engine.rendering.masks import LEAD_SECONDS, TAIL_SECONDS, MaskSchedule
from defacer.engine.rendering.redaction import Openings
from defacer.engine.tracking.sampling import SAME_PLACE
from defacer.engine.verification.visible_faces import MASKED_SHARE, covered_share
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Decision, Reason, TrackRecord

RATE = 100
LEAD, TAIL = round(LEAD_SECONDS * RATE), round(TAIL_SECONDS * RATE)


def track(
    number: int, *detections: tuple[int, float], decision: Decision = "hide", continues: int | None = None
) -> TrackRecord:
    seen = CompactBoxes((pts, (x, 100, x + 60, 180)) for pts, x in detections)
    return TrackRecord(
        number, seen[0].pts, seen[-1].pts, decision, None, Reason.NO_MATCH, None, None, continues, seen
    )


def boxes(*tracks: TrackRecord, shots: tuple[int, ...] = ()) -> dict[int, list[Box]]:
    faces = Faces("", None, 0.7, 1000, 500, f"1/{RATE}", 300, 30, shots, tracks)
    schedule = MaskSchedule(faces)
    found = {pts: schedule.boxes(pts) for pts in range(300)}
    return {pts: hidden for pts, hidden in found.items() if hidden}


def test_mask_starts_before_the_first_sample_and_ends_after_the_last_one() -> None:
    hidden = boxes(track(0, (100, 200), (120, 240)))
    assert sorted(hidden) == list(range(100 - LEAD, 120 + TAIL + 1))
    assert hidden[110] == [pytest.approx((220, 100, 280, 180))]
    assert hidden[99][0][0] < 200 < 260 < hidden[99][0][2]  # expanded, because the place is not known
    assert hidden[121][0][0] < 240 < 300 < hidden[121][0][2]


def test_moving_face_is_masked_along_its_way_before_and_after_samples() -> None:
    hidden = boxes(track(0, (100, 200), (120, 240)))
    for pts in (95, 125):
        (x1, _, x2, _), expected = hidden[pts][0], 200 + 2 * (pts - 100)
        assert x1 < expected < expected + 60 < x2
    assert hidden[120 + TAIL][0][2] < 240 + 60 + 2 * TAIL + 20


def test_face_that_jumps_between_agreeing_samples_stays_masked() -> None:
    """The samples 100 and 120 agree, so no frame between them is sampled, and the face can jump at any time."""
    shift = 60 * (1 - SAME_PLACE) / (1 + SAME_PLACE)
    hidden = boxes(track(0, (100, 200), (120, 200 + shift)))
    for pts in range(101, 120):
        for x in (200, 200 + shift):
            assert covered_share((x, 100, x + 60, 180), hidden[pts], 1000, 500) > MASKED_SHARE + 0.2


def test_jitter_of_a_box_does_not_move_the_mask() -> None:
    hidden = boxes(track(0, (100, 200), (101, 210), (140, 200)))
    assert hidden[95][0][2] == pytest.approx(263, abs=2)


def test_masks_continue_under_a_flashing_light() -> None:
    hidden = boxes(track(0, (100, 200), (120, 240)), shots=(20, 125, 130))
    assert sorted(hidden) == list(range(100 - LEAD, 120 + TAIL + 1))


def test_kept_face_is_not_masked() -> None:
    assert not boxes(track(0, (100, 200), (120, 240), decision="keep"))


def test_no_mask_crosses_a_cut() -> None:
    hidden = boxes(track(0, (100, 200), (120, 240)), shots=(95, 145))
    assert sorted(hidden) == list(range(95, 145))


def test_box_of_each_face_is_computed_once_per_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []

    class Counted(BoxMotion):
        def box(self, pts: int) -> Box:
            computed.append(pts)
            return super().box(pts)

    monkeypatch.setattr(masks, "BoxMotion", Counted)
    tracks = (track(0, (0, 200), (50, 240)), track(1, (0, 210), (50, 250), decision="keep"))
    here = MaskSchedule(Faces("", None, 0.7, 1000, 500, f"1/{RATE}", 300, 30, (), tracks))
    for pts in range(50):
        assert here.boxes(pts)
        assert here.openings(pts).kept
    assert len(computed) == 2 * 50


@pytest.mark.parametrize(("before", "after"), [("hide", "hide"), ("hide", "keep"), ("keep", "hide")])
def test_gap_is_masked_unless_both_tracks_are_kept(before: Decision, after: Decision) -> None:
    hidden = boxes(
        track(0, (100, 200), (120, 200), decision=before),
        track(1, (200, 400), (220, 400), decision=after, continues=0),
    )
    assert set(range(120, 201)) <= set(hidden)
    assert any(box == pytest.approx((300, 100, 360, 180)) for box in hidden[160])


def test_gap_between_kept_tracks_is_not_masked() -> None:
    assert not boxes(
        track(0, (100, 200), (120, 200), decision="keep"),
        track(1, (200, 400), (220, 400), decision="keep", continues=0),
    )


def test_face_at_the_edge_is_masked_in_its_full_proportions() -> None:
    narrow = TrackRecord(
        0, 10, 20, "hide", None, Reason.NO_MATCH, None, None, None, CompactBoxes([(10, (0, 100, 10, 180))])
    )
    x1, y1, x2, y2 = boxes(narrow)[10][0]
    assert x2 - x1 == pytest.approx(0.7 * 80)
    assert (y1, y2) == (100, 180)


def test_narrow_box_beside_another_face_grows_to_a_faces_proportions() -> None:
    narrow = TrackRecord(
        0, 10, 20, "hide", None, Reason.NO_MATCH, None, None, None, CompactBoxes([(10, (300, 100, 340, 180))])
    )
    front = TrackRecord(
        1, 10, 20, "keep", None, Reason.NO_MATCH, None, None, None, CompactBoxes([(10, (345, 100, 405, 180))])
    )
    assert boxes(narrow, front)[10] == [pytest.approx((292, 100, 348, 180))]
    assert boxes(narrow)[10] == [pytest.approx((300, 100, 340, 180))]


def test_hidden_face_sampled_in_the_same_place_keeps_the_mask() -> None:
    """If two faces are in one place, either can be in front."""
    tracks = [
        track(0, (100, 200), (120, 200)),
        track(1, (130, 210), (150, 210), decision="keep"),
        track(2, (130, 180), (150, 180)),
    ]
    assert len(boxes(*tracks, shots=(125, 140))[140]) == 2
    assert len(boxes(*tracks[:2], shots=(125, 140)).get(140, [])) == 0


@pytest.mark.parametrize("pts", range(100, 121, 4))
def test_openings_are_closed_wherever_the_stranger_is_between_samples(pts: int) -> None:
    """A face does not move at a constant speed from one sample to the next."""
    tracks = track(0, (100, 200), (120, 240)), track(1, (90, 250), (140, 250), decision="keep")
    schedule = MaskSchedule(Faces("", None, 0.7, 1000, 500, f"1/{RATE}", 300, 30, (), tracks))
    openings = schedule.openings(pts)
    assert openings.kept == [(250, 100, 310, 180)]
    reach = (200, 260) if pts == 100 else (240, 300) if pts == 120 else (200, 300)
    assert [(box[0] < reach[0], box[2] > reach[1]) for box in openings.closed] == [(True, True)]


def test_no_opening_where_no_mask_reaches_a_kept_face() -> None:
    tracks = track(0, (100, 200), (120, 200)), track(1, (100, 400), (120, 400), decision="keep")
    schedule = MaskSchedule(Faces("", None, 0.7, 1000, 500, f"1/{RATE}", 300, 30, (), tracks))
    assert schedule.openings(110) == Openings()
