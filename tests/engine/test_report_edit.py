"""Other decisions in a document of faces."""

from dataclasses import replace

import pytest

from defacer.engine.errors import EngineError
from defacer.engine.tracking.face_report import read_faces_between
from defacer.engine.tracking.report_edit import with_decisions
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Reason, TargetWarning, TrackRecord

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


@pytest.mark.parametrize(
    ("hide", "keep"), [((), ()), ((0,), ()), ((1, 2), (4,)), ((), (3, 4)), ((0, 1, 2, 3, 4), ())]
)
def test_decided_tracks_change_and_all_others_stay(
    hide: tuple[int, ...], keep: tuple[int, ...], faces: Faces
) -> None:
    made = with_decisions(
        faces.to_bytes(), {**dict.fromkeys(hide, "hide"), **dict.fromkeys(keep, "keep")}, PEOPLE
    )
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
    assert with_decisions(warned.to_bytes(), {}, PEOPLE).document == warned.to_bytes()
    made = with_decisions(warned.to_bytes(), {3: "keep"}, PEOPLE).document
    assert Faces.from_bytes(made).warnings == ()


def test_a_decision_removes_the_rival_that_the_reason_named(faces: Faces) -> None:
    rival = replace(faces.tracks[3], reason=Reason.RIVAL_NEARER, rival=1)
    made = with_decisions(replace(faces, tracks=(rival,)).to_bytes(), {3: "keep"}, PEOPLE)
    assert Faces.from_bytes(made.document).tracks[0].rival is None


def test_a_track_whose_consent_was_withdrawn_is_never_kept_again(faces: Faces) -> None:
    forgotten = replace(faces.tracks[3], reason=Reason.CONSENT_WITHDRAWN)
    document = replace(faces, tracks=(forgotten,)).to_bytes()
    made = with_decisions(document, {3: "keep"}, PEOPLE)
    assert (made.unconsented_tracks, made.document) == ((3,), document)


def test_unconsented_tracks_are_listed_and_hidden_ones_lose_the_name(faces: Faces) -> None:
    made = with_decisions(faces.to_bytes(), {1: "hide", 3: "keep"}, ())
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
    assert with_decisions(empty, {}, ()).document == empty
    with pytest.raises(EngineError, match="no track 0; it has 0 tracks"):
        with_decisions(empty, {0: "keep"}, ())


def test_a_manual_decision_removes_the_number_of_strangers(faces: Faces) -> None:
    track = replace(faces.tracks[0], distance=0.9, strangers_per_10000=12)
    counted = replace(faces, tracks=(track, *faces.tracks[1:]))
    made = with_decisions(counted.to_bytes(), {track.id: "keep"}, {"Ada", "Bo"})
    assert Faces.from_bytes(made.document).tracks[0].strangers_per_10000 is None


def test_a_report_with_an_unknown_recognizer_is_refused(faces: Faces) -> None:
    unknown = replace(faces, recognizer="casia-webface/20180408-102900/1")
    sentence = "the recognizer is 'casia-webface', allowed are sface, facenet-casia, facenet-vggface2"
    with pytest.raises(EngineError, match=sentence):
        read_faces_between(unknown.to_bytes())
    with pytest.raises(EngineError, match=sentence):
        with_decisions(unknown.to_bytes(), {0: "hide"}, set())


def test_a_decision_for_a_missing_track_names_it(faces: Faces) -> None:
    with pytest.raises(EngineError, match="no track 7, 9; it has 5 tracks"):
        with_decisions(faces.to_bytes(), {9: "hide", 0: "hide", 7: "keep"}, PEOPLE)


@pytest.mark.parametrize("broken", [b"", b"{}", b"\n", b"[]\n]}", b'{"version":6,"tracks":[\n]}'])
def test_other_documents_are_refused(broken: bytes) -> None:
    with pytest.raises(EngineError, match="report"):
        with_decisions(broken, {}, ())
