"""`make demo` rejects invalid arguments before it installs anything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from defacer.engine.options import MODES
from defacer.pipeline.documents.manifest import Policy
from defacer_emulator.setup.preflight import main
from tests.clips import Clip, astronaut, encode_picture, write_clip
from tests.servers import ROOT

VIDEO = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create files of several kinds in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("in.mp4").write_bytes(VIDEO)
    Path("empty.mp4").touch()
    Path("text.mp4").write_text("not a video\n")
    Path("page.mp4").write_bytes(b"%PDF-1.7\n\xff")
    Path("me.png").write_bytes(encode_picture(astronaut()))
    Path("video.png").write_bytes(VIDEO)
    Path("bitmap.jpg").write_bytes(b"BM\x00\x00\x00\x00")
    Path("out.mp4").touch()
    shutil.copy("me.png", "photo.mp4")
    shutil.copy("me.png", ".me.png")
    shutil.copy("in.mp4", "in.part")
    Path("folder.mp4").mkdir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--video=none.mp4"], "The video none.mp4 does not exist."),
        (["--video=folder.mp4"], "The video folder.mp4 is a folder, not a file."),
        (["--video=empty.mp4"], "The video empty.mp4 is empty."),
        (["--video=text.mp4"], "The video text.mp4 is a document. Choose a video file, such as an MP4."),
        (["--video=page.mp4"], "The video page.mp4 is a document. Choose a video file, such as an MP4."),
        (["--video=me.png"], "The video me.png is a picture. Choose a video file, such as an MP4."),
        (["--video=photo.mp4"], "The video photo.mp4 is a picture. Choose a video file, such as an MP4."),
        (["--video=in.mp4", "--target=none.png"], "The target picture none.png does not exist."),
        (["--target=video.png"], "The target picture video.png is not a picture that can be read."),
        (["--target=bitmap.jpg"], "The target picture bitmap.jpg is not a picture that can be read."),
        (["--target=.me.png"], "The target picture .me.png names no person, because it starts with a dot."),
        (
            ["--video=in.part"],
            "'in.part' can't be uploaded into channel 'demo': files of this name are by-products",
        ),
        (["--mode=blurr"], "The mode 'blurr' is unknown. Choose one of blur, pixelate, solid, image."),
        (["--mode=image"], "Mode image needs a picture: add --replacement PICTURE.png"),
        (["--mode=image", "--replacement=in.mp4"], "The replacement picture in.mp4 is not a picture"),
        (["--out=out.avi"], "The result is an MP4: name it out.mp4, not out.avi."),
        (["--out=none/out.mp4"], "The folder none for out.mp4 does not exist."),
        (["--out=out.mp4"], "out.mp4 already exists. Name another file, or add FORCE=1 to replace it."),
        (["--video=in.mp4", "--out=in.mp4"], "in.mp4 is also an input and would be overwritten"),
    ],
)
def test_invalid_argument_is_rejected_with_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    output = capsys.readouterr()
    assert output.err.startswith(f"make demo: {message}")
    assert output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_video_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.mp4").chmod(0)
    assert main(["--video=in.mp4"]) == 2
    assert "The video in.mp4 can't be read: Permission denied." in capsys.readouterr().err


def test_valid_and_missing_arguments_pass(tmp_path: Path) -> None:
    write_clip(tmp_path / "real.mkv", Clip(seconds=0.2))

    assert main([]) == 0
    assert main(["--video=", "--target=", "--mode=", "--replacement=", "--out="]) == 0
    assert main(["--video=real.mkv", "--target=me.png", "--mode=pixelate", "--out=new.mp4"]) == 0
    assert main(["--out=out.mp4", "--force"]) == 0
    assert main(["--video=in.mp4", "--mode=image", "--replacement=me.png"]) == 0


def test_policy_modes_are_those_of_the_commands() -> None:
    assert Policy.model_json_schema()["properties"]["mode"]["enum"] == list(MODES)


def test_make_demo_checks_its_arguments_before_it_installs(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    command = [
        "make",
        "--no-print-directory",
        f"VENV={venv}",
        f"PYTHON={sys.executable}",
        "demo",
        "VIDEO=none.mp4",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "make demo: The video none.mp4 does not exist." in done.stderr
    assert done.stdout == ""
    assert not venv.exists()


def test_make_passes_file_names_with_special_characters(tmp_path: Path) -> None:
    video = write_clip(tmp_path / """Cost $5 it's "x" `touch y` $(HOME).mkv""", Clip(seconds=0.2))
    command = ["make", f"VENV={tmp_path}", f"PYTHON={sys.executable}", "check-demo", f"VIDEO={video}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_preflight_imports_the_standard_library_only() -> None:
    roots = [str(ROOT / "functions"), str(ROOT / "local_emulator")]
    code = "import defacer_emulator.setup.preflight, defacer_emulator.setup.install, sys; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {roots!r}; {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded - set(sys.stdlib_module_names) - {"__main__"} == {"defacer", "defacer_emulator"}
