"""`defacer run` needs nothing that only Linux has, and accepts every file name.

These tests run on Linux, with what macOS or Windows lack taken away (`elsewhere/sitecustomize.py`).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from defacer.engine.models import weights
from tests.clips import Clip, admiral, astronaut, encode_picture, write_clip
from tests.heif import HeifFile

ELSEWHERE = Path(__file__).with_name("elsewhere")
CLIP = Clip(seconds=0.4, portrait=admiral()[:400, 60:460])


def run_elsewhere(
    *arguments: str | Path, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of `defacer` as on a system without what only Linux has."""
    command = [sys.executable, "-m", "defacer", *arguments]
    encoding = environment.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
    given = {**os.environ, "PYTHONPATH": str(ELSEWHERE), **environment}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, encoding=encoding, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to find open files")
def test_video_is_redacted_without_what_only_linux_has(tmp_path: Path) -> None:
    """No POSIX module, no POSIX signal or timer, no rename or delete of an open file, and an output in one code page.

    The folders and files have spaces and letters of several scripts, and the weights are in such a folder too.
    """
    folder = tmp_path / "mein Ordner 東京 файлы"
    person = folder / "アン Lee"
    person.mkdir(parents=True)
    shutil.copytree(weights.default_dir(), folder / "модели ü")
    write_clip(folder / "クリップ 1.mp4", CLIP)
    (person / "Фото 1.HEIC").write_bytes(HeifFile(admiral(), columns=2, rows=2).to_bytes())
    (person / "Фото 2.png").write_bytes(encode_picture(admiral()[:400, 60:460]))
    (folder / "smiley 😀.png").write_bytes(encode_picture(astronaut()))

    done = run_elsewhere(
        *("run", "クリップ 1.mp4", "--keep", "アン Lee", "--report", "berïcht 1.jsonl"),
        *("--replacement", "smiley 😀.png", "--mode", "image"),
        folder=folder,
        DEFACER_WEIGHTS_DIR="модели ü",
        PYTHONIOENCODING="cp1252",
    )

    assert done.returncode == 0, done.stderr
    assert "1 track: 1 kept (\\u30a2\\u30f3 Lee), 0 hidden" in done.stdout
    assert (folder / "クリップ 1.defaced.mp4").stat().st_size > 1000
    *_, track, _ = (folder / "berïcht 1.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(track)["person"] == "アン Lee"
    assert not [path for path in folder.iterdir() if path.name.startswith("defacer-")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow only text in names")
def test_any_file_name_is_accepted_and_printable(tmp_path: Path) -> None:
    """FFmpeg takes the start of some names for a protocol. Names that are not text are printed escaped."""
    names = [
        os.fsdecode(name)
        for name in (b"caf\xe9.mp4", b"12:30.mp4", b"-dash.mp4", b"http:x.mp4", b"file:[x].mp4")
    ]
    clip = write_clip(tmp_path / "clip.mp4", Clip(seconds=0.2))
    for name in names:
        shutil.copy(clip, tmp_path / name)

    done = run_elsewhere(
        *("run", "--verify", "off", "--", *names), folder=tmp_path, PYTHONIOENCODING="utf-8:strict"
    )

    assert done.returncode == 0, done.stderr
    for name in names:
        out = f"{Path(name).stem}.defaced.mp4"
        assert f"{out}: 5 frames".encode(errors="backslashreplace").decode() in done.stdout
        assert (tmp_path / out).stat().st_size > 1000
