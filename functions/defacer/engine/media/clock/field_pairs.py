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

from defacer.engine.media.h264.parameter_sets import SEQUENCE_SET, SequenceSet, read_sequence
from defacer.engine.media.h264.unit_bits import UnitBits

FORMATS = ("mpegts", "mpeg", "h264")
START_CODE = re.compile(b"\0\0\1")
SLICES = (1, 5)  # types of NAL units
MAX_SEQUENCE_BYTES = 256
SLICE_HEADER_BYTES = 32


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
        self._sequence: SequenceSet | None = None
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
            if kind == SEQUENCE_SET:
                self._sequence = read_sequence(data[start : start + MAX_SEQUENCE_BYTES])
            elif kind in SLICES:
                head = UnitBits(data[start + 1 : start + 1 + SLICE_HEADER_BYTES])
                return _read_field(head, self._sequence)
        return None


def _read_field(bits: UnitBits, sequence: SequenceSet | None) -> _Field | None:
    """Read the header of a slice (7.3.3)."""
    if sequence is None or not sequence.has_fields:
        return None
    bits.skip(3)
    if sequence.has_color_planes:
        bits.take(2)
    frame_number = bits.take(sequence.frame_number_bits)
    return _Field(frame_number, bool(bits.take(1))) if bits.take(1) else None
