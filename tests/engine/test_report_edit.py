"""A person's edits to a document of faces."""

from dataclasses import replace

import pytest

from defacer.engine.errors import EngineError
from defacer.engine.tracking.face_report import read_faces_between
from defacer.engine.tracking.report_edit import with_edits
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.edits import AddedTrack, Edits
from defacer.report.faces import Faces
from defacer.report.tracks import Origin, Reason, TargetWarning, TrackRecord

PEOPLE = ("Ada", 'Eve "tracks":[', "Zoë\n]}")


def track(number: int, person: str | None) -> TrackRecord:
    return TrackRecord(
        id=number,
        start=number,
        end=number + 10,
        decision="keep" if person else "hide",
        person=person,
        reason=Reason.MATCHED if person else Reason.NO_MATCH,
        distance=0.25,
        margin=None,
        continues=number - 1 if number else None,
        detections=CompactBoxes((pts, (1.5, 2.0, 30.1, 40.0)) for pts in (number, number + 10)),
    )


@pytest.fixture
def faces() -> Faces:
    return Faces(
        detector="centerface",
        recognizer="sface",
        match_threshold=0.7,
        width=64,
        height=48,
        time_base="1/25",
        frames=50,
        sampled_frames=10,
        cuts=(3, 20),
        tracks=tuple(track(number, person) for number, person in enumerate((*PEOPLE, None, None))),
    )


def test_kept_poster_is_kept_for_its_track_alone(faces: Faces) -> None:
    """A poster shows a face. Another track of the same person group can be the person."""
    one_group = replace(faces, tracks=tuple(replace(track, group=2) for track in faces.tracks))
    made = Faces.from_bytes(with_edits(one_group.to_bytes(), Edits(decisions={3: "keep"}), PEOPLE).document)
    assert [track.decision for track in made.tracks] == ["keep", "keep", "keep", "keep", "hide"]


@pytest.mark.parametrize(
    ("hide", "keep"), [((), ()), ((0,), ()), ((1, 2), (4,)), ((), (3, 4)), ((0, 1, 2, 3, 4), ())]
)
def test_decided_tracks_change_and_all_others_stay(
    hide: tuple[int, ...], keep: tuple[int, ...], faces: Faces
) -> None:
    edits = Edits(decisions={**dict.fromkeys(hide, "hide"), **dict.fromkeys(keep, "keep")})
    made = with_edits(faces.to_bytes(), edits, PEOPLE)
    expected = [
        replace(track, decision="hide" if track.id in hide else "keep", reason=Reason.MANUAL)
        if track.id in (*hide, *keep)
        else track
        for track in faces.tracks
    ]
    assert Faces.from_bytes(made.document) == replace(faces, tracks=tuple(expected))
    assert made.people == tuple(sorted(PEOPLE))
    assert made.unconsented_tracks == ()


def test_warnings_end_when_a_person_decides(faces: Faces) -> None:
    warned = replace(faces, warnings=(TargetWarning("no-track-kept", PEOPLE[0], "No track.", 3),))
    assert Faces.from_bytes(warned.to_bytes()) == warned
    assert with_edits(warned.to_bytes(), Edits(), PEOPLE).document == warned.to_bytes()
    made = with_edits(warned.to_bytes(), Edits(decisions={3: "keep"}), PEOPLE).document
    assert Faces.from_bytes(made).warnings == ()


def test_a_decision_removes_the_rival_that_the_reason_named(faces: Faces) -> None:
    rival = replace(faces.tracks[3], reason=Reason.RIVAL_NEARER, rival=1)
    made = with_edits(replace(faces, tracks=(rival,)).to_bytes(), Edits(decisions={3: "keep"}), PEOPLE)
    assert Faces.from_bytes(made.document).tracks[0].rival is None


def test_a_track_whose_consent_was_withdrawn_is_never_kept_again(faces: Faces) -> None:
    forgotten = replace(faces.tracks[3], reason=Reason.CONSENT_WITHDRAWN)
    document = replace(faces, tracks=(forgotten,)).to_bytes()
    hidden = with_edits(document, Edits(decisions={3: "hide"}), PEOPLE)
    assert (hidden.unconsented_tracks, hidden.document) == ((), document)
    made = with_edits(hidden.document, Edits(decisions={3: "keep"}), PEOPLE)
    assert (made.unconsented_tracks, made.document) == ((3,), document)


def test_a_track_whose_consent_was_withdrawn_never_shrinks(faces: Faces) -> None:
    forgotten = replace(faces, tracks=(replace(faces.tracks[3], reason=Reason.CONSENT_WITHDRAWN),))
    shrunk = Edits(moved={3: boxes(3, 13)}, uncovered=frozenset({3}))
    for edits in (shrunk, replace(shrunk, decisions={3: "keep"}), replace(shrunk, decisions={3: "hide"})):
        with pytest.raises(EngineError, match="consent was withdrawn"):
            edited(forgotten, edits)
    large = boxes(3, 13, box=(1.0, 1.0, 31.0, 41.0))
    assert edited(forgotten, Edits(moved={3: large})).tracks[0].detections == large


def test_unconsented_tracks_are_listed_and_hidden_ones_lose_the_name(faces: Faces) -> None:
    made = with_edits(faces.to_bytes(), Edits(decisions={1: "hide", 3: "keep"}), ())
    assert made.unconsented_tracks == (0, 2)
    assert made.people == ("Ada", PEOPLE[2])
    assert [track.person for track in Faces.from_bytes(made.document).tracks] == [
        "Ada",
        None,
        PEOPLE[2],
        None,
        None,
    ]


def test_decisions_for_a_video_without_faces_are_refused(faces: Faces) -> None:
    empty = replace(faces, tracks=()).to_bytes()
    assert with_edits(empty, Edits(), ()).document == empty
    with pytest.raises(EngineError, match="no track 0; it has 0 tracks"):
        with_edits(empty, Edits(decisions={0: "keep"}), ())


def test_a_manual_decision_removes_the_number_of_strangers(faces: Faces) -> None:
    track = replace(faces.tracks[0], distance=0.9, strangers_per_10000=12)
    counted = replace(faces, tracks=(track, *faces.tracks[1:]))
    made = with_edits(counted.to_bytes(), Edits(decisions={track.id: "keep"}), {"Ada", "Bo"})
    assert Faces.from_bytes(made.document).tracks[0].strangers_per_10000 is None


def test_a_report_with_an_unknown_recognizer_is_refused(faces: Faces) -> None:
    unknown = replace(faces, recognizer="casia-webface/20180408-102900/1")
    sentence = "the recognizer is 'casia-webface', allowed are sface, facenet-casia, facenet-vggface2"
    with pytest.raises(EngineError, match=sentence):
        read_faces_between(unknown.to_bytes())
    with pytest.raises(EngineError, match=sentence):
        with_edits(unknown.to_bytes(), Edits(decisions={0: "hide"}), set())


def test_a_decision_for_a_missing_track_names_it(faces: Faces) -> None:
    with pytest.raises(EngineError, match="no track 7, 9; it has 5 tracks"):
        with_edits(faces.to_bytes(), Edits(decisions={9: "hide", 0: "hide", 7: "keep"}), PEOPLE)


@pytest.mark.parametrize("broken", [b"", b"{}", b"\n", b"[]\n]}", b'{"version":7,"tracks":[\n]}'])
def test_other_documents_are_refused(broken: bytes) -> None:
    with pytest.raises(EngineError, match="report"):
        with_edits(broken, Edits(), ())


BOX = (10.0, 5.0, 20.0, 15.0)


def boxes(*times: int, box: Box = BOX) -> CompactBoxes:
    return CompactBoxes((pts, box) for pts in times)


def edited(faces: Faces, edits: Edits) -> Faces:
    return Faces.from_bytes(with_edits(faces.to_bytes(), edits, PEOPLE).document)


def test_added_tracks_get_the_next_ids_and_groups_of_their_own(faces: Faces) -> None:
    mask = AddedTrack(boxes(4, 9), unconfirmed=((5, 6),))
    found = AddedTrack(boxes(7, 8), Origin.SEARCH)
    edits = Edits(decisions={6: "keep"}, first_id=5, added=(mask, found, replace(found, group=0)))
    made = with_edits(faces.to_bytes(), edits, PEOPLE)
    one, two, three = Faces.from_bytes(made.document).tracks[5:]
    assert made.added == (5, 6, 7)
    assert (one.id, one.start, one.end, one.decision, one.reason) == (5, 4, 9, "hide", Reason.MANUAL)
    assert (one.origin, one.unconfirmed, one.detections) == (Origin.MANUAL, ((5, 6),), mask.detections)
    assert (two.id, two.decision, two.reason, two.origin) == (6, "keep", Reason.MANUAL, Origin.SEARCH)
    assert (three.decision, three.reason) == ("hide", Reason.FOUND_BY_SEARCH)
    assert [track.group for track in (one, two, three)] == [1, 2, 0]


def test_repeated_edits_add_no_track_twice(faces: Faces) -> None:
    first = AddedTrack(boxes(4, 9))
    once = edited(faces, Edits(first_id=5, added=(first,)))
    assert edited(once, Edits(first_id=5, added=(first,))) == once


def test_face_found_by_the_check_does_not_take_an_added_track_s_edits(faces: Faces) -> None:
    """An earlier request's job added the first mask, and its check found a face. The later request has both masks."""
    first, second = AddedTrack(boxes(4, 9)), AddedTrack(boxes(20, 30))
    once = edited(faces, Edits(first_id=5, added=(first,)))
    found = replace(faces.tracks[4], id=6, origin=Origin.VERIFICATION, continues=None)
    published = replace(once, tracks=(*once.tracks, found))
    both = Edits(decisions={6: "keep"}, first_id=5, added=(first, second))
    made = with_edits(published.to_bytes(), both, PEOPLE)
    *_, mask, face, later = Faces.from_bytes(made.document).tracks
    assert (mask.detections, face, later.detections) == (first.detections, found, second.detections)
    assert (later.id, later.decision, made.added) == (7, "keep", (5, 7))


@pytest.mark.parametrize(
    ("detections", "sentence"),
    [
        (boxes(4, 9, box=(64.0, 0.0, 70.0, 9.0)), "no area inside the frame of 64x48"),
        (boxes(4, 9, box=(9.0, 9.0, 9.0, 12.0)), "no area inside the frame"),
        (boxes(9, 4), "boxes are 9 and 4. Sort them"),
        (boxes(60, 70), "are outside the video, which lasts from 0 to 49"),
    ],
)
def test_boxes_outside_the_video_are_refused(detections: CompactBoxes, sentence: str, faces: Faces) -> None:
    timed = replace(faces, start=0, end=49)
    for edits in (Edits(added=(AddedTrack(detections),)), Edits(moved={0: detections})):
        with pytest.raises(EngineError, match=sentence):
            edited(timed, edits)


def test_boxes_far_larger_than_the_frame_are_only_for_masks(faces: Faces) -> None:
    huge = boxes(4, 9, box=(0.0, 0.0, 100000.0, 100000.0))
    for edits in (Edits(added=(AddedTrack(huge, Origin.SEARCH),)), Edits(moved={3: huge})):
        with pytest.raises(EngineError, match="is far larger than the frame of 64x48"):
            edited(faces, edits)
    assert edited(faces, Edits(added=(AddedTrack(huge),))).tracks[-1].detections == huge


def test_a_request_adds_a_limited_number_of_tracks() -> None:
    mask = AddedTrack(boxes(4, 9))
    assert Edits.from_bytes(Edits(added=(mask,) * 1000).to_bytes())
    with pytest.raises(ValueError, match="at most 1000 items"):
        Edits.from_bytes(Edits(added=(mask,) * 1001).to_bytes())


def test_hidden_track_grows_but_shrinks_only_with_permission(faces: Faces) -> None:
    small, large = boxes(3, 13, box=(5.0, 5.0, 30.0, 40.0)), boxes(0, 20, box=(1.0, 1.0, 31.0, 41.0))
    grown = edited(faces, Edits(moved={3: large})).tracks[3]
    assert (grown.detections, grown.start, grown.end, grown.reason) == (large, 0, 20, Reason.NO_MATCH)
    for less in (small, boxes(4, 13, box=(1.0, 1.0, 31.0, 41.0))):
        with pytest.raises(EngineError, match="new boxes of track 3 do not cover its old ones"):
            edited(faces, Edits(moved={3: less}))
        assert edited(faces, Edits(moved={3: less}, uncovered=frozenset({3}))).tracks[3].detections == less


def test_kept_track_leaves_its_old_boxes_only_with_permission(faces: Faces) -> None:
    inside, longer = boxes(1, 9), boxes(1, 20)
    assert edited(faces, Edits(moved={0: inside})).tracks[0].detections == inside
    with pytest.raises(EngineError, match="new boxes of track 0 are outside its old ones"):
        edited(faces, Edits(moved={0: longer}))
    made = edited(faces, Edits(moved={0: longer}, uncovered=frozenset({0})))
    assert made.tracks[0].detections == longer


def test_new_boxes_are_checked_with_the_new_decision(faces: Faces) -> None:
    with pytest.raises(EngineError, match="new boxes of track 0 do not cover its old ones"):
        edited(faces, Edits(decisions={0: "hide"}, moved={0: boxes(1, 9)}))
    with pytest.raises(EngineError, match="new boxes of track 3 are outside its old ones"):
        edited(faces, Edits(decisions={3: "keep"}, moved={3: boxes(1, 30)}))
    assert edited(faces, Edits(decisions={0: "hide"}, moved={0: boxes(0, 10, box=(1.0, 1.0, 40.0, 41.0))}))


def test_boxes_between_two_samples_are_compared_too(faces: Faces) -> None:
    """The new boxes contain the old ones at their two times, but leave them in between."""
    track = replace(faces.tracks[3], detections=boxes(3, 13), start=3, end=13)
    away = CompactBoxes(((3, BOX), (8, (30.0, 5.0, 40.0, 15.0)), (13, BOX)))
    with pytest.raises(EngineError, match="do not cover"):
        edited(replace(faces, tracks=(track,)), Edits(moved={3: away}))


def test_refused_suggestions_to_merge_are_in_no_later_report(faces: Faces) -> None:
    suggested = replace(faces, suggested_merges=((0, 1), (2, 3)))
    refused = Edits(different=frozenset({(2, 3)}))
    assert not refused
    merged = refused.merge(Edits({4: "keep"}))
    assert edited(suggested, merged).suggested_merges == ((0, 1),)
    assert edited(suggested, Edits({4: "keep"})).suggested_merges == ((0, 1), (2, 3))


def test_groups_merge_and_split_tracks(faces: Faces) -> None:
    apart = replace(faces, tracks=tuple(replace(each, group=each.id) for each in faces.tracks))
    made = edited(apart, Edits(groups={1: 0, 3: 7}))
    assert [track.group for track in made.tracks] == [0, 0, 2, 7, 4]


def test_tracks_in_one_sampled_frame_are_not_merged(faces: Faces) -> None:
    first, second = (replace(faces.tracks[n], group=n, detections=boxes(n, 5, 9)) for n in (0, 1))
    for edits in (Edits(groups={1: 0}), Edits(groups={0: 1}), Edits(groups={0: 7, 1: 7})):
        with pytest.raises(EngineError, match="tracks 0 and 1 are seen in one frame"):
            edited(replace(faces, tracks=(first, second)), edits)


def test_named_track_is_kept_only_for_a_known_person(faces: Faces) -> None:
    made = with_edits(faces.to_bytes(), Edits(decisions={3: "keep"}, people={3: "Ada", 4: "Bo"}), {"Ada"})
    tracks = Faces.from_bytes(made.document).tracks
    assert (tracks[3].person, tracks[4].person) == ("Ada", None)
    made = with_edits(faces.to_bytes(), Edits(decisions={3: "keep"}, people={3: "Bo"}), PEOPLE)
    assert made.unconsented_tracks == (3,)


def test_edits_are_read_as_they_were_written() -> None:
    edits = Edits(
        decisions={3: "hide"},
        first_id=7,
        added=(AddedTrack(boxes(4, 9), unconfirmed=((5, 6),), group=2),),
        moved={2: boxes(1, 2)},
        uncovered=frozenset({2}),
        groups={1: 0},
        people={1: "Ada", 2: None},
        different=frozenset({(3, 4)}),
    )
    assert Edits.from_bytes(edits.to_bytes()) == edits
    for broken in (b"{}x", b'{"decisions":{"1":"blur"}}', b'{"added":[{"detections":[]}]}', b'{"unknown":1}'):
        with pytest.raises(ValueError, match="validation error"):
            Edits.from_bytes(broken)


def test_later_edits_of_a_track_replace_earlier_ones() -> None:
    mask, face = AddedTrack(boxes(4, 9)), AddedTrack(boxes(1, 2), Origin.SEARCH)
    before = Edits({1: "keep", 2: "hide"}, 5, (mask,), {3: boxes(1, 2)}, frozenset({3}), {1: 0}, {1: "Ada"})
    later = Edits({1: "hide"}, 5, (face,), {3: boxes(1, 3)}, people={1: None})
    merged = before.merge(later)
    assert merged == Edits(
        {1: "hide", 2: "hide"}, 5, (mask, face), {3: boxes(1, 3)}, frozenset(), {1: 0}, {1: None}
    )
    assert merged.only_hiding() == Edits({1: "hide", 2: "hide"}, 5, (mask, face))
    with pytest.raises(ValueError, match="different reports"):
        before.merge(replace(later, first_id=7))


def test_later_edits_of_their_own_added_tracks_get_the_new_numbers() -> None:
    """Both requests call their added track 5. The earlier one keeps this number."""
    mask, face = AddedTrack(boxes(4, 9)), AddedTrack(boxes(1, 2), Origin.SEARCH)
    before = Edits({5: "hide"}, 5, (mask,))
    later = Edits({1: "hide", 5: "keep"}, 5, (face,), groups={5: 2}, people={5: "Ada"})
    expected = Edits({1: "hide", 5: "hide", 6: "keep"}, 5, (mask, face), groups={6: 2}, people={6: "Ada"})
    assert before.merge(later) == expected
    known = Edits({5: "keep"}, 6, (face,))  # it was made with the earlier track
    assert before.merge(known) == Edits({5: "keep"}, 5, (mask, face))
    assert before.merge(replace(known, first_id=None)) == Edits({5: "keep"}, 5, (mask, face))
