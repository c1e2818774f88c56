"""`defacer probe`: what a video is and what its result has, before anything runs."""

import json
from pathlib import Path

from tests.commands.conftest import Run
from tests.inputs.write_video import Sound, Video, write


def test_probe_lists_kept_tracks_and_dropped_data(tmp_path: Path, defacer: Run) -> None:
    video = write(tmp_path / "in.mp4", Video(sound=(Sound(language="eng"),), cover=True, seconds=0.4))
    shown = defacer("probe", video)
    assert shown.code == 0
    assert "kept       picture: h264, 320x180, yuv420p, 25 frames a second" in shown.out
    assert "kept       sound track 1: aac, 48000 Hz, stereo, eng" in shown.out
    assert "dropped    cover picture" in shown.out


def test_probe_as_json_has_the_codes_of_changes(tmp_path: Path, defacer: Run) -> None:
    video = write(tmp_path / "in.mp4", Video(sound=(), cover=True, seconds=0.4))
    found = json.loads(defacer("probe", video, "--json").out)
    assert found["refused"] is None
    assert found["changes"] == [{"action": "dropped", "code": "dropped-cover", "text": "cover picture"}]


def test_probe_of_a_refused_file_names_the_reason(tmp_path: Path, defacer: Run) -> None:
    text = tmp_path / "in.mp4"
    text.write_text("hello " * 1000)
    shown = defacer("probe", text)
    assert shown.code == 1
    assert "refused    it is not a video" in shown.out
    found = json.loads(defacer("probe", text, "--json").out)
    assert found["refused"]["code"] == "not-a-video"
