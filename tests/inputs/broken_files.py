"""Write files that PyAV's muxers do not write: damaged, contradictory, truncated, or with the data of cameras."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.inputs.write_video import GOP, X265, Sound, Video, boxes, patch, set_edits, write

Maker = Callable[[Path], Path]


def with_user_data(folder: Path) -> Path:
    """Write an MP4 with a GoPro's user data, and with XMP at both places where editors write it."""
    path = write(folder / "in.mp4", Video())
    data = path.read_bytes()
    start, size = next((start, size) for kind, start, size in boxes(data) if kind == "moov")
    assert start + size == len(data)
    secret = b"Phone Inc. +37.7749-122.4194/"
    inner = b"".join(
        struct.pack(">I4s", 8 + len(secret), kind) + secret for kind in (b"CAME", b"GPMF", b"XMP_")
    )
    movie = data[start + 8 :] + struct.pack(">I4s", 8 + len(inner), b"udta") + inner
    xmp = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + secret
    first = struct.unpack_from(">I", data)[0]  # XMP comes after the samples, so no offset changes
    assert data[4:8] == b"ftyp"
    assert first < start
    path.write_bytes(
        data[:start]
        + struct.pack(">I4s", 8 + len(xmp), b"uuid") + xmp
        + struct.pack(">I4s", 8 + len(movie), b"moov") + movie
    )  # fmt: skip
    return path


def with_timecode(folder: Path) -> Path:
    """Write a MOV with a track `tmcd`, which FFmpeg's muxer writes for a tag "timecode"."""
    plain = write(folder / "plain.mov", Video())
    path = folder / "in.mov"
    with av.open(str(plain)) as given, av.open(str(path), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        streams[0].metadata["timecode"] = "01:02:03:04"
        for packet in given.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    return path


def find(data: bytearray, kind: bytes) -> int:
    offset = data.find(kind)
    assert offset > 0
    return offset


def damage_packet(number: int, size: int = 40) -> Maker:
    """Return a function that writes an MP4 with an overwritten part in the packet of that decode number."""

    def make(folder: Path) -> Path:
        path = write(
            folder / "in.mp4", Video(seconds=4, options=(("preset", "ultrafast"), ("g", "20"), ("bf", "2")))
        )
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        packet = packets[number]

        def change(data: bytearray) -> None:
            start = packet.pos + packet.size // 3
            data[start : start + size] = bytes((7 * n + 13) % 256 for n in range(size))

        return patch(path, change)

    return make


def cut_off(folder: Path) -> Path:
    path = write(folder / "in.mp4", Video(seconds=6, muxer=(("movflags", "faststart"),)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    return path


def cut_off_avi(folder: Path) -> Path:
    path = write(folder / "in.avi", Video(codec="mpeg4", seconds=6, options=(("b", "2M"),), sound=()))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    return path


def damage_hevc(folder: Path) -> Path:
    path = write(folder / "in.mp4", Video(codec="libx265", seconds=3, options=X265))
    with av.open(str(path)) as container:
        packet = max(
            (p for p in container.demux(video=0) if p.size and not p.is_keyframe), key=lambda p: p.size
        )
        offset, size = packet.pos, packet.size

    def change(data: bytearray) -> None:
        data[offset + 8 : offset + size] = bytes((91 * n + 17) % 256 for n in range(size - 8))

    return patch(path, change)


def unknown_codec(folder: Path) -> Path:
    def change(data: bytearray) -> None:
        offset = find(data, b"avc1" + bytes(6))
        data[offset : offset + 4] = b"xyz9"

    return patch(write(folder / "in.mp4", Video()), change)


def large_box(folder: Path) -> Path:
    """Write an MP4 whose box of samples claims 10 GB. Its index comes after the samples."""

    def change(data: bytearray) -> None:
        offset = find(data, b"mdat")
        struct.pack_into(">I4sQ", data, offset - 12, 1, b"mdat", 10_000_000_000)

    return patch(write(folder / "in.mp4", Video()), change)


def with_stated_length(seconds: float) -> Maker:
    """Return a function that writes an MP4 with another length in the headers of movie, track and media."""

    def change(data: bytearray) -> None:
        movie_scale = 0
        for kind, length_at in ((b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 20)):
            offset = data.find(kind)
            while offset > 0:
                scale = movie_scale if kind == b"tkhd" else struct.unpack_from(">I", data, offset + 16)[0]
                movie_scale = movie_scale or scale
                struct.pack_into(">I", data, offset + 4 + length_at, min(round(seconds * scale), 2**32 - 2))
                offset = data.find(kind, offset + 4)

    return lambda folder: patch(write(folder / "in.mp4", Video(seconds=8)), change)


def long_edit(folder: Path) -> Path:
    return set_edits(write(folder / "in.mp4", Video()), ((0.0, 36_000.0),))


def long_mkv(folder: Path) -> Path:
    """Write an MKV whose Duration element (44 89, EBML float of 8 bytes) says ten hours, in milliseconds."""

    def change(data: bytearray) -> None:
        offset = find(data, b"\x44\x89\x88")
        struct.pack_into(">d", data, offset + 3, 36_000_000.0)

    return patch(write(folder / "in.mkv", Video()), change)


def wide_header(folder: Path) -> Path:
    """Write an MP4 with a sample entry that claims 4000x3000."""

    def change(data: bytearray) -> None:
        offset = find(data, b"avc1" + bytes(6))
        struct.pack_into(">HH", data, offset + 28, 4000, 3000)

    return patch(write(folder / "in.mp4", Video()), change)


def with_bytes(name: str, data: bytes) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def sound_only(folder: Path) -> Path:
    path = folder / "in.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48_000, layout="mono")
        for number in range(50):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 1024 * number, Fraction(1, 48_000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def without_middle(folder: Path, name: str = "in.mp4", codec: str = "aac") -> Path:
    """Write a file with two edits in each track, which hide the time from 0.8 s to 1.6 s."""
    path = write(folder / name, Video(seconds=3.2, sound=(Sound(codec),), options=(*GOP, ("bf", "0"))))
    return set_edits(path, ((0.0, 0.8), (1.6, 1.6)))
