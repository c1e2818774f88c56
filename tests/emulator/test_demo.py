"""`defacer emulator demo`: which files it leaves."""

from pathlib import Path

import pytest

from defacer.commands.app import main
from defacer.pipeline.errors import RetryableError
from defacer_emulator.commands import demo
from defacer_emulator.emulator import EmulatorOptions
from tests.clips import Clip, write_clip


@pytest.mark.parametrize(
    "error", [RetryableError("storage ended"), OSError(28, "No space left"), ValueError()]
)
def test_demo_deletes_the_uploaded_video_after_any_error(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=1))

    def fail(_upload: object, options: EmulatorOptions, _waiting: object) -> None:
        (options.state / "logs").mkdir()
        (options.state / "storage" / "intake").mkdir(parents=True)
        (options.state / "storage" / "intake" / "walk.mp4").write_bytes(video.read_bytes())
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_redact", fail)

    assert main(["emulator", "demo", "--video", str(video)]) == 1

    (state,) = (tmp_path / "demo").glob("emulator-*")
    assert [path.name for path in state.iterdir()] == ["logs"]
