"""Test that headers of MP4s with large contradictions are refused, and that inexact headers are accepted."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from defacer.engine.errors import VideoError
from defacer.engine.media.mp4.header_check import read_header
from defacer.engine.media.mp4.user_data import list_user_data
from defacer.engine.media.reader import read_video_info
from tests.inputs.write_video import Text, Video, boxes, patch, set_edits, write

SECONDS = 8.0
VIDEO = Video(seconds=SECONDS, texts=(Text("mov_text"),))
Change = Callable[[bytearray], None]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("video") / "in.mp4", VIDEO)


@pytest.fixture
def video(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(written, tmp_path / "in.mp4"))


def body_offsets(data: bytes | bytearray, kind: bytes) -> list[int]:
    """Return the offsets of the bodies of all boxes of a kind."""
    found, offset = [], data.find(kind)
    while offset > 0:
        found.append(offset + 4)
        offset = data.find(kind, offset + 4)
    return found


def movie_timescale(data: bytes | bytearray) -> int:
    return int(struct.unpack_from(">I", data, body_offsets(data, b"mvhd")[0] + 12)[0])


def track_lengths(seconds: float) -> Change:
    """Change the length in the header of each track."""

    def change(data: bytearray) -> None:
        for offset in body_offsets(data, b"tkhd"):
            struct.pack_into(">I", data, offset + 20, round(seconds * movie_timescale(data)))

    return change


def track_length_in_media_units(data: bytearray) -> None:
    (scale,) = struct.unpack_from(">I", data, body_offsets(data, b"mdhd")[0] + 12)
    struct.pack_into(">I", data, body_offsets(data, b"tkhd")[0] + 20, round(SECONDS * scale))


def movie_length(seconds: float) -> Change:
    def change(data: bytearray) -> None:
        struct.pack_into(
            ">I", data, body_offsets(data, b"mvhd")[0] + 16, round(seconds * movie_timescale(data))
        )

    return change


def text_length(seconds: float) -> Change:
    """Change the length of the subtitle track, which is the last one."""

    def change(data: bytearray) -> None:
        offset = body_offsets(data, b"tkhd")[-1]
        struct.pack_into(">I", data, offset + 20, round(seconds * movie_timescale(data)))

    return change


def negative_time(data: bytearray) -> None:
    offset = body_offsets(data, b"stts")[0]
    struct.pack_into(">I", data, offset + 12, 2**32 - 17)


def picture_size(width: int, height: int) -> Change:
    def change(data: bytearray) -> None:
        offset = data.find(b"avc1" + bytes(6))
        struct.pack_into(">HH", data, offset + 28, width, height)

    return change


def edit_rate(rate: int) -> Change:
    def change(data: bytearray) -> None:
        for offset in body_offsets(data, b"elst"):
            struct.pack_into(">I", data, offset + 16, rate)

    return change


@pytest.mark.parametrize(
    "change",
    [
        track_length_in_media_units,
        track_lengths(SECONDS - 3),
        movie_length(SECONDS + 1),
        movie_length(0),  # not stated
        text_length(60),
        negative_time,
        picture_size(0, 0),
        picture_size(320, 224),
        picture_size(426, 180),  # as displayed with wide pixels
        edit_rate(0x4000),
        edit_rate(0),
    ],
)
def test_inexact_headers_are_accepted(video: Path, change: Change) -> None:
    assert read_video_info(str(patch(video, change))).duration_seconds is not None


def test_track_length_without_the_edit_list_is_accepted(video: Path) -> None:
    """Old muxers wrote the length of all samples, also of those that an edit list hides."""
    set_edits(video, ((5.0, 3.0),))
    assert read_video_info(str(patch(video, track_lengths(SECONDS)))).start_pts >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (track_lengths(36_000), "a track lasts 36000.0 s, its index that it lasts 8.0 s"),
        (track_lengths(0.3), "a track lasts 0.3 s"),
        (movie_length(36_000), "a movie lasts 36000.0 s"),
        (movie_length(0.3), "a movie lasts 0.3 s"),
        (picture_size(4000, 180), "4000x180, it is 320x180"),
        (picture_size(320, 30), "320x30, it is 320x180"),
    ],
)
def test_headers_with_large_contradictions_are_refused(video: Path, change: Change, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        read_video_info(str(patch(video, change)))


def test_index_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    times = tuple(
        number / 25 + number % 3 / 1000 for number in range(100)
    )  # unequal intervals make the table of times long
    data = write(tmp_path / "in.mp4", Video(times=times)).read_bytes()
    begin = next(start for kind, start, _ in boxes(data) if kind == "moov")
    part = tmp_path / "part.mp4"
    for size in range(begin + 9, len(data) - 1, 11):
        part.write_bytes(data[:size])
        with pytest.raises(VideoError):
            read_video_info(str(part))


def test_deeply_nested_boxes_are_skipped(video: Path) -> None:
    nested = b""
    for _ in range(2000):
        nested = struct.pack(">I4s", 8 + len(nested), b"moov") + nested
    deep = video.with_name("deep.mp4")
    deep.write_bytes(video.read_bytes() + nested)
    assert read_header(str(deep)) is not None
    assert list_user_data(str(deep)) == ()
    deep.write_bytes(video.read_bytes()[:32] + nested)
    with pytest.raises(VideoError):
        read_video_info(str(deep))


def test_tags_in_another_encoding_than_utf_8_are_accepted(tmp_path: Path) -> None:
    tagged = write(tmp_path / "in.mp4", Video(tags=(("title", "CAFEXX"),)))
    data = tagged.read_bytes().replace(b"CAFEXX", b"CAF\xe9XX")
    assert b"\xe9" in data
    tagged.write_bytes(data)
    assert read_video_info(str(tagged)).width == 320
    with av.open(str(tagged), metadata_errors="replace") as container:
        assert container.metadata["title"].startswith("CAF")
