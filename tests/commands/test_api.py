"""The Python API: `defacer.redact`, `defacer.Report`, `defacer.Options` and `defacer.EngineError`."""

import subprocess
import sys
from pathlib import Path

import pytest

import defacer
from tests.clips import Clip, astronaut, encode_picture, write_clip


def test_redact_hides_and_keeps_and_returns_the_report(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", Clip(seconds=0.4, portrait=astronaut()))
    me = tmp_path / "ann.png"
    me.write_bytes(encode_picture(astronaut()))
    stages = []

    hidden = defacer.redact(video, options=defacer.Options(verify="off"))
    kept = defacer.redact(
        video, tmp_path / "kept.mp4", keep=[me], progress=lambda stage, done, total: stages.append(stage)
    )

    assert {track.decision for track in hidden.tracks} == {"hide"}
    assert (tmp_path / "in.defaced.mp4").is_file()
    assert ("keep", "ann") in [(track.decision, track.person) for track in kept.tracks]
    assert list(dict.fromkeys(stages)) == ["detecting faces", "redacting faces"]
    kept.write(tmp_path / "kept.jsonl")
    assert defacer.Report.read(tmp_path / "kept.jsonl").tracks == kept.tracks

    with pytest.raises(defacer.EngineError, match=r"in\.defaced\.mp4 already exists"):
        defacer.redact(video)


def test_options_are_checked_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "in.mp4").touch()
    with pytest.raises(defacer.EngineError, match="strength is 7, allowed are 1 to 3"):
        defacer.redact(tmp_path / "in.mp4", options=defacer.Options(strength=7))
    with pytest.raises(
        defacer.EngineError, match="mode is 'blurr', allowed are blur, pixelate, solid, image"
    ):
        defacer.redact(tmp_path / "in.mp4", options=defacer.Options(mode="blurr"))  # type: ignore[arg-type]


def test_import_loads_no_other_module_of_the_project_or_numpy() -> None:
    code = "import sys, defacer; print(*sys.modules); assert 'redact' in dir(defacer)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert [name for name in loaded if name.startswith("defacer.")] == []
    assert not loaded & {"numpy", "av", "cv2", "pydantic", "typer"}


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'defacer' has no attribute 'redakt'"):
        _ = defacer.redakt
