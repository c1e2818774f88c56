"""Deciding anew in a document of faces, line by line, is what deciding anew in the faces is."""

import json
from dataclasses import replace

import pytest

from defacer.engine.errors import EngineError
from defacer.engine.tracking.compact_boxes import CompactBoxes
from defacer.engine.tracking.face_report import Faces, TargetWarning, Track
from defacer.engine.tracking.report_edit import with_decisions

PEOPLE = ("Ada", 'Eve "looks":[', "Zoë\n]}")


def track(number: int, person: str | None) -> Track:
    return Track(
        id=number,
        start=number,
        end=number + 10,
        decision="keep" if person else "hide",
        person=person,
        reason="near enough",
        distance=0.25,
        margin=None,
        continues=number - 1 if number else None,
        looks=CompactBoxes((pts, (1.5, 2.0, 30.1, 40.0)) for pts in (number, number + 10)),
    )


@pytest.fixture
def faces() -> Faces:
    return Faces(
        version=1,
        detector="centerface",
        recognizer="sface",
        match_threshold=0.7,
        width=64,
        height=48,
        time_base="1/25",
        frames=50,
        looks=10,
        shots=(3, 20),
        tracks=tuple(track(number, person) for number, person in enumerate((*PEOPLE, None, None))),
    )


@pytest.mark.parametrize(
    ("hide", "keep"), [((), ()), ((0,), ()), ((1, 2), (4,)), ((), (3, 4)), ((0, 1, 2, 3, 4), ())]
)
def test_it_is_what_deciding_anew_in_the_faces_is(
    hide: tuple[int, ...], keep: tuple[int, ...], faces: Faces
) -> None:
    wish = {**dict.fromkeys(hide, "hide"), **dict.fromkeys(keep, "keep")}
    made = with_decisions(faces.to_bytes(), wish, PEOPLE)
    assert made.document == faces.decided_anew(hide, keep).to_bytes()
    assert made.people == tuple(sorted(PEOPLE))
    assert made.strangers == ()


def test_warnings_end_when_a_person_decides(faces: Faces) -> None:
    warned = replace(faces, warnings=(TargetWarning("no-track-kept", PEOPLE[0], "No track.", 3),))
    assert Faces.from_json(json.loads(warned.to_bytes())) == warned
    assert with_decisions(warned.to_bytes(), {}, PEOPLE).document == warned.to_bytes()
    made = with_decisions(warned.to_bytes(), {3: "keep"}, PEOPLE).document
    assert made == warned.decided_anew((), (3,)).to_bytes()
    assert Faces.from_json(json.loads(made)).warnings == ()


def test_a_document_without_line_breaks_is_taken_too(faces: Faces) -> None:
    document = json.dumps(faces.to_json(), separators=(",", ":")).encode()
    assert b"\n" not in document
    made = with_decisions(document, {4: "keep"}, PEOPLE)
    assert made.document == faces.decided_anew((), (4,)).to_bytes()


def test_who_may_not_be_kept_is_told_and_a_hidden_track_loses_the_name(faces: Faces) -> None:
    made = with_decisions(faces.to_bytes(), {1: "hide", 3: "keep"}, ())
    assert made.strangers == (0, 2)
    assert made.people == ("Ada", PEOPLE[2])
    assert [track.person for track in Faces.from_bytes(made.document, None, None).tracks] == [
        "Ada",
        None,
        PEOPLE[2],
        None,
        None,
    ]


def test_a_video_without_faces_has_nothing_to_decide(faces: Faces) -> None:
    empty = replace(faces, tracks=()).to_bytes()
    assert with_decisions(empty, {}, ()).document == empty
    with pytest.raises(EngineError, match="no track 0; it has 0 tracks"):
        with_decisions(empty, {0: "keep"}, ())


def test_a_decision_by_hand_ends_the_number_of_strangers(faces: Faces) -> None:
    track = replace(faces.tracks[0], distance=0.9, strangers_per_10000=12)
    counted = replace(faces, tracks=(track, *faces.tracks[1:]))
    assert counted.decided_anew(hide=(), keep=(track.id,)).tracks[0].strangers_per_10000 is None
    made = with_decisions(counted.to_bytes(), {track.id: "keep"}, {"Ada", "Bo"})
    assert Faces.from_bytes(made.document, None, None).tracks[0].strangers_per_10000 is None


def test_a_report_with_an_unknown_recogniser_is_refused(faces: Faces) -> None:
    unknown = replace(faces, recognizer="casia-webface/20180408-102900/1")
    sentence = "the recogniser is 'casia-webface', allowed are sface, facenet-casia, facenet-vggface2"
    for read in (
        lambda: Faces.from_json(unknown.to_json()),
        lambda: Faces.from_bytes(unknown.to_bytes(), None, None),
        lambda: with_decisions(unknown.to_bytes(), {0: "hide"}, set()),
    ):
        with pytest.raises(EngineError, match=sentence):
            read()


def test_a_track_that_is_not_there_is_named(faces: Faces) -> None:
    with pytest.raises(EngineError, match="no track 7, 9; it has 5 tracks"):
        with_decisions(faces.to_bytes(), {9: "hide", 0: "hide", 7: "keep"}, PEOPLE)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{}",
        b"\n",
        b"[]\n]}",
        b'{"version":5,"tracks":[\n]}',
        b'{"version":1,"tracks":[\n',
        b'{"version":1,"tracks":[\n{"id":0}\n]}',
        b'{"version":1,"tracks":[\n{"id":0,"decision":"blur","person":null,"reason":"","looks":[]}\n]}',
        b'{"version":1,"tracks":[\n{"id":0,"decision":"hide","looks":[]}\n]}',
        b'{"version":1,"tracks":[\n[' + b"[" * 10_000 + b'"looks":[]}\n]}',
    ],
)
def test_what_is_no_document_of_faces_is_refused(broken: bytes) -> None:
    with pytest.raises(EngineError, match="report"):
        with_decisions(broken, {}, ())
