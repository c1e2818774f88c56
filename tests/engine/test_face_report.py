"""The document of faces, read whole and for one segment, on synthetic tracks."""

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from defacer.engine.errors import EngineError
from defacer.engine.rendering.box_motion import SPEED_SECONDS
from defacer.engine.rendering.mask_extension import MAX_AFTER_SECONDS, MAX_BEFORE_SECONDS
from defacer.engine.rendering.masks import LEAD_SECONDS, TAIL_SECONDS, MaskSchedule
from defacer.engine.tracking.face_report import MASK_REACH_SECONDS, read_faces_between
from defacer.engine.tracking.tracker import LOST_SECONDS
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.json_lines import join_report, split_report
from defacer.report.tracks import VERSION, Decision, Reason, TrackRecord

RATE, FRAMES, SEGMENT = 100, 6000, 500


@pytest.fixture
def faces() -> Faces:
    """Return tracks of up to four seconds. Some continue the one before after a gap of up to LOST_SECONDS."""
    random = np.random.default_rng(7)
    tracks: list[TrackRecord] = []
    for number in range(60):
        before = tracks[-1] if tracks and random.random() < 0.6 else None
        gap = int(random.integers(1, round(LOST_SECONDS * RATE)))
        start = before.end + gap if before else int(random.integers(0, FRAMES))
        times = range(start, start + int(random.integers(9, 400)), 9)
        detections = CompactBoxes((pts, (pts % 700, 20, pts % 700 + 50, 90)) for pts in times)
        decision: Decision = "hide" if random.random() < 0.7 else "keep"
        continues = before.id if before else None
        tracks.append(
            TrackRecord(
                number, start, times[-1], decision, None, Reason.NO_MATCH, None, None, continues, detections
            )
        )
    shots = (700, 2400, 2420)
    return Faces("centerface", None, 0.7, 1000, 500, f"1/{RATE}", FRAMES, 9, shots, tuple(tracks))


def boxes(faces: Faces, times: range) -> dict[int, list[Box]]:
    cover = MaskSchedule(faces)
    return {pts: sorted(cover.boxes(pts)) for pts in times}


def test_the_tracks_read_for_a_segment_mask_it_like_all_tracks(faces: Faces) -> None:
    """A worker reads only the tracks that its segment needs."""
    stored = faces.to_bytes()
    whole = boxes(faces, range(FRAMES))
    for start in range(0, FRAMES, SEGMENT):
        part = read_faces_between(stored, start, start + SEGMENT)
        assert len(part.tracks) < len(faces.tracks) / 2
        there = boxes(part, range(start, start + SEGMENT))
        assert any(there.values())
        assert there == {pts: whole[pts] for pts in there}


def test_tracks_read_for_a_segment_reach_beyond_all_masks() -> None:
    assert max(LEAD_SECONDS, TAIL_SECONDS, LOST_SECONDS) + SPEED_SECONDS < MASK_REACH_SECONDS
    assert max(MAX_AFTER_SECONDS, MAX_BEFORE_SECONDS) < MASK_REACH_SECONDS
    assert MASK_REACH_SECONDS > 2 * LOST_SECONDS  # the largest gap between detections of a track


def test_a_segment_reads_only_its_detections_of_an_hours_long_track() -> None:
    detections = CompactBoxes((pts, (pts % 700, 20, pts % 700 + 50, 90)) for pts in range(0, 720_000, 20))
    track = TrackRecord(0, 0, detections[-1].pts, "hide", None, Reason.NO_MATCH, None, None, None, detections)
    whole = Faces("centerface", None, 0.7, 1000, 500, f"1/{RATE}", 720_000, 9, (), (track,))
    stored = whole.to_bytes()
    for start, end in (
        (None, 1000),
        (300_000, 301_000),
        (300_003, 300_004),
        (719_000, None),
        (719_990, None),
    ):
        part = read_faces_between(stored, start, end)
        assert len(part.tracks[0].detections) <= (10 + 2 * MASK_REACH_SECONDS) * 5 + 2
        times = range(start or 0, end or 720_050)
        assert boxes(part, times) == boxes(whole, times)


def test_stored_faces_are_read_back(faces: Faces) -> None:
    assert Faces.from_bytes(faces.to_bytes()) == faces
    assert read_faces_between(faces.to_bytes()) == faces


def test_each_line_is_json_and_the_last_one_counts_the_tracks(faces: Faces) -> None:
    head, *tracks, last = [json.loads(line) for line in faces.to_bytes().splitlines()]
    assert (head["version"], head["cuts"]) == (VERSION, [700, 2400, 2420])
    assert [track["id"] for track in tracks] == list(range(60))
    assert tracks[0]["detections"][0].keys() == {"pts", "box"}
    assert last["tracks"] == 60


@pytest.mark.parametrize(
    "cut",
    [
        lambda data: b"",
        lambda data: b"{}",
        lambda data: data[: data.rindex(b"{")],
        lambda data: data[: data.index(b"\n") + 1],
        lambda data: data[: len(data) // 2],
    ],
)
def test_a_report_without_its_last_line_is_refused(cut: Callable[[bytes], bytes], faces: Faces) -> None:
    with pytest.raises(EngineError, match=r"last line .*[Ff]etch it again"):
        read_faces_between(cut(faces.to_bytes()), 0, FRAMES)


def test_a_report_with_a_changed_or_missing_track_is_refused(faces: Faces) -> None:
    stored = faces.to_bytes()
    lines = stored.splitlines(keepends=True)
    for data in (stored.replace(b'"hide"', b'"keep"', 1), b"".join(lines[:4] + lines[5:])):
        with pytest.raises(EngineError, match="does not match its tracks"):
            read_faces_between(data, 0, FRAMES)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b'{"id":1}',
        b"[" * 100_000,
        b'{"id":1,"start":0,"end":0,"decision":"blur","person":null,"reason":"manual","distance":null,"margin":null,'
        b'"continues":null,"detections":[{"pts":0,"box":[1,2,3,4]}]}',
        b'{"id":1,"start":0,"end":0,"decision":"hide","person":null,"reason":"manual","distance":null,"margin":null,'
        b'"continues":null,"detections":[]}',
    ],
)
def test_a_line_that_is_not_a_track_is_refused(line: bytes, faces: Faces) -> None:
    head, _ = split_report(faces.to_bytes())
    with pytest.raises(EngineError, match="a line is not a track"):
        read_faces_between(join_report(head, [line + b"\n"]))


def test_a_head_of_another_version_is_refused(faces: Faces) -> None:
    head, lines = split_report(faces.to_bytes())
    with pytest.raises(EngineError, match="not a report of this version"):
        read_faces_between(join_report(head.replace(b'"version":7', b'"version":8'), lines))


def test_a_long_report_is_read_in_the_memory_of_one_track() -> None:
    boxes = CompactBoxes((pts, (1.5, 2.5, 3.5, 4.5)) for pts in range(1000))
    track = TrackRecord(0, 0, 999, "hide", None, Reason.NO_MATCH, None, None, None, boxes)
    tracks = (replace(track, id=number, start=number * RATE, end=number * RATE) for number in range(100))
    whole = Faces("centerface", None, 0.7, 1000, 500, f"1/{RATE}", FRAMES, 9, (), tuple(tracks))
    stored = whole.to_bytes()
    assert len(stored) > 3_500_000
    del whole
    tracemalloc.start()
    try:
        part = read_faces_between(stored, 5000, 5001)
        assert tracemalloc.get_traced_memory()[1] < 1_750_000
    finally:
        tracemalloc.stop()
    assert 0 < len(part.tracks) < 20
