"""Write files whose picture changes in the middle, or is cropped, turned or projected by data of its container."""

import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tests.clips import admiral
from tests.inputs.write_video import Video, boxes, write

RATE = 25
FRAMES = 20  # of each part


@dataclass(frozen=True)
class Part:
    """Some frames of one size."""

    size: tuple[int, int]
    shape: Fraction = Fraction(1)
    pixel_format: str = "yuv420p"


def scene(width: int, height: int, number: int = 0) -> np.ndarray:
    """Return a picture of these displayed sides, with a portrait in the middle and a bright left edge."""
    picture = np.full((height, width, 3), (60, 90, 120), np.uint8)
    side = min(width, height) * 9 // 10
    left, top = (width - side) // 2 + number % 3, (height - side) // 2
    face = cv2.resize(admiral()[:400, 60:460], (side, side), interpolation=cv2.INTER_AREA)
    picture[top : top + side, left : left + side] = face[:, : width - left]
    picture[:, : width // 20] = 235
    return np.ascontiguousarray(picture)


def write_parts(
    path: Path, parts: Sequence[Part], codec: str = "libx264", options: Sequence[tuple[str, str]] = ()
) -> Path:
    """Write parts as one picture track. Each part is encoded by an encoder of its own."""
    with av.open(str(path), "w") as out:
        stream = _add_picture(out, parts[0], codec, dict(options))
        for index, part in enumerate(parts):
            for packet in _encode(part, codec, index * FRAMES, dict(options)):
                packet.stream = stream
                out.mux(packet)
    return path


def _add_picture(out: Any, part: Part, codec: str, options: dict[str, str]) -> Any:
    stream = out.add_stream(codec, rate=RATE, options=options)
    stream.width, stream.height = part.size
    stream.pix_fmt = part.pixel_format
    stream.codec_context.sample_aspect_ratio = part.shape
    stream.time_base = stream.codec_context.time_base = Fraction(1, RATE)
    return stream


def _encode(part: Part, codec: str, first: int, options: dict[str, str]) -> list[Any]:
    stream = _add_picture(av.open(os.devnull, "w", format="null"), part, codec, options)
    packets = []
    for number in range(first, first + FRAMES):
        width, height = part.size
        picture = cv2.resize(scene(round(width * part.shape), height, number), part.size).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=part.pixel_format)
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        packets += stream.encode(frame)
    packets += stream.encode(None)
    return packets


def with_messages(codec: str, *messages: tuple[int, bool, bool]) -> Callable[[Path], Path]:
    """Return a function that writes parts of an upright picture whose stream states rotations (degrees) and mirrorings.

    Each part begins with a message "display orientation" (H.264 D.2.27, HEVC D.2.17), which also holds for the frames
    after it.
    """

    def make(folder: Path) -> Path:
        path, part = folder / "in.ts", Part((320, 180))
        options = {"preset": "ultrafast", "crf": "12", "bf": "0", "x265-params": "log-level=none:pools=none"}
        with av.open(str(path), "w") as out:
            stream = _add_picture(out, part, codec, options)
            for index, message in enumerate(messages):
                packets = _encode(part, codec, index * FRAMES, options)
                first = av.Packet(_insert_unit(bytes(packets[0]), codec, _orientation_unit(codec, *message)))
                first.pts, first.dts, first.time_base = packets[0].pts, packets[0].dts, packets[0].time_base
                first.is_keyframe = True
                for packet in [first, *packets[1:]]:
                    packet.stream = stream
                    out.mux(packet)
        return path

    return make


def _orientation_unit(codec: str, degrees: int, across: bool, down: bool) -> bytes:
    bits = f"0{across:b}{down:b}{degrees * 65536 // 360:016b}" + ("01001" if codec == "libx264" else "11000")
    head = b"\x06" if codec == "libx264" else b"\x4e\x01"
    return b"\0\0\0\1" + head + bytes([47, 3]) + int(bits, 2).to_bytes(3, "big") + b"\x80"


def _insert_unit(data: bytes, codec: str, unit: bytes) -> bytes:
    """Return the packet, which has start codes, with a unit before its first slice."""
    start = 0
    while True:
        start = data.index(b"\0\0\1", start) + 3
        if (data[start] & 31) in (1, 5) if codec == "libx264" else data[start] >> 1 < 32:
            break
    start -= 4 if data[start - 4] == 0 else 3
    return data[:start] + unit + data[start:]


def spatial_video(folder: Path) -> Path:
    """Write a MOV as iPhones do: HEVC with two views (MV-HEVC). The second view repeats the slices of the first."""
    options = {
        "preset": "ultrafast",
        "crf": "12",
        "bf": "0",
        "x265-params": "log-level=none:pools=none:repeat-headers=1",
    }
    raw, path = folder / "in.hevc", folder / "in.mov"
    with raw.open("wb") as file:
        for packet in _encode(Part((320, 192)), "libx265", 0, options):
            units = [unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1")[1:]]
            units = [_two_layers(unit) if unit[0] >> 1 == VPS else unit for unit in units]
            second = [bytes([unit[0], unit[1] | 1 << 3]) + unit[2:] for unit in units if unit[0] >> 1 < VPS]
            file.writelines(b"\0\0\0\1" + unit for unit in [*units, *second])
    with av.open(str(raw), options={"framerate": str(RATE)}) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        stream.time_base = Fraction(1, RATE)
        for number, packet in enumerate(packet for packet in given.demux(video=0) if packet.size):
            packet.time_base, packet.stream = Fraction(1, RATE), stream
            packet.pts, packet.dts, packet.duration = number, number, 1
            out.mux(packet)
    return path


VPS = 32  # the type of a video parameter set


def _two_layers(unit: bytes) -> bytes:
    """Return the video parameter set for a base layer and a second view (ITU-T H.265, 7.3.2.1 and F.7.3.2.1.1)."""
    plain = unit.replace(b"\0\0\3", b"\0\0")
    profile, level = plain[6:18], plain[17]
    limits = _ue(4) + _ue(2) + _ue(0)  # decoded pictures, reordering, latency
    head = "0000" + "11" + f"{1:06b}" + "000" + "1" + "1" * 16 + "".join(f"{byte:08b}" for byte in profile)
    head += "1" + limits + f"{1:06b}" + _ue(1) + "11" + "0" + "1"  # two layer sets, no timing, an extension
    head += "1" * (-len(head) % 8)
    views = "0" + f"{1 << 14:016b}" + "000" + "0" + "1" + f"{1:04b}" + "01" + "1"  # view 1 depends on view 0
    layers = "0" + "0" + "1" + _ue(1) + _ue(0) + "00" + "11"
    size = _ue(0) + f"{320:016b}{192:016b}" + "1" + "01" + "0000" + "0000" + "0" + "1" + "1"
    buffers = "0" + _ue(4) + limits + _ue(0) + "0" + "10" + _ue(0) + "0" + "0"
    bits = head + f"{level:08b}" + views + layers + size + buffers + "1"
    bits += "0" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return plain[:2] + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", body)


def _ue(value: int) -> str:
    """Return a number as an Exp-Golomb code."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def photos(folder: Path, *orientations: int) -> Path:
    """Write an AVI of photos with EXIF: a camera model, and 12 photos of each orientation, displayed as 270x480."""
    path = folder / "in.avi"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 480, 270, "yuvj420p"
        for number, orientation in enumerate(value for value in orientations for _ in range(12)):
            packet = av.Packet(_photo(number, orientation))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            out.mux(packet)
    return path


def _photo(number: int, orientation: int) -> bytes:
    """Return a JPEG that its EXIF orientation turns upright (6 and 8: by 90 degrees; 2 and 4: mirrored)."""
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack(
        "<HHII", 0x0110, 2, 4, 0x00314D
    )
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    turns, is_mirrored = {
        1: (0, False),
        2: (0, True),
        3: (2, False),
        4: (2, True),
        6: (1, False),
        8: (3, False),
    }[orientation]
    stored = np.rot90(scene(270, 480, number), turns)
    stored = stored[:, ::-1] if is_mirrored else stored
    photo = cv2.imencode(".jpg", cv2.cvtColor(stored, cv2.COLOR_RGB2BGR))[1].tobytes()
    return photo[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + photo[2:]


def mp4_with(sample_entry: bytes = b"", track: bytes = b"") -> Callable[[Path], Path]:
    """Return a function that writes an MP4 with further boxes in its picture's sample entry, and in its track."""

    def make(folder: Path) -> Path:
        path = write(folder / "in.mp4", Video(size=(480, 270), sound=(), portrait=admiral()[:400, 60:460]))
        data = path.read_bytes()
        start, size = next((start, size) for kind, start, size in boxes(data) if kind == "moov")
        assert start + size == len(data)  # no sample offset changes
        path.write_bytes(
            data[:start] + _extend(data[start:], ("trak", "mdia", "minf", "stbl"), sample_entry, track)
        )
        return path

    return make


def _extend(box: bytes, path: tuple[str, ...], entry: bytes, track: bytes) -> bytes:
    """Return an MP4 box with `entry` at the end of its first sample entry, and `track` at the end of its track."""
    inner = b""
    for kind, start, size in boxes(box, 8):
        child = box[start : start + size]
        if kind in path:
            child = _extend(child, path, entry, track)
            if kind == "trak":
                child = _box(kind, child[8:] + track)
        elif kind == "stsd":
            (length,) = struct.unpack_from(">I", child, 16)
            first = _box(child[20:24].decode(), child[24 : 16 + length] + entry)
            child = _box(kind, child[8:16] + first + child[16 + length :])
        inner += child
    return _box(box[4:8].decode(), inner)


def _box(kind: str, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind.encode()) + body


def stereo_box(mode: int) -> bytes:
    return _box("st3d", bytes(4) + bytes([mode]))


SPHERE = _box(
    "sv3d",
    _box("svhd", bytes(4) + b"Phone Inc. 47.3769\0")
    + _box("proj", _box("prhd", bytes(4) + struct.pack(">iii", 30 << 16, 10 << 16, 5 << 16))
    + _box("equi", bytes(4) + struct.pack(">4I", 0, 0, 0, 0))),
)  # fmt: skip
SPHERE_V1 = _box(
    "uuid",
    bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
    + b'<?xml version="1.0"?><rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    b'xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/"><GSpherical:Spherical>true</GSpherical:Spherical>'
    b"<GSpherical:Stitched>true</GSpherical:Stitched><GSpherical:StitchingSoftware>Phone Inc."
    b"</GSpherical:StitchingSoftware><GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>"
    b"<GSpherical:StereoMode>top-bottom</GSpherical:StereoMode></rdf:SphericalVideo>",
)


def mkv_with(elements: bytes, name: str = "in.mkv") -> Callable[[Path], Path]:
    """Return a function that writes an MKV without an index, with further elements in the element of its picture."""

    def make(folder: Path) -> Path:
        plain = write(
            folder / "plain.mkv", Video(size=(480, 270), sound=(), portrait=admiral()[:400, 60:460])
        )
        path = folder / name
        with av.open(str(plain)) as given, av.open(str(path), "w", options={"live": "1"}) as out:
            stream = out.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
        data = path.read_bytes()
        path.write_bytes(
            b"".join(
                _add_elements(data, (b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"), elements)
            )
        )
        return path

    return make


def _add_elements(data: bytes, path: tuple[bytes, ...], added: bytes) -> Iterator[bytes]:
    """Yield the elements of an MKV, with `added` at the end of the element at this path."""
    offset = 0
    while offset < len(data):
        kind_end = offset + 9 - data[offset].bit_length()
        start = kind_end + 9 - data[kind_end].bit_length()
        bits = 7 * (start - kind_end)
        size = int.from_bytes(data[kind_end:start], "big") & ((1 << bits) - 1)
        is_open = size == (1 << bits) - 1
        kind, end = data[offset:kind_end], len(data) if is_open else start + size
        body = data[start:end]
        if kind == path[0]:
            body = b"".join(_add_elements(body, path[1:], added)) if path[1:] else body + added
            path = path if path[1:] else (b"",)
        head = b"\x01" + b"\xff" * 7 if is_open else struct.pack(">Q", 1 << 56 | len(body))
        yield kind + head + body
        offset = end


STEREO_MODE = b"\x53\xb8"  # an element, without its size and value


def crop_elements(left: int, top: int, right: int, bottom: int) -> bytes:
    sides = ((0x54CC, left), (0x54BB, top), (0x54DD, right), (0x54AA, bottom))
    return b"".join(struct.pack(">HBB", kind, 0x81, pixels) for kind, pixels in sides)


def with_color_matrix(matrix: int) -> Callable[[Path], Path]:
    """Return a function that writes an MP4 whose picture states this color matrix (ITU-T H.273)."""
    return lambda folder: write(
        folder / "in.mp4", Video(size=(480, 270), sound=(), seconds=1.2, color=(1, 1, 1, matrix))
    )


def with_other_track(suffix: str, frames: int, codec: str = "mjpeg") -> Callable[[Path], Path]:
    """Return a function that writes a file whose first picture track has this many small frames and is not a cover."""

    def make(folder: Path) -> Path:
        plain = write(folder / f"plain{suffix}", Video(size=(480, 270), sound=()))
        path = folder / f"in{suffix}"
        with av.open(str(plain)) as given, av.open(str(path), "w") as out:
            other: Any = out.add_stream(codec, rate=RATE)
            other.width, other.height, other.pix_fmt = 64, 64, "yuvj420p" if codec == "mjpeg" else "yuv420p"
            picture = out.add_stream_from_template(given.streams.video[0])
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                out.mux(other.encode(frame))
            out.mux(other.encode(None))
            for packet in given.demux(video=0):
                if packet.size:
                    packet.stream = picture
                    out.mux(packet)
        return path

    return make
