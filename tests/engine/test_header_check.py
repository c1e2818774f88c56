"""Headers of MP4s: those that lie are refused with a sentence, those that are only loose are not."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from defacer.engine.errors import VideoError
from defacer.engine.media.mp4.header_check import read_header
from defacer.engine.media.mp4.user_data import list_user_data
from defacer.engine.media.reader import probe
from tests.inputs.write_video import Text, Video, boxes, patched, with_edits, write

SECONDS = 8.0
VIDEO = Video(seconds=SECONDS, texts=(Text("mov_text"),))
Change = Callable[[bytearray], None]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write(tmp_path / "in.mp4", VIDEO)


def places(data: bytes, kind: bytes) -> list[int]:
    """Where the bodies of all boxes of a kind begin."""
    found, place = [], data.find(kind)
    while place > 0:
        found.append(place + 4)
        place = data.find(kind, place + 4)
    return found


def movie_scale(data: bytes) -> int:
    return int(struct.unpack_from(">I", data, places(data, b"mvhd")[0] + 12)[0])


def track_lengths(seconds: float) -> Change:
    """Another length in each track's header."""

    def change(data: bytearray) -> None:
        for place in places(data, b"tkhd"):
            struct.pack_into(">I", data, place + 20, round(seconds * movie_scale(data)))

    return change


def in_the_media_s_units(data: bytearray) -> None:
    (scale,) = struct.unpack_from(">I", data, places(data, b"mdhd")[0] + 12)
    struct.pack_into(">I", data, places(data, b"tkhd")[0] + 20, round(SECONDS * scale))


def movie_length(seconds: float) -> Change:
    def change(data: bytearray) -> None:
        struct.pack_into(">I", data, places(data, b"mvhd")[0] + 16, round(seconds * movie_scale(data)))

    return change


def text_length(seconds: float) -> Change:
    """Of the subtitle track, which is the last one."""

    def change(data: bytearray) -> None:
        place = places(data, b"tkhd")[-1]
        struct.pack_into(">I", data, place + 20, round(seconds * movie_scale(data)))

    return change


def negative_time(data: bytearray) -> None:
    place = places(data, b"stts")[0]
    struct.pack_into(">I", data, place + 12, 2**32 - 17)


def picture_size(width: int, height: int) -> Change:
    def change(data: bytearray) -> None:
        place = data.find(b"avc1" + bytes(6))
        struct.pack_into(">HH", data, place + 28, width, height)

    return change


def edit_rate(rate: int) -> Change:
    def change(data: bytearray) -> None:
        for place in places(data, b"elst"):
            struct.pack_into(">I", data, place + 16, rate)

    return change


@pytest.mark.parametrize(
    "change",
    [
        in_the_media_s_units,
        track_lengths(SECONDS - 3),
        movie_length(SECONDS + 1),
        movie_length(0),  # not told
        text_length(60),
        negative_time,
        picture_size(0, 0),
        picture_size(320, 224),
        picture_size(426, 180),  # as it is shown, if pixels are wide
        edit_rate(0x4000),
        edit_rate(0),
    ],
)
def test_loose_headers_are_taken(video: Path, change: Change) -> None:
    assert probe(str(patched(video, change))).duration_seconds is not None


def test_what_old_muxers_say_of_a_cut_is_taken(video: Path) -> None:
    """They wrote the length of all samples, whatever an edit list hides of them."""
    with_edits(video, ((5.0, 3.0),))
    assert probe(str(patched(video, track_lengths(SECONDS)))).start_pts >= 0


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
def test_headers_that_lie_are_refused(video: Path, change: Change, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        probe(str(patched(video, change)))


def test_wherever_the_index_is_cut_off_there_is_a_sentence(tmp_path: Path) -> None:
    times = tuple(
        number / 25 + number % 3 / 1000 for number in range(100)
    )  # so that the table of times is long
    data = write(tmp_path / "in.mp4", Video(times=times)).read_bytes()
    begin = next(start for kind, start, _ in boxes(data) if kind == "moov")
    part = tmp_path / "part.mp4"
    for size in range(begin + 9, len(data) - 1, 11):
        part.write_bytes(data[:size])
        with pytest.raises(VideoError):
            probe(str(part))


def test_boxes_within_boxes_without_end_are_left(video: Path) -> None:
    nested = b""
    for _ in range(2000):
        nested = struct.pack(">I4s", 8 + len(nested), b"moov") + nested
    deep = video.with_name("deep.mp4")
    deep.write_bytes(video.read_bytes() + nested)
    assert read_header(str(deep)) is not None
    assert list_user_data(str(deep)) == ()
    deep.write_bytes(video.read_bytes()[:32] + nested)
    with pytest.raises(VideoError):
        probe(str(deep))


def test_tags_in_another_code_than_utf_8_are_no_reason_to_refuse(tmp_path: Path) -> None:
    tagged = write(tmp_path / "in.mp4", Video(tags=(("title", "CAFEXX"),)))
    data = tagged.read_bytes().replace(b"CAFEXX", b"CAF\xe9XX")
    assert b"\xe9" in data
    tagged.write_bytes(data)
    assert probe(str(tagged)).width == 320
    with av.open(str(tagged), metadata_errors="replace") as container:
        assert container.metadata["title"].startswith("CAF")
