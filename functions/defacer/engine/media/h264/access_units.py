"""Read the packets of an H.264 source, and keep only their slices (ITU-T H.264, 7.3 and 7.4.1.2).

All other data is dropped: messages with coordinates or times (SEI), delimiters, filler and repeated parameter sets. A
packet with anything that is not understood, or that a player can show in another way, can't be copied.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from defacer.engine.media.h264.parameter_sets import (
    PICTURE_SET,
    SEQUENCE_SET,
    PictureSet,
    SequenceSet,
    join_units,
)
from defacer.engine.media.h264.unit_bits import UnitBits

SLICE, KEY_SLICE, MESSAGES, DELIMITER, FILLER = 1, 5, 6, 9, 12  # types of NAL units
REFERENCE = 0x60  # bits of a NAL unit's first byte, which are 0 if no other frame depends on it
SLICE_HEADER_BYTES = 48
# Messages without any effect on the shown picture (annex D): buffering, times, filler, data of an encoder or a camera,
# and recovery points. Registered data has captions, which an encoded group keeps. All others can last (film grain, 3D).
DROPPED_MESSAGES, CAPTIONS = (0, 1, 3, 5, 6), 4
# FFmpeg repeats the faults of x264 up to this build, which names itself in a message (libavcodec/h264_direct.c).
X264, OLD_X264 = re.compile(rb"x264 - core (\d+)"), 33
# Inside of a NAL unit (7.4.1): a start code would begin another unit.
FORBIDDEN = (b"\0\0\0", b"\0\0\1", b"\0\0\2")


class NotCopyableError(Exception):
    """A source, or a packet of it, that can't be copied. The message says why, and names no file."""


class LastingError(NotCopyableError):
    """A packet with other parameter sets, or with a message that can have an effect on all later packets."""


@dataclass(frozen=True)
class AccessUnit:
    """The slices of one frame, with start codes. `is_key`: no later frame depends on an earlier one (IDR)."""

    data: bytes
    is_key: bool


@dataclass(frozen=True)
class SourceParameters:
    """The parameter sets of a source, as NAL units and as they were read."""

    length_bytes: int
    units: tuple[bytes, ...]
    sequence: SequenceSet
    pictures: tuple[PictureSet, ...]

    def read(self, data: bytes) -> AccessUnit:
        """Return the slices of a packet. Raises NotCopyableError."""
        slices = []
        for unit in self._split(data):
            kind = unit[0] & 31
            if kind in (SLICE, KEY_SLICE):
                slices.append(unit)
            elif kind in (SEQUENCE_SET, PICTURE_SET):
                if unit not in self.units:
                    raise LastingError("its parameter sets change")
            elif kind == MESSAGES:
                self._require_dropped(unit)
            else:
                _require(kind in (DELIMITER, FILLER), f"it has NAL units of type {kind}")
        self._require_one_picture(slices)
        return AccessUnit(join_units(slices), slices[0][0] & 31 == KEY_SLICE)

    def _require_dropped(self, unit: bytes) -> None:
        """Raise NotCopyableError for a message that a player uses."""
        for kind, payload in _messages_in(unit):
            _require(kind != CAPTIONS, "it has captions")
            if kind not in DROPPED_MESSAGES:
                raise LastingError(f"it has messages of type {kind}")
            encoder = X264.search(payload)
            if encoder and int(encoder[1]) <= OLD_X264:
                raise LastingError("a decoder has to know its old encoder")

    def _split(self, data: bytes) -> Iterator[bytes]:
        position, count = 0, self.length_bytes
        while position < len(data):
            size = int.from_bytes(data[position : position + count], "big")
            position += count
            unit = data[position : position + size]
            _require(0 < size == len(unit) and not is_damaged(unit), "a packet is damaged")
            yield unit
            position += size

    def _require_one_picture(self, slices: list[bytes]) -> None:
        """Raise NotCopyableError unless these are the slices of one frame, in order, and each part of it once."""
        headers = [self._read_header(unit) for unit in slices]
        _require(bool(headers), "a packet has no frame")
        _require(len({picture for _, picture in headers}) == 1, "a packet has more than one frame")
        firsts = [first for first, _ in headers]
        _require(firsts[0] == 0 and firsts == sorted(set(firsts)), "a frame has slices in another order")

    def _read_header(self, unit: bytes) -> tuple[int, tuple[int, ...]]:
        """Return the number of the first block of a slice, and the fields that are the same in a frame (7.3.3)."""
        is_key, bits = unit[0] & 31 == KEY_SLICE, UnitBits(unit[1 : 1 + SLICE_HEADER_BYTES])
        first, _, picture = bits.number(), bits.number(), bits.number()
        known = [known for known in self.pictures if known.number == picture]
        _require(bool(known), "a frame needs an unknown parameter set")
        number = bits.take(self.sequence.frame_number_bits)
        key = bits.number() if is_key else -1
        order = bits.take(self.sequence.order_bits) if self.sequence.order_bits else 0
        if is_key and self.sequence.order_type != 1:
            bits.skip(known[0].has_order_deltas and self.sequence.order_type == 0)
            _require(not bits.take(1), "a key frame drops frames before it")  # no_output_of_prior_pics_flag
        return first, (picture, number, key, order, bool(unit[0] & REFERENCE))


def is_damaged(unit: bytes) -> bool:
    """Return whether a NAL unit is not valid, so that a decoder could find another unit in it."""
    return bool(unit[0] & 0x80) or unit[-1] == 0 or any(code in unit for code in FORBIDDEN)


def _messages_in(unit: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the data of each message in a NAL unit (7.3.2.3)."""
    data, position = unit[1:].replace(b"\0\0\3", b"\0\0").rstrip(b"\0"), 0
    while position < len(data) - 1:  # the last byte ends the unit
        kind, position = _read_sum(data, position)
        size, position = _read_sum(data, position)
        yield kind, data[position : position + size]
        position += size


def _read_sum(data: bytes, position: int) -> tuple[int, int]:
    """Read a number that is the sum of bytes. Only the last one is below 255."""
    total = 0
    while position < len(data) and data[position] == 255:
        total, position = total + 255, position + 1
    return total + (data[position] if position < len(data) else 0), position + 1


def _require(is_true: bool, reason: str) -> None:
    if not is_true:
        raise NotCopyableError(reason)
