"""Tests of the check before encoding: which faces are masked, and followed beyond their detections."""

from dataclasses import replace
from pathlib import Path

import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.reader import Segment
from defacer.engine.models.arrays import Array, Detection
from defacer.engine.options import Options
from defacer.engine.rendering.mask_extension import MaskExtension
from defacer.engine.verification import check_ahead
from defacer.engine.verification.inspection import Detections
from defacer.engine.verification.release_gate import VerifiedSegment, redact_and_verify
from defacer.engine.verification.visible_faces import ClassifiedDetection, Masks, classify_detections
from defacer.report.faces import Faces
from defacer.report.tracks import TrackRecord
from tests.clips import astronaut
from tests.engine.scene_files import RATE, SECONDS, Shown, faces_in, track_of, write_scene

FRAMES = round(SECONDS * RATE)
LEFT, RIGHT = Shown(astronaut(), (40, 80), 200), Shown(astronaut(), (380, 80), 200)


def redact(scene: Path, engine: Engine, *tracks: TrackRecord) -> VerifiedSegment:
    out = scene.with_suffix(".nut")
    return redact_and_verify(Segment(str(scene)), faces_in(scene, *tracks), out, Options(), engine.checker)


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[TrackRecord]]:
    """Return the tracks that are followed before and after their detections, in the order of the calls."""
    calls: dict[str, list[TrackRecord]] = {"extend_before": [], "extend_after": []}
    for name, tracks in calls.items():
        real = getattr(MaskExtension, name)

        def record(
            extension: MaskExtension,
            track: TrackRecord,
            real: object = real,
            tracks: list[TrackRecord] = tracks,
        ) -> None:
            tracks.append(track)
            real(extension, track)  # type: ignore[operator]

        monkeypatch.setattr(MaskExtension, name, record)
    return calls


@pytest.mark.parametrize(("first", "last"), [(10, 30), (18, 18)])
def test_two_faces_found_at_one_time_are_both_followed(
    first: int, last: int, engine: Engine, tmp_path: Path, followed: dict[str, list[TrackRecord]]
) -> None:
    faces = [replace(face, first=first, last=last) for face in (LEFT, RIGHT)]
    redacted = redact(write_scene(tmp_path / "scene.mp4", faces), engine)
    assert redacted.checked is not None
    assert len(redacted.checked.tracks) == 2
    for tracks in followed.values():
        assert len(tracks) == 2
        assert tracks[0].detections[0].box != tracks[1].detections[0].box


def test_face_is_masked_beside_a_kept_one_that_continues_a_hidden_track(
    engine: Engine, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene.mp4", [LEFT, replace(RIGHT, first=15, last=35)])
    hidden = track_of(scene, LEFT, 3, "hide", 0, 10)
    kept = replace(track_of(scene, LEFT, 4, "keep", 12, FRAMES - 1), continues=3)
    redacted = redact(scene, engine, hidden, kept)
    assert redacted.checked is not None
    (track,) = redacted.checked.tracks
    assert track.id == 5


def test_error_of_the_detector_in_a_thread_fails_the_segment(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, calls = engine.checker(), iter(range(100))

    def fail_later(images: list[Array]) -> list[list[Detection]]:
        if next(calls) == 5:
            raise MemoryError("no memory for the detector")
        return [[] for _ in images]

    monkeypatch.setattr(detector, "detect", fail_later)
    with pytest.raises(MemoryError, match="no memory for the detector"):
        redact(write_scene(tmp_path / "scene.mp4", [RIGHT]), engine)


def test_face_in_the_last_frame_alone_is_masked(engine: Engine, tmp_path: Path) -> None:
    face = replace(RIGHT, first=FRAMES - 1)
    redacted = redact(write_scene(tmp_path / "scene.mp4", [face]), engine)
    assert redacted.checked is not None
    (track,) = redacted.checked.tracks
    assert track.end == redacted.written.frames[-1]


def test_each_searched_frame_is_classified_once(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classified: list[int] = []

    def record(found: Detections, faces: Faces, masks: Masks) -> dict[int, list[ClassifiedDetection]]:
        classified.extend(found)
        return classify_detections(found, faces, masks)

    monkeypatch.setattr(check_ahead, "classify_detections", record)
    redacted = redact(write_scene(tmp_path / "scene.mp4", [LEFT, RIGHT]), engine)
    assert redacted.checked is not None
    assert redacted.checked.tracks
    assert len(classified) == len(set(classified))
