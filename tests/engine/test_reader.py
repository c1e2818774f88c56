"""Test reading of headers and time ranges, and which files are refused."""

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from defacer.engine.errors import TooFewKeyFramesError, VideoError
from defacer.engine.media import reader
from defacer.engine.media.clock.clock_scan import examine_video
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.reader import read_frames, read_picture_form, read_video_info
from defacer.engine.runtime.prefetch import usable_threads
from tests.clips import Clip, encode_picture, frame_times, write_clip

CLIP = Clip(seconds=3, keyframe_seconds=1, b_frames=2)


@pytest.fixture(scope="module", params=["mp4", "mkv", "mov", "ts"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("video") / f"clip.{request.param}", CLIP)


def times(video: Path, start: int | None, end: int | None) -> list[int]:
    return [frame.pts for frame in read_frames(str(video), start, end) if frame.pts is not None]


def test_header_is_read(video: Path) -> None:
    info = read_video_info(str(video))
    assert (info.width, info.height, info.codec) == (*CLIP.size, "h264")
    assert info.duration_seconds == pytest.approx(CLIP.seconds, abs=0.15)
    assert list(info.keyframes) == sorted(info.keyframes)


@pytest.mark.parametrize(("first", "last"), [(0, 30), (1, 2), (24, 26), (25, 75), (40, 74), (74, 75)])
def test_time_range_has_exactly_its_frames(video: Path, first: int, last: int) -> None:
    shown = frame_times(video)
    end = shown[last] if last < len(shown) else None
    assert times(video, shown[first], end) == shown[first:last]


def test_large_video_is_decoded_in_as_many_threads_as_can_compute(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", Clip(size=(2560, 1440), seconds=0.1))
    with reader.open_video(str(clip)) as (container, stream):
        next(container.decode(stream))
        assert stream.codec_context.thread_count == usable_threads()


def test_tag_that_is_not_utf_8_is_accepted(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", CLIP)
    data = clip.read_bytes()
    assert data.count(b"Lavf") == 1  # the tag with the name of the muxer
    clip.write_bytes(data.replace(b"Lavf", b"L\xe4\xff\xfe"))
    assert read_video_info(str(clip)).codec == "h264"
    assert len(times(clip, None, None)) == CLIP.frames


def test_adjacent_ranges_have_every_frame_once(video: Path) -> None:
    shown = frame_times(video)
    cuts = [None, shown[20] + 1, shown[50] - 1, None]
    parts = [times(video, start, end) for start, end in pairwise(cuts)]
    assert [pts for part in parts for pts in part] == shown


@pytest.mark.parametrize("read", [read_video_info, read_picture_form, encoding_of])
def test_header_and_first_frame_are_read_together(
    read: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, opened, av_open = write_clip(tmp_path / "clip.mp4", CLIP), [], av.open

    def count_and_open(*arguments: Any, **named: Any) -> Any:
        opened.append(arguments)
        return av_open(*arguments, **named)

    monkeypatch.setattr(av, "open", count_and_open)
    read(str(clip))
    assert len(opened) == 1


def test_file_object_is_read_like_a_path(video: Path) -> None:
    source = io.BytesIO(video.read_bytes())
    assert read_video_info(source) == read_video_info(str(video))
    assert [frame.pts for frame in read_frames(source)] == frame_times(video)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.mp4", b"", "not a video that can be read"),
        ("text.mp4", b"hello " * 1000, "not a video that can be read"),
        ("picture.mp4", encode_picture(np.zeros((40, 40, 3), np.uint8)), "a picture, not a video"),
    ],
)
def test_file_that_is_not_a_video_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(VideoError, match=message):
        read_video_info(str(path))


def test_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", CLIP).read_bytes()
    part = tmp_path / "part.mp4"
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError):
        read_video_info(str(part))


def test_file_with_sound_only_is_refused(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="no moving picture"):
        read_video_info(str(path))


def test_playlist_that_names_other_files_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "secret.mp4", CLIP)
    playlist = tmp_path / "video.mp4"
    playlist.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    for source in (str(playlist), io.BytesIO(playlist.read_bytes())):
        with pytest.raises(VideoError, match="not a video that can be read"):
            read_video_info(source)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_only_key_frame_is_listed_at_the_start(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / f"clip.{suffix}", Clip(seconds=3, keyframe_seconds=100))
    header = read_video_info(str(clip))
    assert header.keyframes == (header.start_pts,)


def test_distant_range_without_a_usable_key_frame_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MPEG-TS has no index, so ingest does not know that each segment would be decoded from the beginning."""
    clip = str(write_clip(tmp_path / "clip.ts", Clip(seconds=4, keyframe_seconds=100)))
    header = read_video_info(clip)
    monkeypatch.setattr(reader, "MAX_SECONDS_FROM_START", 2)
    allowed, distant = (header.start_pts + seconds * 90_000 for seconds in (2, 3))
    assert len(list(read_frames(clip, allowed))) == 50
    with pytest.raises(TooFewKeyFramesError, match="no usable key frame within 60 s before 3 s"):
        next(read_frames(clip, distant))


def test_packets_after_a_distant_key_frame_are_not_held_without_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A raw stream has no times, so each segment is read from the start."""
    clip = str(write_clip(tmp_path / "clip.h264", Clip(seconds=4, keyframe_seconds=100, audio=False)))
    source = ClockedSource(clip, examine_video(clip).clock)
    assert source.clock.is_sequential
    [*_, last] = read_frames(source)
    monkeypatch.setattr(reader, "MAX_HELD_BYTES", 10_000)
    with pytest.raises(TooFewKeyFramesError, match="no key frame for 0 MB"):
        next(read_frames(source, last.pts))
