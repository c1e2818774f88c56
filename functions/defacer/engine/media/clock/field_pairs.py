"""Join the two fields of a frame, which FFmpeg returns as two packets of a broadcast or a raw stream (H.264).

A decoder returns one frame for both. In other containers they are one packet.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream

FORMATS = ("mpegts", "mpeg", "h264")
START_CODE = re.compile(b"\0\0\1")
SLICES, SEQUENCE = (1, 5), 7  # types of NAL units
MAX_SEQUENCE_BYTES = 256
SLICE_HEADER_BYTES = 32
MAX_NUMBER_BITS = 16
HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


@dataclass(frozen=True)
class _Sequence:
    """What a sequence parameter set states about the slices (ITU-T H.264, 7.3.2.1.1)."""

    has_color_planes: bool
    frame_number_bits: int
    has_fields: bool


@dataclass(frozen=True)
class _Field:
    """A picture that is one field of a frame."""

    frame_number: int
    is_bottom: bool

    def is_completed_by(self, other: "_Field") -> bool:
        """Return whether the next field is the second one of the same frame."""
        return self.frame_number == other.frame_number and self.is_bottom != other.is_bottom


class FieldJoiner:
    """Joins the packets of the picture. The packets of other tracks pass through."""

    def __init__(self, container: InputContainer, picture: VideoStream):
        context = picture.codec_context
        self._picture = picture
        self._is_wanted = context.name == "h264" and container.format.name in FORMATS
        self._sequence: _Sequence | None = None
        self._first: tuple[Packet[Any], _Field] | None = None
        if self._is_wanted and context.extradata:
            self._read(memoryview(context.extradata))

    def add(self, packet: "Packet[Any]") -> "Iterator[Packet[Any]]":
        """Yield the packets that are complete after this packet was read."""
        if not self._is_wanted or packet.stream_index != self._picture.index:
            yield packet
            return
        field = self._read(memoryview(packet)) if packet.size else None
        if self._first and field and self._first[1].is_completed_by(field):
            first, self._first = self._first[0], None
            yield self._join(first, packet)
            return
        yield from self.flush()
        if field:
            self._first = packet, field
        else:
            yield packet

    def flush(self) -> "Iterator[Packet[Any]]":
        """Yield the packet that waits for a second field."""
        if self._first:
            yield self._first[0]
            self._first = None

    def _join(self, first: "Packet[Any]", second: "Packet[Any]") -> "Packet[Any]":
        # A decoder's thread can wait forever for a packet that is created from bytes: it is freed by Python.
        joined: Packet[Any] = Packet(first.size + second.size)
        joined.update(bytes(first) + bytes(second))
        joined.stream, joined.time_base = self._picture, first.time_base
        joined.pts, joined.dts, joined.duration = first.pts, first.dts, first.duration
        if (first.pts is None) == (second.pts is None):  # otherwise the duration is that of the frame
            joined.duration = (first.duration or 0) + (second.duration or 0)
        joined.is_keyframe = first.is_keyframe
        joined.is_corrupt = first.is_corrupt or second.is_corrupt
        return joined

    def _read(self, data: memoryview) -> _Field | None:
        """Read the parameter sets and the first slice. Return the field, or None for a frame."""
        starts = (code.end() for code in START_CODE.finditer(data))
        for start in starts:
            kind = data[start] & 31 if start < len(data) else 0
            if kind == SEQUENCE:
                self._sequence = _read_sequence(_UnitBits(data[start + 1 : start + 1 + MAX_SEQUENCE_BYTES]))
            elif kind in SLICES:
                head = _UnitBits(data[start + 1 : start + 1 + SLICE_HEADER_BYTES])
                return _read_field(head, self._sequence)
        return None


class _UnitBits:
    """The bits of a NAL unit, the most significant first. After its end all bits are 1, so that each number ends."""

    def __init__(self, data: memoryview):
        plain = bytes(data).replace(b"\0\0\3", b"\0\0")
        self._bits = "".join(f"{byte:08b}" for byte in plain)
        self._position = 0

    def take(self, count: int) -> int:
        start, self._position = self._position, self._position + count
        return int(self._bits[start : self._position].ljust(count, "1") or "0", 2)

    def number(self) -> int:
        """Return an Exp-Golomb number (9.1), which can stand for a signed one."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip(self, count: int) -> None:
        """Skip Exp-Golomb numbers."""
        for _ in range(count):
            self.number()


def _read_sequence(bits: _UnitBits) -> _Sequence:
    profile, has_color_planes = bits.take(8), False
    bits.take(16)
    bits.skip(1)
    if profile in HIGH_PROFILES:
        chroma = bits.number()
        has_color_planes = chroma == 3 and bool(bits.take(1))
        bits.skip(2)
        bits.take(1)
        if bits.take(1):
            for number in range(12 if chroma == 3 else 8):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    frame_number_bits = min(bits.number(), MAX_NUMBER_BITS - 4) + 4
    order = bits.number()
    if order == 0:
        bits.skip(1)
    elif order == 1:
        bits.take(1)
        bits.skip(2)
        bits.skip(min(bits.number(), 255))
    bits.skip(1)
    bits.take(1)
    bits.skip(2)
    return _Sequence(has_color_planes, frame_number_bits, not bits.take(1))


def _skip_scaling_list(bits: _UnitBits, size: int) -> None:
    """Skip a list, which ends early where its next scale is 0 (7.3.2.1.1.1)."""
    if not bits.take(1):
        return
    scale = 8
    for _ in range(size):
        code = bits.number()
        scale = (scale + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        if not scale:
            return


def _read_field(bits: _UnitBits, sequence: _Sequence | None) -> _Field | None:
    """Read the header of a slice (7.3.3)."""
    if sequence is None or not sequence.has_fields:
        return None
    bits.skip(3)
    if sequence.has_color_planes:
        bits.take(2)
    frame_number = bits.take(sequence.frame_number_bits)
    return _Field(frame_number, bool(bits.take(1))) if bits.take(1) else None
