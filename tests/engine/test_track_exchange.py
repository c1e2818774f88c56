"""Tracks travel to annotation tools and back: MOT, CVAT and COCO."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from defacer.engine.corrections.track_exchange import (
    TrackImport,
    compute_frame_times,
    export_tracks,
    import_tracks,
)
from defacer.engine.errors import ArgumentError
from defacer.engine.tracking.report_edit import with_edits
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.edits import Edits
from defacer.report.exchange.formats import FormatName, parse_track_file
from defacer.report.exchange.track_file import TrackFileError
from defacer.report.faces import Faces
from defacer.report.tracks import Decision, Origin, Reason, TrackRecord

HASH = "ab" * 32
STEP, FRAMES = 512, 50
TIMES = [1024 + STEP * number for number in range(FRAMES)]
FORMATS: tuple[FormatName, ...] = ("mot", "cvat", "coco")


def track(
    number: int, decision: Decision, boxes: dict[float, Box], origin: Origin = Origin.DETECTOR
) -> TrackRecord:
    """Return a track with boxes at these frames. A part of a frame is a time between two of them."""
    found = CompactBoxes((round(1024 + STEP * frame), box) for frame, box in boxes.items())
    return TrackRecord(
        number,
        found[0].pts,
        found[-1].pts,
        decision,
        None,
        Reason.NO_MATCH,
        None,
        None,
        None,
        found,
        origin=origin,
    )


FACES = Faces(
    detector="centerface",
    recognizer=None,
    match_threshold=0.7,
    width=640,
    height=360,
    time_base="1/12800",
    frames=FRAMES,
    sampled_frames=10,
    start=TIMES[0],
    end=TIMES[-1],
    cuts=(),
    tracks=(
        track(
            0,
            "hide",
            {5: (10.3, 20, 60, 90.7), 9: (14, 20, 64, 90), 10: (14, 21, 65, 92), 20: (80, 20, 130, 90)},
        ),
        track(1, "keep", {0: (300, 50, 360, 140), 49: (320, 50, 380, 140)}),
        track(2, "hide", {30: (-20, 100, 40, 200), 49: (600, 300, 700, 400)}),
        track(
            3,
            "hide",
            {8: (1, 2, 50, 60), 8.002: (1, 2, 90, 99), 11.998: (1, 2, 90, 99), 12: (9, 9, 60, 70)},
            Origin.MANUAL,
        ),
    ),
)


def exported(form: FormatName, faces: Faces = FACES) -> str:
    return export_tracks(faces, HASH, form, compute_frame_times(faces))


def imported(text: str, faces: Faces = FACES) -> TrackImport:
    return import_tracks(parse_track_file(text.encode()), faces, HASH, TIMES)


def without(faces: Faces, *numbers: int) -> Faces:
    return replace(faces, tracks=tuple(one for one in faces.tracks if one.id not in numbers))


def with_track(changed: TrackRecord) -> Faces:
    return replace(FACES, tracks=tuple(changed if one.id == changed.id else one for one in FACES.tracks))


@pytest.mark.parametrize("form", FORMATS)
def test_unchanged_file_changes_nothing(form: FormatName) -> None:
    assert imported(exported(form)) == TrackImport(Edits(), {})


@pytest.mark.parametrize("form", FORMATS)
def test_missing_track_stays_as_it_is(form: FormatName) -> None:
    assert imported(exported(form, without(FACES, 0, 2))) == TrackImport(Edits(), {})


@pytest.mark.parametrize("form", FORMATS)
def test_larger_and_longer_boxes_are_moved(form: FormatName) -> None:
    larger = track(0, "hide", {2: (5, 10, 70, 110), 22: (5, 10, 140, 110)})
    found = imported(exported(form, with_track(larger)))
    assert (found.uncovered, found.edits.added, list(found.edits.moved)) == ({}, (), [0])
    (made, *_) = Faces.from_bytes(with_edits(FACES.to_bytes(), found.edits, None).document).tracks
    assert (made.start, made.end, made.decision) == (TIMES[2], TIMES[22], "hide")
    for frame in (2, 12, 22):
        assert made.detections.box_at(TIMES[frame]) == pytest.approx(
            larger.detections.box_at(TIMES[frame]), abs=0.2
        )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("boxes", "frames"),
    [
        ({5: (10, 20, 60, 91), 9: (14, 20, 64, 90)}, (10, 20)),  # it ends earlier
        (
            {5: (10, 20, 60, 91), 9: (14, 20, 64, 90), 20: (80, 20, 100, 40)},
            (10, 20),
        ),  # it is smaller in the end
    ],
)
def test_hidden_track_that_shrinks_is_listed(
    form: FormatName, boxes: dict[float, Box], frames: tuple[int, int]
) -> None:
    found = imported(exported(form, with_track(track(0, "hide", boxes))))
    first, last = (TIMES[frame] for frame in frames)
    assert found.uncovered.keys() == {0}
    assert abs(found.uncovered[0][0] - first) <= STEP
    assert found.uncovered[0][1] == last


@pytest.mark.parametrize("form", FORMATS)
def test_kept_track_that_leaves_its_old_boxes_is_listed(form: FormatName) -> None:
    away = exported(form, with_track(track(1, "keep", {5: (10, 20, 60, 91), 9: (14, 20, 64, 90)})))
    assert imported(away).uncovered == {1: (TIMES[5], TIMES[9])}
    shorter = exported(form, with_track(track(1, "keep", {20: (310, 60, 350, 120), 30: (315, 60, 360, 120)})))
    found = imported(shorter)
    assert (found.uncovered, list(found.edits.moved)) == ({}, [1])
    hidden = import_tracks(parse_track_file(shorter.encode()), FACES, HASH, TIMES, {1: "hide"})
    assert hidden.uncovered.keys() == {1}


@pytest.mark.parametrize("form", FORMATS)
def test_new_track_is_added_and_hidden(form: FormatName) -> None:
    new = track(4, "keep", {10: (200, 200, 260, 280), 12: (210, 200, 270, 280)})
    found = imported(exported(form, replace(FACES, tracks=(*FACES.tracks, new))))
    assert (found.edits.moved, found.edits.first_id) == ({}, 4)
    (added,) = found.edits.added
    assert (added.origin, added.decision) == (Origin.IMPORTED, "hide")
    assert (added.detections[0].pts, added.detections[-1].pts) == (TIMES[10], TIMES[12])
    assert added.detections.box_at(TIMES[11]) == pytest.approx((205, 200, 265, 280), abs=0.1)


@pytest.mark.parametrize("form", FORMATS)
def test_file_of_another_video_is_refused(form: FormatName) -> None:
    text = exported(form)
    for faces, fingerprint, times in ((FACES, "cd" * 32, TIMES), (FACES, HASH, TIMES[:-1])):
        with pytest.raises(ArgumentError, match="of another video"):
            import_tracks(parse_track_file(text.encode()), faces, fingerprint, times)


@pytest.mark.parametrize(
    ("form", "change"),
    [
        ("mot", lambda text: text.partition("\n")[2]),
        ("mot", lambda text: text.replace('"frames": 50', '"frames": "x"')),
        ("cvat", lambda text: text.replace("defacer ab", "task ab")),
        ("cvat", lambda text: re.sub("<size>.*?</size>", "", text)),
        ("coco", lambda text: json.dumps({**json.loads(text), "info": {}})),
    ],
)
def test_file_without_hash_or_frame_count_is_refused(form: FormatName, change: Callable[[str], str]) -> None:
    with pytest.raises(TrackFileError, match=r"Export it with `defacer tracks --format`"):
        imported(change(exported(form)))


@pytest.mark.parametrize(
    ("form", "old", "new"),
    [
        ("mot", "6,1,10.30", "6,1,x"),
        ("mot", "6,1,10.30", "600,1,10.30"),
        ("cvat", 'frame="5"', 'frame="-1"'),
        ("cvat", "<version>", '<!DOCTYPE x [<!ENTITY a "b">]><version>'),
        ("cvat", "</annotations>", ""),
        ("coco", '"image_id": 6,', '"image_id": 999,'),
        ("coco", '"bbox": [', '"bbox": [0, '),
    ],
)
def test_broken_files_are_refused(form: FormatName, old: str, new: str) -> None:
    text = exported(form)
    assert old in text
    with pytest.raises(TrackFileError):
        imported(text.replace(old, new))


def test_box_without_an_area_is_refused() -> None:
    with pytest.raises(TrackFileError, match="line 2 has a box without an area"):
        imported(exported("mot").partition("\n")[0] + "\n6,1,10,20,0,20,1,1,1\n")


def test_tracks_that_cvat_numbered_again_keep_their_numbers() -> None:
    text = re.sub(r'<track id="(\d)"', lambda match: f'<track id="{9 - int(match[1])}"', exported("cvat"))
    assert imported(text) == TrackImport(Edits(), {})
    cut = text.replace('<attribute name="track">1</attribute>', '<attribute name="track" />')
    assert [one.origin for one in imported(cut).edits.added] == [Origin.IMPORTED]


def test_parts_of_a_split_track_are_one_track_again() -> None:
    """An annotation tool cut track 0 in two, and both parts have its number."""
    boxes: dict[float, Box] = {5: (10.3, 20.0, 60.0, 90.7), 9: (14.0, 20.0, 64.0, 90.0)}
    rest: dict[float, Box] = {10: (14.0, 21.0, 65.0, 92.0), 20: (80.0, 20.0, 130.0, 90.0)}
    parts = (track(0, "hide", boxes), track(0, "hide", rest))
    text = exported("cvat", replace(FACES, tracks=(*parts, *FACES.tracks[1:])))
    assert imported(text) == TrackImport(Edits(), {})


def test_frame_numbers_need_a_constant_rate_or_the_video() -> None:
    assert compute_frame_times(FACES) == TIMES
    uneven = with_track(track(0, "hide", {5: (10, 20, 60, 90), 9.4: (14, 20, 64, 90)}))
    with pytest.raises(ArgumentError, match="--video IN"):
        compute_frame_times(uneven)
    with pytest.raises(ArgumentError, match="--video IN"):
        compute_frame_times(replace(FACES, start=None))
