"""`defacer render` with drawn masks and a new search: a missed face is covered from the command line."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from defacer.commands.app import main
from defacer.engine.file_report import Report
from defacer.engine.media.reader import read_frames
from defacer.report.compact_boxes import Box
from defacer.report.tracks import Origin, Reason
from tests.clips import Clip, admiral, frame_times, write_clip
from tests.commands.conftest import Run

CLIP = Clip(seconds=0.6, portrait=admiral()[:400, 60:460])


@pytest.fixture(scope="module")
def missed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a video, `in.mp4`, and a report without the track of its only face, `in.jsonl`."""
    folder = tmp_path_factory.mktemp("missed")
    video, report = write_clip(folder / "in.mp4", CLIP), folder / "in.jsonl"
    command = ["run", video, "-o", folder / "out.mp4", "--report", report, "--verify", "off", "-q"]
    assert main([*map(str, command)]) == 0
    found = Report.read(report)
    found.write(folder / "whole.jsonl")
    replace(found, faces=replace(found.faces, tracks=())).write(report)
    return folder


def drawn_box(folder: Path) -> str:
    """Return the box of the face as a person draws it, as X,Y,WIDTH,HEIGHT."""
    x1, y1, x2, y2 = face_box(folder)
    return f"{x1 - 5:.0f},{y1 - 5:.0f},{x2 - x1 + 10:.0f},{y2 - y1 + 10:.0f}"


def face_box(folder: Path) -> Box:
    return Report.read(folder / "whole.jsonl").tracks[0].detections[0].box


def is_hidden(folder: Path, result: Path) -> list[bool]:
    """Return for each frame whether the face is hidden."""
    x1, y1, x2, y2 = (round(side) for side in face_box(folder))
    faces = [
        [frame.to_ndarray(format="gray")[y1:y2, x1:x2].astype(np.uint8) for frame in read_frames(str(path))]
        for path in (folder / "in.mp4", result)
    ]
    return [cv2.PSNR(before, after) < 28 for before, after in zip(*faces, strict=True)]


@pytest.mark.parametrize("follow", [True, False])
def test_mask_covers_a_missed_face(follow: bool, missed: Path, tmp_path: Path, defacer: Run) -> None:
    out, report = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    command = ["render", missed / "in.mp4", missed / "in.jsonl", out, "--report", report]
    mask = f"0:00-0:00.6@{drawn_box(missed)}"
    done = defacer(*command, "--mask", mask, *([] if follow else ["--no-follow"]))
    assert done.code == 0
    assert "1 track: 0 kept (no one), 1 hidden" in done.out
    assert "track 0, a drawn mask: 0.00s to 0.5" in done.err
    assert is_hidden(missed, out) == [True] * CLIP.frames
    (track,) = Report.read(report).tracks
    assert (track.origin, track.reason) == (Origin.MANUAL, Reason.MANUAL)
    times = frame_times(missed / "in.mp4")
    assert (track.start, track.end) == (times[0], times[-1])
    assert "hide: drawn mask" in defacer("tracks", report).out
    # A later command removes the mask again.
    again = tmp_path / "again.mp4"
    done = defacer("render", missed / "in.mp4", report, again, "--keep", "0", "--verify", "off")
    assert (done.code, is_hidden(missed, again)) == (0, [False] * CLIP.frames)
    assert "1 track: 0 kept (no one), 0 hidden" in done.out


def test_file_of_masks_is_read(missed: Path, tmp_path: Path, defacer: Run) -> None:
    out, masks = tmp_path / "out.mp4", tmp_path / "masks.json"
    box = [float(part) for part in drawn_box(missed).split(",")]
    masks.write_text(json.dumps([{"start": 0.2, "boxes": [{"box": box}], "follow": False}]))
    command = ["render", missed / "in.mp4", missed / "in.jsonl", out, "--verify", "off"]
    assert defacer(*command, "--masks", masks).code == 0
    assert is_hidden(missed, out) == [False] * 5 + [True] * 10


def test_new_search_hides_a_missed_face(missed: Path, tmp_path: Path, defacer: Run) -> None:
    out, report = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    command = ["render", missed / "in.mp4", missed / "in.jsonl", out, "--report", report, "--verify", "off"]
    done = defacer(*command, "--look-again", "0-0.6")
    assert (done.code, is_hidden(missed, out)) == (0, [True] * CLIP.frames)
    assert "track 0, a face that was found, and is hidden until you keep it: 0.00s to 0.5" in done.err
    (track,) = Report.read(report).tracks
    assert (track.origin, track.reason) == (Origin.SEARCH, Reason.FOUND_BY_SEARCH)


def test_split_track_is_hidden_from_that_time_on(missed: Path, tmp_path: Path, defacer: Run) -> None:
    out, report = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    command = [
        "render",
        missed / "in.mp4",
        missed / "whole.jsonl",
        out,
        "--report",
        report,
        "--verify",
        "off",
    ]
    done = defacer(*command, "--keep", "0", "--split", "0@0:00.4")
    assert done.code == 0
    assert "track 1, split off track 0 and hidden: 0.40s to 0.5" in done.err
    first, part = Report.read(report).tracks
    assert (first.decision, part.decision, part.continues) == ("keep", "hide", 0)
    hidden = is_hidden(missed, out)
    place = hidden.index(True)
    times = frame_times(missed / "in.mp4")
    assert 0 < place <= sum(time < part.start for time in times)
    assert hidden == [False] * place + [True] * (CLIP.frames - place)
    # The part has a number, so a decision can follow at once, and later.
    assert defacer(*command, "--force", "--keep", "0", "--keep", "1", "--split", "0@0:00.4").code == 0
    assert is_hidden(missed, out) == [False] * CLIP.frames
    again = tmp_path / "again.mp4"
    done = defacer(
        "render", missed / "in.mp4", report, again, "--hide", "0", "--keep", "1", "--verify", "off"
    )
    assert (done.code, is_hidden(missed, again)[0]) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "0"], "--split '0' is not a track and a time. Write TRACK@TIME"),
        (["--split", "7@0:00.4"], "There is no track 7, the report has only track 0. To list the tracks: "),
        (["--split", "0@0:09"], "--split 0@0:09: track 0 has no box before that moment, or none after it"),
        (["--split", "0@x"], "'x' is not a time"),
    ],
)
def test_impossible_splits_are_refused_with_one_sentence(
    arguments: list[str], message: str, missed: Path, tmp_path: Path, defacer: Run
) -> None:
    done = defacer("render", missed / "in.mp4", missed / "whole.jsonl", tmp_path / "out.mp4", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mask", "1-2"], "'1-2' is not a mask. Write FROM-TO@X,Y,WIDTH,HEIGHT"),
        (["--mask", "0:05-0:06@1,2,3,4"], "is after the last frame"),
        (["--look-again", "5"], "is not a time span"),
        (["--look-again", "0:05-0:06"], "is after the last frame"),
        (
            ["--mask", "0:00-0:01@1,2,3,4", "--mask", "0:00.4-0:00@1,2,3,4"],
            "0:00.4-0:00 ends before it begins",
        ),
        (
            ["--mask", "0:00-0:00.3@9000,2,30,40"],
            "The box 9000,2,30,40 is outside the frame of 320x180 pixels",
        ),
        (["--mask", "0:00-0:00.3@1,2,3,4;0:00.5@1,2,3,4"], "The box at 0:00.5 is outside its time span"),
        (["--masks", "missing.json"], "missing.json does not exist"),
    ],
)
def test_wrong_masks_are_refused_with_one_sentence(
    arguments: list[str], message: str, missed: Path, tmp_path: Path, defacer: Run
) -> None:
    done = defacer("render", missed / "in.mp4", missed / "in.jsonl", tmp_path / "out.mp4", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not list(tmp_path.iterdir())


def test_tracks_travel_to_a_file_and_back(missed: Path, tmp_path: Path, defacer: Run) -> None:
    video, report, file = missed / "in.mp4", missed / "whole.jsonl", tmp_path / "tracks.csv"
    command = ["render", video, report, tmp_path / "out.mp4", "--verify", "off", "--force", "--tracks", file]
    file.write_text(defacer("tracks", report, "--format", "mot").out)
    assert file.read_text() == defacer("tracks", report, "--format", "mot", "--video", video).out
    head, *lines = file.read_text().splitlines()
    assert len(lines) == CLIP.frames

    file.write_text("\n".join([head, *lines[:10]]))  # without the last frames
    done = defacer(*command)
    assert (done.code, done.out) == (2, "")
    assert "can show more of these tracks:\ntrack 0 can show more between 0.40s and 0.5" in done.err
    done = defacer(*command, "--allow-uncover")
    assert done.code == 0
    assert done.err.startswith("track 0 can show more between")

    new = [f"{frame},2,5,5,40,50" for frame in range(1, 16)]
    file.write_text("\n".join([head, *new]))  # without track 0, which stays hidden
    done = defacer(*command)
    assert (done.code, is_hidden(missed, tmp_path / "out.mp4")) == (0, [True] * CLIP.frames)
    assert "2 tracks: 0 kept (no one), 2 hidden" in done.out
    assert "track 1, imported: 0.00s to 0.5" in done.err
    decisions = tmp_path / "decisions.json"
    decisions.write_text('{"0": "keep", "1": "keep"}')
    done = defacer(*command, "--decisions", decisions)
    assert "2 tracks: 2 kept (Person 1, Person 2), 0 hidden" in done.out
    assert "The old report has none of these changes." in done.err
    assert is_hidden(missed, tmp_path / "out.mp4") == [False] * CLIP.frames


def test_unusable_files_of_tracks_and_decisions_are_refused(
    missed: Path, tmp_path: Path, defacer: Run
) -> None:
    file = tmp_path / "file"
    file.write_text("1,1,2,3,4,5\n")
    command = ["render", missed / "in.mp4", missed / "whole.jsonl", tmp_path / "out.mp4"]
    done = defacer(*command, "--tracks", file)
    assert (done.code, "can't be imported: it does not name the video" in done.err) == (2, True)
    for text in (file.read_text(), '{"0":"keep"},"moved":{},"uncovered":[0]', '{"0":"blur"}'):
        file.write_text(text)
        done = defacer(*command, "--decisions", file)
        assert (done.code, "is not an object of decisions" in done.err) == (2, True)
    done = defacer("tracks", missed / "whole.jsonl", "--format", "mot", "--json")
    assert (done.code, "Remove one option" in done.err) == (2, True)
