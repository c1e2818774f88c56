"""Faces as they are stored: read whole, or for one segment; on tracks that are made up."""

import numpy as np
import pytest

from defacer.engine.errors import EngineError
from defacer.engine.rendering.box_motion import SPEED_SECONDS
from defacer.engine.rendering.mask_extension import MAX_AFTER_SECONDS, MAX_BEFORE_SECONDS
from defacer.engine.rendering.masks import LEAD_SECONDS, TAIL_SECONDS, MaskSchedule
from defacer.engine.tracking.compact_boxes import CompactBoxes
from defacer.engine.tracking.face_report import COVERED_SECONDS, Box, Faces, Track
from defacer.engine.tracking.tracker import LOST_SECONDS
from defacer.pipeline.documents import report

RATE, FRAMES, SEGMENT = 100, 6000, 500


@pytest.fixture
def faces() -> Faces:
    """Tracks of up to four seconds, some of which go on from the one before after up to LOST_SECONDS."""
    random = np.random.default_rng(7)
    tracks: list[Track] = []
    for number in range(60):
        before = tracks[-1] if tracks and random.random() < 0.6 else None
        gap = int(random.integers(1, LOST_SECONDS * RATE))
        start = before.end + gap if before else int(random.integers(0, FRAMES))
        times = range(start, start + int(random.integers(9, 400)), 9)
        looks = CompactBoxes((pts, (pts % 700, 20, pts % 700 + 50, 90)) for pts in times)
        decision = "hide" if random.random() < 0.7 else "keep"
        continues = before.id if before else None
        tracks.append(Track(number, start, times[-1], decision, None, "", None, None, continues, looks))
    shots = (700, 2400, 2420)
    return Faces(1, "centerface", None, 0.7, 1000, 500, f"1/{RATE}", FRAMES, 9, shots, tuple(tracks))


def boxes(faces: Faces, times: range) -> dict[int, list[Box]]:
    schedule = MaskSchedule(faces)
    return {pts: sorted(schedule.boxes(pts)) for pts in times}


def test_a_segment_s_tracks_cover_there_what_all_of_them_cover(faces: Faces) -> None:
    """A worker reads no more of the faces than its segment needs."""
    stored = faces.to_bytes()
    whole = boxes(faces, range(FRAMES))
    for start in range(0, FRAMES, SEGMENT):
        part = Faces.from_bytes(stored, start, start + SEGMENT)
        assert len(part.tracks) < len(faces.tracks) / 2
        there = boxes(part, range(start, start + SEGMENT))
        assert any(there.values())
        assert there == {pts: whole[pts] for pts in there}


def test_tracks_read_for_a_segment_reach_beyond_all_masks() -> None:
    assert max(LEAD_SECONDS, TAIL_SECONDS, LOST_SECONDS) + SPEED_SECONDS < COVERED_SECONDS
    assert max(MAX_AFTER_SECONDS, MAX_BEFORE_SECONDS) < COVERED_SECONDS
    assert COVERED_SECONDS > 2 * LOST_SECONDS  # looks of a track are no farther apart


def test_of_a_face_that_is_there_for_hours_a_segment_reads_its_own_looks() -> None:
    looks = CompactBoxes((pts, (pts % 700, 20, pts % 700 + 50, 90)) for pts in range(0, 720_000, 20))
    track = Track(0, 0, looks[-1].pts, "hide", None, "", None, None, None, looks)
    whole = Faces(1, "centerface", None, 0.7, 1000, 500, f"1/{RATE}", 720_000, 9, (), (track,))
    stored = whole.to_bytes()
    for start, end in (
        (None, 1000),
        (300_000, 301_000),
        (300_003, 300_004),
        (719_000, None),
        (719_990, None),
    ):
        part = Faces.from_bytes(stored, start, end)
        assert len(part.tracks[0].looks) <= (10 + 2 * COVERED_SECONDS) * 5 + 2
        times = range(start or 0, end or 720_050)
        assert boxes(part, times) == boxes(whole, times)


def test_what_is_stored_comes_back(faces: Faces) -> None:
    assert Faces.from_bytes(faces.to_bytes(), None, None) == faces
    assert Faces.from_json(faces.to_json()) == faces


def test_what_the_engine_stores_is_what_the_contract_says(faces: Faces) -> None:
    stored = report.Faces.model_validate_json(faces.to_bytes())
    assert Faces.from_json(stored.model_dump()) == faces


def test_damaged_faces_are_refused(faces: Faces) -> None:
    stored = faces.to_bytes()
    for data in (
        b"",
        b"{}",
        b"[]",
        stored[:-9],
        stored.replace(b'"id":7', b'"no":7'),
        stored.replace(b"pts", b"p"),
    ):
        with pytest.raises(EngineError, match="not a report"):
            Faces.from_bytes(data, 0, FRAMES)
    with pytest.raises(EngineError, match="version 7"):
        Faces.from_bytes(stored.replace(b'"version":1', b'"version":7'), 0, FRAMES)
