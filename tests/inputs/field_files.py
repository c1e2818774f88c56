"""Write interlaced H.264 whose fields are pictures of their own, as camcorders and television stations write it.

No encoder at hand writes such fields, so this module writes uncompressed macroblocks (I_PCM, ITU-T H.264, 7.3.5).
"""

from fractions import Fraction
from pathlib import Path

import av

FRAMES, KEY_FRAMES = 50, 5  # all frames, and those from one key frame to the next
ACROSS, DOWN = 6, 4  # macroblocks of a field
TICKS = 90_000
UNIT_DELIMITER, SEQUENCE, PICTURE, KEY_SLICE, SLICE = 0x09, 0x67, 0x68, 0x65, 0x61


class Bits:
    """Writes the fields of a NAL unit."""

    def __init__(self) -> None:
        self.text = ""

    def fixed(self, width: int, value: int) -> "Bits":
        self.text += f"{value:0{width}b}"
        return self

    def numbers(self, *values: int) -> "Bits":
        """Add Exp-Golomb numbers (9.1)."""
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code
        return self

    def align(self) -> "Bits":
        self.text += "0" * (-len(self.text) % 8)
        return self

    def unit(self, header: int) -> bytes:
        self.fixed(1, 1).align()
        body = int(self.text, 2).to_bytes(len(self.text) // 8, "big")
        for byte in range(4):  # no start code inside a unit
            body = body.replace(bytes([0, 0, byte]), bytes([0, 0, 3, byte]))
        return b"\0\0\0\1" + bytes([header]) + body


def _parameters() -> bytes:
    sequence = Bits().fixed(8, 77).fixed(8, 0).fixed(8, 30).numbers(0, 0, 0, 0, 1).fixed(1, 0)
    sequence.numbers(ACROSS - 1, DOWN - 1).fixed(5, 0b00100)
    picture = Bits().numbers(0, 0).fixed(2, 0).numbers(0, 0, 0).fixed(3, 0).numbers(0, 0, 0).fixed(3, 0)
    return sequence.unit(SEQUENCE) + picture.unit(PICTURE)


def _field(number: int, bottom: int) -> bytes:
    """Return one field of a frame. The brightness of the frame rises with its number."""
    in_group = number % KEY_FRAMES
    is_key = in_group == 0 and not bottom
    slice_ = Bits().numbers(0, 7, 0).fixed(4, in_group).fixed(1, 1).fixed(1, bottom)
    if is_key:
        slice_.numbers(number // KEY_FRAMES % 2)
    slice_.fixed(4, 2 * in_group + bottom).fixed(2 if is_key else 1, 0).numbers(0)
    samples = bytes([40 + 3 * number]) * 256 + bytes([128]) * 128
    for _ in range(ACROSS * DOWN):
        slice_.numbers(25).align().text += f"{int.from_bytes(samples, 'big'):0{8 * len(samples)}b}"
    delimiter = Bits().fixed(3, 0).unit(UNIT_DELIMITER)
    return delimiter + (_parameters() if is_key else b"") + slice_.unit(KEY_SLICE if is_key else SLICE)


def raw_fields(folder: Path) -> Path:
    path = folder / "in.h264"
    path.write_bytes(b"".join(_field(number, bottom) for number in range(FRAMES) for bottom in (0, 1)))
    return path


def fields_with_one_time(folder: Path) -> Path:
    """Write a transport stream that states one time for both fields of a frame."""
    return _write(folder, [[_field(number, 0) + _field(number, 1)] for number in range(FRAMES)])


def fields_with_own_times(folder: Path) -> Path:
    return _write(folder, [[_field(number, 0), _field(number, 1)] for number in range(FRAMES)])


def _write(folder: Path, frames: list[list[bytes]]) -> Path:
    path = folder / "in.ts"
    with av.open(str(raw_fields(folder))) as raw, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(raw.streams.video[0])
        for number, parts in enumerate(frames):
            for second, data in enumerate(parts):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, TICKS)
                packet.pts = packet.dts = TICKS + number * TICKS // 25 + second * TICKS // 50
                packet.is_keyframe = number % KEY_FRAMES == 0 and not second
                made.mux(packet)
    return path
