"""`defacer run`, `defacer tracks` and `defacer render`: files in, files out, and plain words when that can't be."""

import dataclasses
import io
import json
import os
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

from defacer.commands.app import main
from defacer.commands.files.targets import ask_on_terminal
from defacer.engine import render_file
from defacer.engine.errors import ArgumentError
from defacer.engine.media.reader import read_frames
from defacer.engine.recognition import recognition_levels
from defacer.engine.redact_file import choose_faces
from defacer.engine.verification import release_gate
from defacer.program import program
from tests.clips import Clip, admiral, astronaut, encode_picture, frame_times, write_clip
from tests.commands.conftest import RESULT_FIELDS, Run
from tests.engine.copied_videos import ENCODER
from tests.engine.scene_files import Shown, write_scene
from tests.inputs import write_video
from tests.servers import wait_until

CLIP = Clip(seconds=0.6, portrait=admiral()[:400, 60:460])
WITH_TARGET, SFACE = ["IN", "-o", "out.mp4", "--keep", "README.md"], ["--recognizer", "sface"]


@pytest.fixture(scope="module")
def redacted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video, its result and its report."""
    folder = tmp_path_factory.mktemp("run")
    video = write_clip(folder / "in.mp4", CLIP)
    target = folder / "ann.png"
    target.write_bytes(encode_picture(astronaut()))
    command = ["run", video, "-o", folder / "out.mp4", "--keep", target, "--mode", "pixelate"]
    assert main([*map(str, command), "--report", str(folder / "out.jsonl"), "-q"]) == 0
    return folder


@pytest.fixture
def video(redacted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(redacted / "in.mp4", tmp_path / "in.mp4"))


def read_lines(report: Path) -> list[dict[str, Any]]:
    """Return a report as a program without De-facer reads it."""
    return [json.loads(line) for line in report.read_text().splitlines()]


def test_a_video_is_redacted_and_its_report_written(redacted: Path) -> None:
    assert frame_times(redacted / "out.mp4") == frame_times(redacted / "in.mp4")
    found, track, last = read_lines(redacted / "out.jsonl")
    assert (track["decision"], track["reason"], last["tracks"]) == ("hide", "no_match", 1)
    assert [(item["code"], item["track"]) for item in found["faces"]["warnings"]] == [("no-track-kept", 0)]
    assert found["policy"]["mode"] == "pixelate"
    assert (found["checked"]["verify"], found["checked"]["tracks"]) == ("standard", [])
    assert (found["policy"]["recognition"], found["policy"]["match_threshold"]) == ("balanced", None)
    assert track["strangers_per_10000"] > 10
    assert sorted(path.name for path in redacted.iterdir()) == ["ann.png", "in.mp4", "out.jsonl", "out.mp4"]


def test_run_prints_a_summary_and_plain_progress(redacted: Path, video: Path, defacer: Run) -> None:
    done = defacer("run", video, "--keep", redacted / "ann.png")

    assert done.code == 0
    out = video.with_name("in.defaced.mp4")
    assert f"{out}: 15 frames, 1 track: 0 kept (no one), 1 hidden" in done.out
    assert re.search(r"check: \d+ frames of the result sampled, no other face to hide", done.out)
    assert "To be able to change a decision later, add --report FILE|DIR.\n" in done.err
    stages = ("detecting faces", "redacting faces", "checking the result", "joining picture and sound")
    assert done.err.startswith("".join(f"in.mp4: {stage}\n" for stage in stages))
    assert re.search(
        r"warning: No track of ann was kept. The nearest is track 0 at distance 1\.\d\d, and the match threshold is "
        r"0\.97. If this person is not in the video, ignore this.* "
        rf"\S*defacer render {video} REPORT OUT --keep 0 \(add --report REPORT to this command "
        r"first\)\.",
        done.err,
    )


def test_a_folder_is_redacted_and_a_bad_file_does_not_end_it(
    video: Path, tmp_path: Path, defacer: Run
) -> None:
    folder, out = tmp_path / "my videos ✓", tmp_path / "out"
    folder.mkdir()
    shutil.copy(video, folder / "c übung.mov")
    shutil.copy(video, folder / "a.defaced.mp4")  # the result of an earlier run
    (folder / "b.mp4").write_text("no video")
    for name in ("notes.txt", ".DS_Store", "c übung.srt", "._b.mp4", "d.part"):
        (folder / name).write_text("no video")
    (folder / "empty.mp4").touch()

    done = defacer("run", folder, "-o", out, "--report", out, "--json")

    assert done.code == 1
    bad, good = map(json.loads, done.out.splitlines())
    assert bad["video"] == str(folder / "b.mp4")
    assert "it is not a video" in bad["error"]
    assert f"error: {folder / 'b.mp4'}: it is not a video" in done.err
    assert {"video", "result", "report"} | RESULT_FIELDS == set(good)
    assert (good["result"], good["kept"], good["hidden"]) == (str(out / "c übung.defaced.mp4"), 0, 1)
    assert done.err.endswith(f"error: 1 of 2 videos failed: {folder / 'b.mp4'}\n")
    others = (".DS_Store", "._b.mp4", "c übung.srt", "d.part", "empty.mp4", "notes.txt")
    listed = ", ".join(str(folder / name) for name in others)
    assert f"ignored, because they are not videos: {listed}\n" in done.err
    assert sorted(path.name for path in out.iterdir()) == [
        "c übung.defaced.mp4",
        "c übung.defaced.report.jsonl",
    ]


def test_existing_results_of_a_folder_are_skipped_on_request(tmp_path: Path, defacer: Run) -> None:
    """The results are stand-ins: none of these runs redacts a video."""
    folder = tmp_path / "videos"
    folder.mkdir()
    result, report = folder / "a.defaced.mp4", folder / "a.defaced.report.jsonl"
    for path in (folder / "a.mp4", result, report):
        path.write_text(path.name)
    skipped = f"skipped, {result} exists; --force writes it again\n"

    hint = "Name another file, or add --skip-existing to keep it, or --force to replace it."
    assert f"{result} already exists. {hint}" in defacer("run", folder).err
    assert defacer("run", folder, "--skip-existing") == (0, skipped, "")
    done = defacer("run", folder, "--report", folder, "--json", "--skip-existing")
    assert json.loads(done.out) == {
        "video": str(folder / "a.mp4"),
        "result": str(result),
        "report": str(report),
        "skipped": True,
    }
    (folder / "b.mp4").write_text("no video")
    done = defacer("run", folder, "--skip-existing")
    assert (done.code, done.out) == (1, skipped)
    assert f"error: {folder / 'b.mp4'}: it is not a video" in done.err

    assert defacer("run", folder / "a.mp4").code == 2  # named alone
    (folder / "a.mov").write_text("another video with the same result")
    os.utime(folder / "a.mov", (0, 0))
    assert "is named for two outputs" in defacer("run", folder, "--skip-existing").err
    (folder / "a.mov").unlink()
    report.unlink()
    assert f"{result} already exists" in defacer("run", folder, "--report", folder, "--skip-existing").err
    os.utime(result, (0, 0))  # older than the video
    assert f"{result} already exists" in defacer("run", folder, "--skip-existing").err
    assert result.read_text() == "a.defaced.mp4"


@pytest.mark.parametrize("arguments", [["--mode", "image"], ["--quality", "99"], []], ids=str)
def test_folder_that_gets_no_result_does_not_remain(
    arguments: list[str], tmp_path: Path, defacer: Run
) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text("no video")
    new = ["-o", tmp_path / "out", "--report", tmp_path / "reports"]
    assert defacer("run", tmp_path / "a.mp4", tmp_path / "b.mp4", *new, *arguments).code != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_copied_frames_are_counted(tmp_path: Path, defacer: Run) -> None:
    video = write_video.write(
        tmp_path / "in.mp4", write_video.Video(size=(160, 90), seconds=0.4, options=ENCODER, sound=())
    )
    command = ["run", video, "--copy-untouched", "--verify", "off", "--force"]
    assert "\ncopied: 10 of 10 frames, without encoding them\n" in defacer(*command).out
    assert json.loads(defacer(*command, "--json").out)["copied_frames"] == 10
    command.remove("--copy-untouched")
    assert "copied:" not in defacer(*command).out


def test_control_characters_of_a_name_are_escaped(video: Path, defacer: Run) -> None:
    odd = shutil.copy(video, video.with_name("my \x1b[31m.mp4"))
    done = defacer("run", odd, "--verify", "off")
    assert "my \\x1b[31m.defaced.mp4: 15 frames" in done.out
    assert "my \\x1b[31m.mp4: detecting faces" in done.err
    assert "\x1b" not in done.out + done.err


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A folder with two people: one as a picture, one as a folder of pictures."""
    folder = tmp_path / "people"
    (folder / "grace").mkdir(parents=True)
    (folder / "ann.png").write_bytes(encode_picture(astronaut()))
    (folder / "grace" / "1.png").write_bytes(encode_picture(admiral()))
    (folder / "grace" / "2.jpg").write_bytes(encode_picture(admiral()[:400, 60:460], ".jpg"))
    return folder


@pytest.mark.parametrize(
    ("arguments", "person"),
    [
        (["--keep", "grace", "--keep", "ann.png"], "grace"),
        (["--keep-people", "."], "grace"),
        (["--keep-at", "0:0.2"], "person at 0:00.2"),
    ],
    ids=lambda value: "",
)
def test_a_person_of_a_folder_or_of_the_video_is_kept(
    arguments: list[str], person: str, people: Path, video: Path, defacer: Run
) -> None:
    given = [word if word.startswith("--") or ":" in word else people / word for word in arguments]
    done = defacer("run", video, *given, "--json", "--verify", "off")
    assert done.code == 0, done.err
    assert json.loads(done.out)["people"] == [person]
    assert ("the face at 0:00.2 is kept: " in done.err) == ("--keep-at" in arguments)


def test_poor_picture_is_warned_about_once(people: Path, video: Path, defacer: Run) -> None:
    blurred = cv2.GaussianBlur(astronaut(), (0, 0), 5).astype(np.uint8)
    (people / "ann.png").write_bytes(encode_picture(blurred))
    second = Path(shutil.copy(video, video.with_name("second.mp4")))
    done = defacer("run", video, second, "--keep", people / "ann.png", "--verify", "off")
    assert done.code == 0, done.err
    assert done.err.count("warning: A target picture of ann is blurred. ") == 1
    assert done.err.count("warning: No track of ann was kept") == 2


class Terminal(io.StringIO):
    """A terminal with these lines as the user's answers."""

    def isatty(self) -> bool:
        return True


def test_several_faces_are_offered_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two answers name no face."""
    people = [Shown(astronaut(), (20, 40), 280), Shown(admiral(), (340, 40), 280)]
    video = write_scene(tmp_path / "two.mp4", people, seconds=0.4)
    screen = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal("3\nleft\n2\n"))
    monkeypatch.setattr("sys.stderr", screen)
    [face] = choose_faces(video, ["0.1"], "centerface", print, ask_on_terminal())
    assert re.search(r"from left to right:\n1 left \(\d+,.*\)\n2 .*right \(\d+,.*\)\n", screen.getvalue())
    assert "Enter a number from 1 to 2." in screen.getvalue()
    with pytest.raises(ArgumentError, match=r"in pixels\):\n1 left \(.*\)\n2 .*right \(.*\)\nName one"):
        choose_faces(video, ["0.1"], "centerface", print)
    assert face.face.box[0] > 320


def test_a_folder_that_shows_two_people_names_the_picture(people: Path, video: Path, defacer: Run) -> None:
    shutil.move(people / "ann.png", people / "grace" / "3.png")
    done = defacer("run", video, "--keep", people / "grace")
    assert done.code == 2
    assert f"{people / 'grace' / '3.png'} does not look like the person in " in done.err
    assert not video.with_name("in.defaced.mp4").exists()


def test_quiet_prints_results_and_errors_only(video: Path, defacer: Run) -> None:
    done = defacer("run", "-q", video, "--verify", "off")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{video.with_name('in.defaced.mp4')}: 15 frames")
    assert done.out.endswith("\ncheck: off, the result was not searched for visible faces\n")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_shows_bars_and_colors_unless_no_color_is_set(
    no_color: str, video: Path, monkeypatch: pytest.MonkeyPatch, defacer: Run
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # Rich treats the output as a terminal
    monkeypatch.setenv("NO_COLOR", no_color)
    second = shutil.copy(video, video.with_name("b.mp4"))
    done = defacer("run", video, second, "--verify", "off")
    assert done.code == 0
    assert "of 2 files" in done.err
    assert "in.mp4: redacting faces" in done.err
    assert "b.mp4: joining picture and sound" in done.err
    assert ("\x1b[3" in done.err) == (not no_color)
    assert "\x1b" not in done.out


def test_tracks_of_a_report_are_listed(redacted: Path, defacer: Run) -> None:
    table = defacer("tracks", redacted / "out.jsonl")
    assert re.search(
        r"\n    0      0\.00s +0\.\d\ds  Person 1  middle \(\d+,\d+,\d+,\d+\) +"
        r"hide: near no target \(distance 1\.\d\d\)\n",
        table.out,
    )

    (track,) = json.loads(defacer("tracks", redacted / "out.jsonl", "--json").out)
    assert (track["id"], track["decision"], track["reason"]) == (0, "hide", "no_match")
    assert len(track["box"]) == 4


def test_render_keeps_a_track_of_the_report(redacted: Path, tmp_path: Path, defacer: Run) -> None:
    video, report, again = redacted / "in.mp4", redacted / "out.jsonl", tmp_path / "again.mp4"
    new_report = tmp_path / "again.jsonl"

    done = defacer(
        "render",
        video,
        report,
        again,
        "--keep",
        "0",
        "--verify",
        "strict",
        "--size",
        "any",
        "--report",
        new_report,
    )

    assert done.code == 0
    (old, *_), (new, track, _) = read_lines(report), read_lines(new_report)
    assert (track["decision"], track["reason"]) == ("keep", "manual")
    assert new.keys() == old.keys()
    assert new["policy"] == old["policy"] | {"verify": "strict", "size": "any"}
    assert new["checked"]["frames"] == new["faces"]["frames"]
    assert "1 kept (Person 1), 0 hidden" in done.out
    middle = np.s_[100:140, 140:180]
    shown, hidden, kept = (
        [f.to_ndarray(format="gray")[middle] for f in read_frames(str(p))]
        for p in (video, redacted / "out.mp4", again)
    )
    assert min(cv2.PSNR(a, b) for a, b in zip(shown, kept, strict=True)) > 35
    assert max(cv2.PSNR(a, b) for a, b in zip(shown, hidden, strict=True)) < 25


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["more.mp4", "--keep", "5"],
            2,
            "There is no track 5, the report has only track 0. To list the tracks: ",
        ),
        (["more.mp4", "--hide", "-1"], 2, "There is no track -1"),
        (["more.mp4", "--hide", "7", "--mask", "0:00-0:01@1,2,30,40"], 2, "There is no track 7"),
        (["more.mp4", "--keep", "0", "--hide", "0"], 2, "kept and hidden at once"),
        (["REPORT"], 2, "is also an input"),
        (["more.mp4", "--report", "more.mp4"], 2, "is named for two outputs"),
        (["more.mp4", "--mode", "image"], 2, "as replacement"),
        (["o.mkv"], 2, "o.mp4, not o.mkv"),
        (["OUT", "--keep", "0"], 2, "already exists"),
    ],
)
def test_render_refuses_arguments_with_one_sentence(
    redacted: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
    defacer: Run,
) -> None:
    places = {"REPORT": redacted / "out.jsonl", "OUT": redacted / "out.mp4"}
    given = [places.get(word, tmp_path / word if "." in word else word) for word in arguments]
    done = defacer("render", redacted / "in.mp4", redacted / "out.jsonl", *given)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert not list(tmp_path.iterdir())


def test_render_without_a_change_says_so(redacted: Path, tmp_path: Path, defacer: Run) -> None:
    done = defacer("render", redacted / "in.mp4", redacted / "out.jsonl", tmp_path / "again.mp4")
    assert (done.code, "No decision was changed." in done.err) == (0, True)


def test_a_report_with_an_unknown_recognizer_is_refused(redacted: Path, tmp_path: Path, defacer: Run) -> None:
    report = tmp_path / "out.jsonl"
    first, *rest = (redacted / "out.jsonl").read_bytes().splitlines(keepends=True)
    head = json.loads(first)
    head["policy"]["recognizer"] = "casia-webface"
    report.write_bytes(b"".join([json.dumps(head).encode() + b"\n", *rest]))
    done = defacer("render", redacted / "in.mp4", report, tmp_path / "again.mp4")
    assert done.code == 2
    assert "can't be used as a report: recognizer is 'casia-webface', allowed are sface" in done.err


def test_another_file_is_refused_as_a_report(redacted: Path, defacer: Run) -> None:
    done = defacer("tracks", redacted / "in.mp4")
    assert done.code == 2
    assert f"{redacted / 'in.mp4'} can't be used as a report" in done.err
    done = defacer("tracks", redacted / "missing.jsonl")
    assert done.code == 2
    assert f"error: {redacted / 'missing.jsonl'} does not exist. Name the report of a video" in done.err


def test_render_refuses_the_report_of_another_video(redacted: Path, tmp_path: Path, defacer: Run) -> None:
    as_long = write_clip(tmp_path / "as-long.mp4", dataclasses.replace(CLIP, portrait=None))
    for other in (as_long, write_clip(tmp_path / "longer.mp4", Clip(seconds=2))):
        done = defacer("render", other, redacted / "out.jsonl", tmp_path / "again.mp4")
        assert done.code == 2
        assert "is not the video that the report is about" in done.err
    assert not (tmp_path / "again.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.mp4"], 2, "nothing.mp4 does not exist"),
        (["IN", "-o", "no/folder/out.mp4"], 2, "The folder no/folder for out.mp4 does not exist"),
        (["IN", "-o", "IN", "--force"], 2, "is also an input"),
        (["IN", "-o", "out.mp4", "--report", "out.mp4"], 2, "is named for two outputs"),
        (["IN", "--target", "me.jpg"], 2, "\nerror: No such option: --target"),
        (["IN", "--verif", "off"], 2, "No such option: --verif"),
        (["IN", "-o", "o.avi"], 2, "o.mp4, not o.avi"),
        (["IN", "-o", "o"], 2, "o.mp4, not o."),
        (["IN", "IN", "-o", "README.md"], 2, "-o README.md is a file. For several videos, name a folder"),
        (["IN", "IN", "-o", "out.mp4"], 2, "out.mp4 names a file. For several videos, name a folder"),
        (["IN", "IN", "-o", "no/folder"], 2, "-o no/folder can't be created, because no does not exist"),
        (["IN", "IN"], 2, "is named for two outputs"),
        (["tests/commands"], 2, "The folder tests/commands has no video"),
        (["IN", "--keep", "missing.jpg"], 2, "missing.jpg does not exist"),
        (["IN", "--mode", "image"], 2, "as replacement"),
        (["IN", "--strength", "3.5"], 2, "strength is 3.5, allowed are 1 to 3"),
        (["IN", "--strength", "9"], 2, "strength is 9, allowed are 1 to 3"),
        (["IN", "--quality", "41"], 2, "quality is 41, allowed are 0 to 40"),
        (["IN", "--mode", "solid", "--color", "red"], 2, "#1a2b3c"),
        (["IN", "--color", "#ff0000"], 2, "--mode solid"),
        (["IN", "--mode", "solid", "--strength", "3"], 2, "--strength 3 has no effect in --mode solid"),
        (["IN", "--replacement", "README.md"], 2, "The replacement is for mode image, not blur"),
        (["IN", "--match-threshold", "0.3"], 2, "Add --keep"),
        (["IN", "--recognition", "strict"], 2, "Add --keep"),
        (["IN", "--keep-people", "README.md"], 2, "README.md is not a folder. Use --keep for a picture"),
        (["IN", "--keep-at", "soon"], 2, "'soon' is not a time of a video"),
        (["IN", "--keep-at", "1:00"], 2, "The video ends at 0:00.6, before 1:00"),
        (["IN", "IN", "-o", ".", "--keep-at", "1"], 2, "named for two outputs"),
        (["IN", "-o", "out.mp4", "--report", "OUT.mp4"], 2, "named for two outputs"),
        ([*WITH_TARGET, "--match-threshold", "0.3"], 2, "such as --recognizer sface"),
        (
            [*WITH_TARGET, *SFACE, "--match-threshold", "1.2"],
            2,
            "Match threshold 1.2 is out of range. For sface it is above 0 and at most 1.05",
        ),
        ([*WITH_TARGET, *SFACE, "--match-threshold", "nan"], 2, "Match threshold nan is out of range"),
        (
            [*WITH_TARGET, *SFACE, "--match-threshold", "0.9", "--recognition", "lenient"],
            2,
            "--match-threshold and --recognition lenient are both given. Remove one",
        ),
        ([*WITH_TARGET, "--recognizer", "lfw"], 2, "Invalid value for '--recognizer'"),
        (["README.md"], 1, "README.md: it is not a video"),
        (["IN", "--keep", "README.md"], 2, "README.md is not a picture"),
    ],
)
def test_run_refuses_arguments_with_one_sentence(
    video: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
    defacer: Run,
) -> None:
    places = {"IN": video} | {name: tmp_path / name for name in ("out.mp4", "OUT.mp4", "o.avi", "o.mkv", "o")}
    done = defacer("run", *(places.get(name, name) for name in arguments))
    assert done.code == code
    assert message in done.err
    assert list(tmp_path.iterdir()) == [video]


def test_the_help_has_the_measured_rates_of_each_level(defacer: Run) -> None:
    levels = recognition_levels.MEASURED["sface"].levels
    strangers = {
        name: recognition_levels.strangers_at("sface", level.match) or 0 for name, level in levels.items()
    }
    shown = " ".join(defacer("run", "--help").out.split())
    assert strangers["strict"] < 1
    assert (
        f"Of 10,000 strangers, strict keeps fewer than 1, balanced {strangers['balanced']} and lenient "
        f"{strangers['lenient']}. They keep {levels['strict'].kept}, {levels['balanced'].kept} and "
        f"{levels['lenient'].kept} %" in shown
    )


def test_help_explains_with_examples(defacer: Run) -> None:
    for command in ("run", "render", "tracks", "schema", "doctor"):
        done = defacer(command, "--help")
        assert done.code == 0
        assert f"Examples:\n    defacer {command}" in done.out


def test_an_existing_output_is_replaced_only_with_force(video: Path, tmp_path: Path, defacer: Run) -> None:
    other = Path(shutil.copy(video, tmp_path / "in.defaced.mp4"))
    report = tmp_path / "b.jsonl"
    report.write_text("mine")
    before = other.read_bytes()

    refused = defacer("run", video)
    assert (refused.code, other.read_bytes()) == (2, before)
    assert f"{other} already exists. Name another file, or add --force to replace it." in refused.err
    refused = defacer("run", video, "-o", tmp_path / "new.mp4", "--report", report)
    assert (refused.code, report.read_text()) == (2, "mine")

    done = defacer("run", video, "--report", report, "--force")
    assert done.code == 0
    assert other.read_bytes() != before
    assert (
        f"To change a decision: {program()} tracks {report}, then {program()} render {video} {report} OUT.mp4 "
        "--hide TRACK --keep TRACK\n" in done.err
    )
    assert read_lines(report)[0]["faces"]
    assert not (tmp_path / "new.mp4").exists()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_to_the_input_is_never_overwritten(
    link: Callable[[Path, Path], None], video: Path, tmp_path: Path, defacer: Run
) -> None:
    out = tmp_path / "out.mp4"
    link(out, video)
    before = video.read_bytes()

    refused = defacer("run", video, "-o", out, "--force")

    assert refused.code == 2
    assert "is also an input" in refused.err
    assert video.read_bytes() == before


def test_file_that_appears_during_the_run_is_not_replaced(
    video: Path, monkeypatch: pytest.MonkeyPatch, defacer: Run
) -> None:
    out = video.with_name("out.mp4")

    def check_and_create(*arguments: Any) -> Any:
        out.write_text("mine")
        return release_gate.redact_and_verify(*arguments)

    monkeypatch.setattr(render_file, "redact_and_verify", check_and_create)
    done = defacer("run", video, "-o", out, "--verify", "off")
    assert done.code == 1
    assert f"{out} was created by another program during the run. Name another file" in done.err
    assert out.read_text() == "mine"


def test_interrupt_in_the_report_keeps_the_old_one_and_names_both(
    video: Path, monkeypatch: pytest.MonkeyPatch, defacer: Run
) -> None:
    """A write of the report is interrupted when half of it is in the file."""
    out, report = video.with_name("out.mp4"), video.with_name("out.jsonl")
    report.write_text("old")

    def write_half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", write_half)
    done = defacer("run", video, "-o", out, "--report", report, "--force", "--verify", "off")
    assert done.code == 130
    assert f"{out} was written.\n{report} was not written.\n" in done.err
    assert report.read_text() == "old"
    assert sorted(path.name for path in video.parent.glob("*out*")) == ["out.jsonl", "out.mp4"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("strength", "2", "strength is '2', allowed is a value such as 1.5"),
        ("quality", True, "quality is True, allowed is a value such as 18"),
        ("color", 5, "color is 5, allowed is a value such as '#1a2b3c'"),
        ("mode", None, "mode is None, allowed are blur, pixelate, solid, image"),
        ("match_threshold", [], "match_threshold is [], allowed is a value such as 0.9"),
    ],
)
def test_report_with_an_edited_option_is_refused_with_one_sentence(
    name: str, value: object, said: str, redacted: Path, tmp_path: Path, defacer: Run
) -> None:
    first, *rest = (redacted / "out.jsonl").read_text().splitlines(keepends=True)
    head = json.loads(first)
    head["policy"][name] = value
    edited = tmp_path / "edited.jsonl"
    edited.write_text("".join([json.dumps(head) + "\n", *rest]))
    done = defacer("render", redacted / "in.mp4", edited, tmp_path / "again.mp4")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"{edited} can't be used as a report: {said}" in done.err


def test_interrupting_leaves_nothing_behind(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", Clip(seconds=20))
    command = [sys.executable, "-m", "defacer", "run", str(video), "-o", str(tmp_path / "out.mp4")]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(
                lambda: bool(list(tmp_path.glob("defacer-*/*"))) or process.poll() is not None,
                "it wrote",
                120,
            )
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert f"{tmp_path / 'out.mp4'} was not written.\nerror: Interrupted.\n" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
