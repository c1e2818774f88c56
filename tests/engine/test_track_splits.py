"""A track that a person splits: the later part is a track of its own, and hidden in doubt."""

from dataclasses import replace

import pytest

from defacer.engine.corrections.track_exchange import export_tracks, import_tracks
from defacer.engine.errors import EngineError
from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.tracking.report_edit import EditedReport, with_edits
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import AddedTrack, Edits
from defacer.report.exchange.formats import parse_track_file
from defacer.report.faces import Faces
from defacer.report.track_splits import split_track
from defacer.report.tracks import Decision, Origin, Reason, TrackRecord

STEP = 5  # frames between two samples
BOX = (100.0, 100.0, 140.0, 150.0)


def track(number: int, first: int, last: int, decision: Decision = "keep", **more: object) -> TrackRecord:
    values: dict[str, object] = {
        "id": number,
        "group": number,
        "start": first,
        "end": last,
        "decision": decision,
        "person": "Ada" if decision == "keep" else None,
        "reason": Reason.MATCHED if decision == "keep" else Reason.NO_MATCH,
        "distance": 0.5,
        "margin": 0.4,
        "continues": None,
        "detections": CompactBoxes((pts, BOX) for pts in range(first, last + 1, STEP)),
        **more,
    }
    return TrackRecord(**values)  # type: ignore[arg-type]


def faces(*tracks: TrackRecord) -> Faces:
    return Faces("", None, 0.97, 640, 360, "1/25", 200, 40, (), tracks)


KEPT = faces(track(0, 0, 95), track(1, 100, 150, continues=0))


def edit(before: Faces, edits: Edits) -> EditedReport:
    return with_edits(before.to_bytes(), edits, {"Ada"})


def split(before: Faces, *places: tuple[int, int], **more: object) -> Faces:
    parts = tuple(split_track(before.tracks[number], pts) for number, pts in places)
    edits = Edits(first_id=len(before.tracks), added=parts, **more)  # type: ignore[arg-type]
    return Faces.from_bytes(edit(before, edits).document)


def test_part_of_a_kept_track_is_hidden_until_a_person_keeps_it() -> None:
    first, later, part = split(KEPT, (0, 48)).tracks
    assert (first.start, first.end, first.decision, first.person) == (0, 45, "keep", "Ada")
    assert (part.id, part.start, part.end, part.continues) == (2, 50, 95, 0)
    assert (part.decision, part.person, part.reason) == ("hide", None, Reason.MANUAL)
    assert (part.group, part.origin) == (2, Origin.DETECTOR)
    assert later.continues == 2
    kept = split(KEPT, (0, 48), decisions={2: "keep", 0: "hide"}, people={2: "Ada"}, groups={2: 0}).tracks
    assert [(item.decision, item.person, item.group) for item in (kept[0], kept[2])] == [
        ("hide", "Ada", 0),
        ("keep", "Ada", 0),
    ]


def test_part_of_a_hidden_track_keeps_the_reason() -> None:
    hidden = faces(track(0, 0, 95, "hide"))
    assert split(hidden, (0, 50)).tracks[1] == replace(
        track(1, 50, 95, "hide", continues=0), detections=CompactBoxes((pts, BOX) for pts in range(50, 96, 5))
    )


def test_frames_between_a_kept_track_and_its_hidden_part_are_masked() -> None:
    schedule = MaskSchedule(split(KEPT, (0, 48)))
    masked = [pts for pts in range(160) if schedule.boxes(pts)]
    assert masked[:56] == list(range(45, 101))  # also the gaps before and after the part


def test_kept_part_has_the_name_that_a_person_gave_it() -> None:
    part = replace(split_track(KEPT.tracks[0], 50), decision="keep", person="Ada")
    made = edit(KEPT, Edits(added=(part,)))
    kept = Faces.from_bytes(made.document).tracks[2]
    assert (kept.decision, kept.person, made.people) == ("keep", "Ada", ("Ada",))
    unknown = edit(KEPT, Edits(added=(replace(part, person="Bo"),)))
    assert unknown.unconsented_tracks == (2,)


def test_track_is_split_at_several_moments_in_any_order() -> None:
    tracks = split(KEPT, (0, 80), (0, 30)).tracks
    assert [(item.id, item.start, item.end, item.continues) for item in tracks] == [
        (0, 0, 25, None),
        (1, 100, 150, 2),
        (2, 80, 95, 3),
        (3, 30, 75, 0),
    ]


def test_repeated_split_changes_nothing() -> None:
    edits = Edits(first_id=2, added=(split_track(KEPT.tracks[0], 30), split_track(KEPT.tracks[0], 80)))
    once = edit(KEPT, edits)
    assert edit(Faces.from_bytes(once.document), edits) == once


def test_part_that_waits_for_its_render_is_split_again() -> None:
    first = Edits(first_id=2, added=(split_track(KEPT.tracks[0], 30),))
    part = Faces.from_bytes(edit(KEPT, first).document).tracks[2]
    both = first.merge(Edits(first_id=3, added=(split_track(part, 80),)))
    tracks = Faces.from_bytes(edit(KEPT, both).document).tracks
    assert [(item.start, item.end, item.continues) for item in tracks] == [
        (0, 25, None),
        (100, 150, 3),
        (30, 75, 0),
        (80, 95, 2),
    ]


def test_two_requests_that_split_tracks_are_merged() -> None:
    other = Edits(first_id=2, added=(split_track(KEPT.tracks[1], 120),), decisions={2: "keep"})
    merged = Edits(first_id=2, added=(AddedTrack(CompactBoxes([(1, BOX)])),)).merge(other)
    assert (merged.added[1].split_from, merged.decisions) == (1, {3: "keep"})
    part = Faces.from_bytes(edit(KEPT, merged).document).tracks[3]
    assert (part.start, part.end, part.decision) == (120, 150, "keep")


def test_boxes_of_a_part_are_the_track_s_own_and_never_a_request_s() -> None:
    forged = AddedTrack(CompactBoxes([(50, (0, 0, 1, 1))]), Origin.DETECTOR, split_from=0)
    made = Faces.from_bytes(edit(KEPT, Edits(first_id=2, added=(forged,))).document)
    assert made.tracks[2].detections == KEPT.tracks[0].detections.split_at(50)[1]


def test_part_of_a_person_who_withdrew_consent_stays_hidden() -> None:
    withdrawn = faces(track(0, 0, 95, "hide", reason=Reason.CONSENT_WITHDRAWN))
    part = replace(split_track(withdrawn.tracks[0], 50), decision="keep")
    for edits in (
        Edits(added=(part,)),
        Edits(first_id=1, added=(replace(part, decision="hide"),), decisions={1: "keep"}),
    ):
        made = edit(withdrawn, edits)
        assert made.unconsented_tracks == (1,)
        assert Faces.from_bytes(made.document).tracks[1].decision == "hide"


@pytest.mark.parametrize(
    ("number", "pts", "sentence"),
    [
        (0, 0, "track 0 has no box before that moment"),
        (0, 96, "track 0 has no box before that moment, or none after it"),
        (1, 20, "track 1 is a drawn mask. Change its range"),
    ],
)
def test_impossible_split_is_refused_with_its_reason(number: int, pts: int, sentence: str) -> None:
    before = faces(track(0, 0, 95), track(1, 0, 95, "hide", origin=Origin.MANUAL))
    part = AddedTrack(CompactBoxes([(pts, BOX)]), Origin.DETECTOR, split_from=number)
    with pytest.raises(EngineError, match=sentence if pts < 96 else "no box after the moment of the split"):
        edit(before, Edits(first_id=2, added=(part,)))
    with pytest.raises(ValueError, match=sentence):
        split_track(before.tracks[number], pts)


def test_added_track_without_a_split_has_an_origin_of_its_own() -> None:
    with pytest.raises(ValueError, match="the origin of an added track is detector"):
        AddedTrack(CompactBoxes([(1, BOX)]), Origin.DETECTOR)


def test_split_tracks_travel_to_another_program_and_back() -> None:
    made = replace(split(KEPT, (0, 48)), start=0, end=199)
    times = range(200)
    file = parse_track_file(export_tracks(made, "ab" * 32, "mot", times).encode())
    assert len(file.tracks) == 3
    assert not import_tracks(file, made, "ab" * 32, times).edits
