"""Which boxes are hidden when: on tracks that are made up."""

import pytest

from defacer.engine.rendering import masks
from defacer.engine.rendering.box_motion import BoxMotion
from defacer.engine.rendering.masks import LEAD_SECONDS, TAIL_SECONDS, MaskSchedule
from defacer.engine.rendering.redaction import Openings
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Reason, Track

RATE = 100
LEAD, TAIL = round(LEAD_SECONDS * RATE), round(TAIL_SECONDS * RATE)


def track(
    number: int, *looks: tuple[int, float], decision: str = "hide", continues: int | None = None
) -> Track:
    seen = CompactBoxes((pts, (x, 100, x + 60, 180)) for pts, x in looks)
    return Track(
        number, seen[0].pts, seen[-1].pts, decision, None, Reason.NO_MATCH, None, None, continues, seen
    )


def boxes(*tracks: Track, shots: tuple[int, ...] = ()) -> dict[int, list[Box]]:
    faces = Faces("", None, 0.7, 1000, 500, f"1/{RATE}", 300, 30, shots, tracks)
    cover = MaskSchedule(faces)
    found = {pts: cover.boxes(pts) for pts in range(300)}
    return {pts: hidden for pts, hidden in found.items() if hidden}


def test_a_face_is_covered_from_before_its_first_look_until_after_its_last() -> None:
    hidden = boxes(track(0, (100, 200), (120, 240)))
    assert sorted(hidden) == list(range(100 - LEAD, 120 + TAIL + 1))
    assert hidden[110] == [pytest.approx((220, 100, 280, 180))]
    assert hidden[99][0][0] < 200 < 260 < hidden[99][0][2]  # grown: where it was is not known
    assert hidden[121][0][0] < 240 < 300 < hidden[121][0][2]


def test_a_face_that_moves_is_covered_where_it_may_have_come_from_and_gone_to() -> None:
    hidden = boxes(track(0, (100, 200), (120, 240)))
    for pts in (95, 125):
        (x1, _, x2, _), expected = hidden[pts][0], 200 + 2 * (pts - 100)
        assert x1 < expected < expected + 60 < x2
    assert hidden[120 + TAIL][0][2] < 240 + 60 + 2 * TAIL + 20


def test_a_face_that_trembles_stays_where_it_is() -> None:
    hidden = boxes(track(0, (100, 200), (101, 210), (140, 200)))
    assert hidden[95][0][2] == pytest.approx(263, abs=2)


def test_under_a_flashing_light_nothing_is_left_bare() -> None:
    hidden = boxes(track(0, (100, 200), (120, 240)), shots=(20, 125, 130))
    assert sorted(hidden) == list(range(100 - LEAD, 120 + TAIL + 1))


def test_a_kept_face_is_not_covered() -> None:
    assert not boxes(track(0, (100, 200), (120, 240), decision="keep"))


def test_nothing_is_covered_across_a_cut() -> None:
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
def test_the_gap_is_covered_unless_both_sides_are_kept(before: str, after: str) -> None:
    hidden = boxes(
        track(0, (100, 200), (120, 200), decision=before),
        track(1, (200, 400), (220, 400), decision=after, continues=0),
    )
    assert set(range(120, 201)) <= set(hidden)
    assert any(box == pytest.approx((300, 100, 360, 180)) for box in hidden[160])


def test_a_gap_between_kept_tracks_is_left() -> None:
    assert not boxes(
        track(0, (100, 200), (120, 200), decision="keep"),
        track(1, (200, 400), (220, 400), decision="keep", continues=0),
    )


def test_a_face_cut_off_by_the_edge_is_covered_whole() -> None:
    narrow = Track(
        0, 10, 20, "hide", None, Reason.NO_MATCH, None, None, None, CompactBoxes([(10, (0, 100, 10, 180))])
    )
    x1, y1, x2, y2 = boxes(narrow)[10][0]
    assert x2 - x1 == pytest.approx(0.7 * 80)
    assert (y1, y2) == (100, 180)


def test_a_narrow_box_beside_another_face_grows_to_a_faces_proportions() -> None:
    narrow = Track(
        0, 10, 20, "hide", None, Reason.NO_MATCH, None, None, None, CompactBoxes([(10, (300, 100, 340, 180))])
    )
    front = Track(
        1, 10, 20, "keep", None, Reason.NO_MATCH, None, None, None, CompactBoxes([(10, (345, 100, 405, 180))])
    )
    assert boxes(narrow, front)[10] == [pytest.approx((292, 100, 348, 180))]
    assert boxes(narrow)[10] == [pytest.approx((300, 100, 340, 180))]


def test_a_hidden_face_sampled_in_the_same_place_keeps_the_mask() -> None:
    """Two faces in one place leave open which of them is in front."""
    tracks = [
        track(0, (100, 200), (120, 200)),
        track(1, (130, 210), (150, 210), decision="keep"),
        track(2, (130, 180), (150, 180)),
    ]
    assert len(boxes(*tracks, shots=(125, 140))[140]) == 2
    assert len(boxes(*tracks[:2], shots=(125, 140)).get(140, [])) == 0


@pytest.mark.parametrize("pts", range(100, 121, 4))
def test_openings_are_closed_wherever_the_stranger_is_between_samples(pts: int) -> None:
    """A face does not move evenly from one sample to the next."""
    tracks = track(0, (100, 200), (120, 240)), track(1, (90, 250), (140, 250), decision="keep")
    cover = MaskSchedule(Faces("", None, 0.7, 1000, 500, f"1/{RATE}", 300, 30, (), tracks))
    openings = cover.openings(pts)
    assert openings.kept == [(250, 100, 310, 180)]
    reach = (200, 260) if pts == 100 else (240, 300) if pts == 120 else (200, 300)
    assert [(box[0] < reach[0], box[2] > reach[1]) for box in openings.closed] == [(True, True)]


def test_no_opening_where_no_mask_reaches_a_kept_face() -> None:
    tracks = track(0, (100, 200), (120, 200)), track(1, (100, 400), (120, 400), decision="keep")
    cover = MaskSchedule(Faces("", None, 0.7, 1000, 500, f"1/{RATE}", 300, 30, (), tracks))
    assert cover.openings(110) == Openings()
