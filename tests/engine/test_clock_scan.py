"""Test which times are corrected, which videos `strict_timing` refuses, and how much of a file is read for it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from defacer.engine.errors import VideoError
from defacer.engine.media.clock.clock_scan import examine_video
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.joiner import fingerprint_of
from defacer.engine.media.reader import read_frames
from defacer.report.clock import Clock
from tests.inputs import clock_files
from tests.inputs.write_video import GOP, Sound, Video, patch, write

Maker = Callable[[Path], Path]
CORRECTED: dict[str, tuple[Maker, str]] = {
    "no presentation times": (clock_files.avi_with_b_frames, "without a presentation time"),
    "same times": (clock_files.mkv_with_same_times, "3 frames with the time of another frame"),
    "restart": (clock_files.flv_with_restart, "a clock that restarts 1 time, at 1.21 s"),
    "time of day": (clock_files.mkv_at_time_of_day, "a clock that begins at 1699999.98 s"),
}
PLAIN: dict[str, Maker] = {
    "MP4": lambda folder: clock_files.recording(folder, "in.mp4"),
    "MKV": lambda folder: clock_files.recording(folder, "in.mkv"),
    "transport stream": lambda folder: clock_files.recording(folder, "in.ts"),
    "AVI without B-frames": lambda folder: clock_files.recording(
        folder, "in.avi", options=GOP, sound=(Sound("libmp3lame"),)
    ),
    "no key frame at the start": clock_files.without_first_key_frame,
}


@pytest.mark.parametrize("name", CORRECTED)
def test_strict_timing_refuses_times_that_need_a_correction(name: str, tmp_path: Path) -> None:
    make, text = CORRECTED[name]
    path = str(make(tmp_path))
    with pytest.raises(VideoError, match=f"its times need a correction: .*{text}"):
        examine_video(path, strict_timing=True)
    assert any(text in change.text for change in examine_video(path).clock.changes)


@pytest.mark.parametrize("name", PLAIN)
def test_strict_timing_accepts_times_that_need_none(name: str, tmp_path: Path) -> None:
    info = examine_video(str(PLAIN[name](tmp_path)), strict_timing=True)
    assert (replace(info.clock, rate_limit=0) == Clock()) == (name != "no key frame at the start")


def test_frames_that_go_back_in_time_keep_their_order(tmp_path: Path) -> None:
    path = clock_files.recording(tmp_path, "in.flv", options=GOP, sound=())
    expected = [frame.to_ndarray(format="gray").mean() for frame in read_frames(str(path))]
    patch(path, _swap_times)
    info = examine_video(str(path))
    frames = list(read_frames(ClockedSource(str(path), info.clock)))
    assert [frame.to_ndarray(format="gray").mean() for frame in frames] == expected
    assert [round((frame.time or 0) * 25) for frame in frames] == list(range(60))
    assert [change.text for change in info.clock.changes] == [
        "1 frame with a time before that of the frame before"
    ]


def _swap_times(data: bytearray) -> None:
    """Swap the times of two neighboring frames."""
    (first, one), (second, other) = [
        (offset, time) for offset, kind, time in clock_files.flv_tags(data) if kind == 9
    ][20:22]
    clock_files.set_flv_time(data, first, other)
    clock_files.set_flv_time(data, second, one)


def test_clock_that_restarts_too_often_is_refused(tmp_path: Path) -> None:
    path = clock_files.recording(tmp_path, "in.flv", options=GOP, sound=())
    patch(path, _alternate_times)
    with pytest.raises(VideoError, match="its clock restarts more than 1000 times"):
        examine_video(str(path))


def _alternate_times(data: bytearray) -> None:
    """Make every second frame go back by a second, in 40 copies of the frames."""
    for number, (offset, _, _) in enumerate(list(clock_files.flv_tags(data))):
        clock_files.set_flv_time(data, offset, 1000 * (number % 2))
    data += data[13:] * 39


def test_fingerprint_depends_on_the_clock_only_if_it_corrects(tmp_path: Path) -> None:
    path = str(PLAIN["MKV"](tmp_path))
    assert fingerprint_of(ClockedSource(path, examine_video(path).clock)) == fingerprint_of(path)


def test_track_that_appears_in_the_middle_is_ignored(tmp_path: Path) -> None:
    """FFmpeg finds tracks in the first megabytes of a broadcast only."""
    silent = clock_files.recording(
        tmp_path, "in.ts", sound=(), seconds=8, options=(("preset", "ultrafast"), ("qp", "0"))
    )
    loud = clock_files.recording(tmp_path, "loud.ts")
    silent.write_bytes(silent.read_bytes() + loud.read_bytes())
    info = examine_video(str(silent), past_damage=True)
    assert len(list(read_frames(ClockedSource(str(silent), info.clock), black=[]))) == 260


def test_video_in_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    path = clock_files.recording(tmp_path, "in.mkv", options=GOP)
    data = path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ")
    path.write_bytes(data)
    with pytest.raises(VideoError, match="can't be decoded"):
        examine_video(str(path))


def test_slow_mkv_with_reordered_frames_has_no_restart(tmp_path: Path) -> None:
    options = (
        ("preset", "ultrafast"),
        ("bf", "3"),
        ("b-pyramid", "2"),
        ("x264-params", "b-adapt=0:scenecut=0"),
    )
    source = write(tmp_path / "in.mkv", Video(rate=5, seconds=6, options=options))
    clock = examine_video(str(source)).clock
    assert (clock.offsets, clock.changes) == ((0,), ())
