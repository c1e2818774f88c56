"""The Python API: `redact`, `render`, `Report`, `Options` and `EngineError` of `defacer`."""

import subprocess
import sys
from pathlib import Path

import pytest

import defacer
from tests.clips import Clip, admiral, astronaut, encode_picture, write_clip


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
    assert list(dict.fromkeys(stages)) == [
        "detecting faces",
        "redacting faces",
        "checking the result",
        "joining picture and sound",
    ]
    kept.write(tmp_path / "kept.jsonl")
    assert defacer.Report.read(tmp_path / "kept.jsonl").tracks == kept.tracks

    with pytest.raises(defacer.EngineError, match=r"in\.defaced\.mp4 already exists"):
        defacer.redact(video)


def test_person_of_the_video_is_kept_and_then_hidden_by_number(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", Clip(seconds=0.4, portrait=admiral()[:400, 60:460]))
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "ann.png").write_bytes(encode_picture(astronaut()))
    stages = []

    kept = defacer.redact(
        video,
        keep_people=tmp_path / "people",
        keep_at=[0.2],
        progress=lambda stage, done, total: stages.append(stage),
    )
    [track] = kept.tracks
    assert (track.decision, track.person) == ("keep", "person at 0:00.2")
    assert [warning.person for warning in kept.warnings] == ["ann"]
    assert any(stage.startswith("the face at 0:00.2 is kept: middle (") for stage in stages)

    kept.write(tmp_path / "in.report.jsonl")
    again = defacer.render(video, tmp_path / "in.report.jsonl", tmp_path / "again.mp4", hide=[track.id])
    assert [(found.decision, found.reason) for found in again.tracks] == [("hide", "manual")]
    with pytest.raises(defacer.EngineError, match="Track 0 can't be hidden and kept at once"):
        defacer.render(video, kept, tmp_path / "more.mp4", hide=[0], keep=[0])


@pytest.mark.parametrize("becomes", ["another video", "deleted", "half"])
def test_video_that_changes_during_the_run_is_not_published(becomes: str, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", Clip(seconds=0.4, portrait=astronaut()))
    other = write_clip(tmp_path / "other.mp4", Clip(seconds=0.4, portrait=admiral()[:400, 60:460]))

    def change(stage: str, _done: int, _total: int | None) -> None:
        if stage == "redacting faces" and other.exists():
            if becomes == "half":
                other.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
            other.replace(video)
            if becomes == "deleted":
                video.unlink()

    options = defacer.Options(verify="off")
    with pytest.raises(
        defacer.EngineError, match=r"in\.mp4: it was changed, replaced or deleted during the run"
    ):
        defacer.redact(video, options=options, progress=change)
    assert not (tmp_path / "in.defaced.mp4").exists()


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
