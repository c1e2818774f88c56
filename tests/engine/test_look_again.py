"""A new search of a time span finds the faces that have no track yet."""

from dataclasses import replace
from pathlib import Path

import pytest

from defacer.engine.corrections import look_again as search
from defacer.engine.corrections.span_search import TimeSpan
from defacer.engine.engine import Engine
from defacer.engine.rendering.box_motion import compute_overlap
from defacer.report.faces import Faces
from defacer.report.tracks import Origin
from tests.clips import astronaut, frame_times
from tests.engine.scene_files import Shown, faces_in, track_of, write_scene

LEFT, RIGHT = Shown(astronaut(), (40, 80), 200), Shown(astronaut(), (380, 80), 200)
BRIEF = Shown(astronaut(), (380, 80), 200, 20, 25)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.mp4", [LEFT, BRIEF], seconds=1.2)


def span_of(path: Path, faces: Faces, first: int = 0, last: int = 29) -> TimeSpan:
    unit = frame_times(path)[1]
    return TimeSpan(str(path), faces, first * unit, last * unit)


def test_only_faces_without_a_track_are_found_and_hidden(scene: Path, engine: Engine) -> None:
    faces = faces_in(scene, track_of(scene, LEFT, 0, "hide", 0, 29))
    (found,) = engine.look_again(span_of(scene, faces))
    unit = frame_times(scene)[1]
    assert (found.origin, found.decision) == (Origin.SEARCH, "hide")
    assert 20 <= found.detections[0].pts / unit <= found.detections[-1].pts / unit <= 25
    assert compute_overlap(found.detections[0].box, RIGHT.face) > 0.4
    both = engine.look_again(span_of(scene, replace(faces, tracks=())))
    assert len(both) == 2
    assert engine.look_again(span_of(scene, faces, 0, 15)) == []


def test_likeliest_faces_are_offered_first_up_to_the_limit(
    scene: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = faces_in(scene)
    both = engine.look_again(span_of(scene, faces))
    monkeypatch.setattr(search, "MAX_FOUND", 1)
    assert engine.look_again(span_of(scene, faces)) == both[:1]
