"""`python -m defacer.engine`: one file in, one file out, and plain words when it can't be."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from defacer.engine.media.reader import read_frames
from tests.clips import Clip, admiral, astronaut, encode_picture, frame_times, write_clip
from tests.servers import ROOT, wait_until

CLIP = Clip(seconds=1, portrait=admiral()[:400, 60:460])
WITH_TARGET, SFACE = ["IN", "out.mp4", "--target", "README.md"], ["--recognizer", "sface"]
COMMAND = [sys.executable, "-m", "defacer.engine"]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("cli") / "in.mp4", CLIP)


def read_lines(report: Path) -> list[dict[str, Any]]:
    """Return a report as a program without De-facer reads it."""
    return [json.loads(line) for line in report.read_text().splitlines()]


def test_a_video_is_redacted_and_its_report_written(video: Path, tmp_path: Path) -> None:
    target = tmp_path / "ann.png"
    target.write_bytes(encode_picture(astronaut()))
    out, report = tmp_path / "out.mp4", tmp_path / "out.jsonl"

    done = run(video, out, "--target", target, "--mode", "pixelate", "--report", report)

    assert done.returncode == 0, done.stderr
    assert "25 frames, 1 track: 0 kept (no one), 1 hidden" in done.stdout
    assert re.search(r"check: \d+ frames of the result sampled, no visible face found", done.stdout)
    assert "frames" in done.stderr
    assert re.search(
        r"warning: No track of ann was kept. The nearest is track 0 at distance 1\.\d\d, and the match threshold is "
        rf"0\.97. Use a sharper .*: python -m defacer.engine rerender {video} {report} OUT --keep 0\.",
        done.stderr,
    )
    assert frame_times(out) == frame_times(video)
    found, track, last = read_lines(report)
    assert (track["decision"], track["reason"], last["tracks"]) == ("hide", "no_match", 1)
    assert [(item["code"], item["track"]) for item in found["faces"]["warnings"]] == [("no-track-kept", 0)]
    assert found["policy"]["mode"] == "pixelate"
    assert (found["checked"]["verify"], found["checked"]["tracks"]) == ("standard", [])
    assert (found["policy"]["recognition"], found["policy"]["match_threshold"]) == ("balanced", None)
    assert track["strangers_per_10000"] > 10
    alike = r"\(distance 1\.\d\d: about [\d,]+ in 10,000 strangers look this alike\)"
    assert re.search(rf"hidden, near no target {alike}", done.stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ann.png", "out.jsonl", "out.mp4"]


def test_rerender_keeps_a_track_of_the_report(video: Path, tmp_path: Path) -> None:
    out, report, again = tmp_path / "out.mp4", tmp_path / "out.jsonl", tmp_path / "again.mp4"
    assert run(video, out, "--report", report).returncode == 0

    new_report = tmp_path / "again.jsonl"
    options = ("--keep", "0", "--verify", "strict", "--write-report", new_report)
    done = run("rerender", video, report, again, *options)
    assert done.returncode == 0, done.stderr
    (old, *_), (new, track, _) = read_lines(report), read_lines(new_report)
    assert (track["decision"], track["reason"]) == ("keep", "manual")
    assert new.keys() == old.keys()
    assert new["checked"]["verify"] == "strict"
    assert new["checked"]["frames"] == new["faces"]["frames"]
    assert "1 kept (by hand), 0 hidden" in done.stdout
    middle = np.s_[100:140, 140:180]
    shown, hidden, kept = (
        [f.to_ndarray(format="gray")[middle] for f in read_frames(str(p))] for p in (video, out, again)
    )
    assert min(cv2.PSNR(a, b) for a, b in zip(shown, kept, strict=True)) > 35
    assert max(cv2.PSNR(a, b) for a, b in zip(shown, hidden, strict=True)) < 25

    for arguments, message in (
        ((video, report, tmp_path / "more.mp4", "--keep", "5"), "no track 5"),
        ((video, report, tmp_path / "more.mp4", "--keep", "0", "--hide", "0"), "hidden and kept at once"),
        ((video, video, tmp_path / "more.mp4"), "can't be used as a report"),
        ((video, report, report), "is also an input"),
        (
            (video, report, tmp_path / "more.mp4", "--write-report", tmp_path / "more.mp4"),
            "is named for two outputs",
        ),
        ((video, report, tmp_path / "more.mp4", "--mode", "image"), "--replacement"),
        ((video, report, out, "--keep", "0"), "already exists"),
    ):
        refused = run("rerender", *arguments)
        assert refused.returncode in (1, 2)
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_report_with_an_unknown_recogniser_is_refused(video: Path, tmp_path: Path) -> None:
    report = tmp_path / "out.jsonl"
    assert run(video, tmp_path / "out.mp4", "--report", report).returncode == 0
    first, *rest = report.read_bytes().splitlines(keepends=True)
    head = json.loads(first)
    head["policy"]["recognizer"] = "casia-webface"
    report.write_bytes(b"".join([json.dumps(head).encode() + b"\n", *rest]))
    done = run("rerender", video, report, tmp_path / "again.mp4")
    assert done.returncode == 2
    assert "can't be used as a report: the recogniser is 'casia-webface', allowed are sface" in done.stderr


def test_rerender_refuses_the_report_of_another_video(video: Path, tmp_path: Path) -> None:
    report, again = tmp_path / "out.jsonl", tmp_path / "again.mp4"
    assert run(video, tmp_path / "out.mp4", "--report", report).returncode == 0
    as_long = write_clip(tmp_path / "as-long.mp4", dataclasses.replace(CLIP, portrait=None))
    for other in (as_long, write_clip(tmp_path / "longer.mp4", Clip(seconds=2))):
        done = run("rerender", other, report, again)
        assert done.returncode == 1
        assert f"is not the video that {report} is about" in done.stderr.replace("\n", " ")
    assert not again.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.mp4", "out.mp4"], 2, "nothing.mp4 does not exist"),
        (["IN", "no/folder/out.mp4"], 2, "The folder no/folder for out.mp4 does not exist"),
        (["IN", "IN", "--force"], 2, "is also an input"),
        (["IN", "out.mp4", "--report", "out.mp4"], 2, "is named for two outputs"),
        (["IN", "out.mp4", "--keep", "me.jpg"], 2, "unrecognized arguments: --keep me.jpg"),
        (["IN", "o.avi"], 2, "o.mp4, not o.avi"),
        (["IN", "o"], 2, "o.mp4, not o."),
        (["rerender", "IN", "README.md", "o.mkv"], 2, "o.mp4, not o.mkv"),
        (["IN", "out.mp4", "--target", "missing.jpg"], 2, "missing.jpg does not exist"),
        (["IN", "out.mp4", "--mode", "image"], 2, "--replacement"),
        (["IN", "out.mp4", "--strength", "9"], 2, "from 1 to 3"),
        (["IN", "out.mp4", "--mode", "solid", "--color", "red"], 2, "#1a2b3c"),
        (["IN", "out.mp4", "--color", "#ff0000"], 2, "--mode solid"),
        (["IN", "out.mp4", "--match-threshold", "0.3"], 2, "add --target"),
        (["IN", "out.mp4", "--recognition", "strict"], 2, "add --target"),
        ([*WITH_TARGET, "--match-threshold", "0.3"], 2, "such as --recognizer sface"),
        (
            [*WITH_TARGET, *SFACE, "--match-threshold", "1.2"],
            2,
            "--match-threshold 1.2 is out of range. For sface it is above 0 and at most 1.05",
        ),
        ([*WITH_TARGET, *SFACE, "--match-threshold", "nan"], 2, "--match-threshold nan is out of range"),
        (
            [*WITH_TARGET, *SFACE, "--match-threshold", "0.9", "--recognition", "lenient"],
            2,
            "--match-threshold and --recognition lenient are both given: remove one",
        ),
        ([*WITH_TARGET, "--recognizer", "lfw"], 2, "choose from"),
        (["README.md", "out.mp4"], 1, "README.md: it is not a video"),
        (["IN", "out.mp4", "--target", "README.md"], 1, "README.md is not a picture"),
    ],
)
def test_bad_arguments_exit_with_one_sentence(
    video: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    places = {"IN": video} | {name: tmp_path / name for name in ("out.mp4", "o.avi", "o.mkv", "o")}
    given = [places.get(name, name) for name in arguments]
    done = run(*given)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_help_has_the_measured_rates_of_each_level() -> None:
    shown = " ".join(run("--help").stdout.split())
    assert (
        "strict keeps fewer than 1 in 10,000 strangers and 89 % of the targets' tracks; balanced keeps 1 in 10,000"
        in shown
    )


def test_an_existing_output_is_replaced_only_with_force(video: Path, tmp_path: Path) -> None:
    other = shutil.copy(video, tmp_path / "b.mp4")  # what a shell makes of `*.mp4`
    report = tmp_path / "b.jsonl"
    report.write_text("mine")
    before = other.read_bytes()

    refused = run(video, other)
    assert (refused.returncode, other.read_bytes()) == (2, before)
    assert f"{other} already exists. Name another file, or add --force to replace it." in refused.stderr
    refused = run(video, tmp_path / "new.mp4", "--report", report)
    assert (refused.returncode, report.read_text()) == (2, "mine")

    done = run(video, other, "--report", report, "--force")
    assert done.returncode == 0, done.stderr
    assert other.read_bytes() != before
    assert read_lines(report)[0]["faces"]
    assert not (tmp_path / "new.mp4").exists()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_to_the_input_is_never_overwritten(
    link: Callable[[Path, Path], None], video: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mp4"
    link(out, video)
    before = video.read_bytes()

    refused = run(video, out, "--force")

    assert refused.returncode == 2
    assert "is also an input" in refused.stderr
    assert video.read_bytes() == before


def test_interrupting_leaves_nothing_behind(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", Clip(seconds=40))
    command = [*COMMAND, str(video), str(tmp_path / "out.mp4")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(
                lambda: bool(list(tmp_path.glob("defacer-*"))) or process.poll() is not None, "it wrote", 120
            )
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "was not written" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_help_explains_with_examples() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--target" in done.stdout
    assert "hide everyone but me" in done.stdout
