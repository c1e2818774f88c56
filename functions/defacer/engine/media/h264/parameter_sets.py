"""Read the parameter sets of an H.264 stream: the fields that decide how its slices are read and displayed (7.3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from defacer.engine.media.h264.unit_bits import UnitBits

HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
MAX_NUMBER_BITS = 16
SEQUENCE_SET, PICTURE_SET = 7, 8  # types of NAL units
START_CODE = b"\0\0\0\1"
# Pixel aspect ratios by their number in a sequence parameter set (table E-1).
SHAPES = ((1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11), (80, 33), (18, 11), (15, 11),
          (64, 33), (160, 99), (4, 3), (3, 2), (2, 1))  # fmt: skip
OTHER_SHAPE = 255
UNSPECIFIED = 2  # of colors (ITU-T H.273)
LIMITED, FULL = 1, 2  # FFmpeg's AVColorRange


@dataclass(frozen=True)
class Colors:
    """Range, primaries, transfer and matrix, with the numbers of FFmpeg. The default is unspecified."""

    color_range: int = 0
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED


@dataclass(frozen=True)
class SequenceSet:
    """What a sequence parameter set states (7.3.2.1.1).

    `cropped` are the pixels cut off left, right, top and bottom. `reordered` is the largest number of frames that are
    decoded before a frame and shown after it, 0 if it is not stated.
    """

    profile: int
    level: int
    number: int
    chroma: int
    is_deep: bool
    has_color_planes: bool
    frame_number_bits: int
    order_type: int
    order_bits: int
    has_fields: bool
    coded_size: tuple[int, int]
    cropped: tuple[int, int, int, int]
    pixel_shape: Fraction
    colors: Colors
    reordered: int


@dataclass(frozen=True)
class PictureSet:
    """What a picture parameter set states (7.3.2.2). `has_hidden_parts`: slices can be repeated or out of order."""

    number: int
    sequence: int
    has_order_deltas: bool
    has_hidden_parts: bool


def read_sequence(unit: bytes | memoryview) -> SequenceSet:
    """Read a sequence parameter set, a NAL unit with its header."""
    bits = UnitBits(unit[1:])
    profile, _, level = bits.take(8), bits.take(8), bits.take(8)
    number, chroma, is_deep, has_color_planes = bits.number(), 1, False, False
    if profile in HIGH_PROFILES:
        chroma = bits.number()
        has_color_planes = chroma == 3 and bool(bits.take(1))
        is_deep = (bits.number(), bits.number()) != (0, 0)
        bits.take(1)
        if bits.take(1):
            for index in range(12 if chroma == 3 else 8):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    frame_number_bits = min(bits.number(), MAX_NUMBER_BITS - 4) + 4
    order_type, order_bits = bits.number(), 0
    if order_type == 0:
        order_bits = min(bits.number(), MAX_NUMBER_BITS - 4) + 4
    elif order_type == 1:
        bits.take(1)
        bits.skip(2)
        bits.skip(min(bits.number(), 255))
    bits.skip(1)
    bits.take(1)
    columns, rows, has_fields = bits.number() + 1, bits.number() + 1, not bits.take(1)
    if has_fields:
        bits.take(1)
        rows *= 2
    bits.take(1)
    cropped = _read_crop(bits, chroma, has_fields) if bits.take(1) else (0, 0, 0, 0)
    shape, colors, reordered = _read_display(bits) if bits.take(1) else (Fraction(1), Colors(), 0)
    return SequenceSet(
        profile, level, number, chroma, is_deep, has_color_planes, frame_number_bits, order_type, order_bits,
        has_fields, (16 * columns, 16 * rows), cropped, shape, colors, reordered,
    )  # fmt: skip


def _skip_scaling_list(bits: UnitBits, size: int) -> None:
    """Skip a list, which ends early where its next scale is 0 (7.3.2.1.1.1)."""
    if not bits.take(1):
        return
    scale = 8
    for _ in range(size):
        code = bits.number()
        scale = (scale + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        if not scale:
            return


def _read_crop(bits: UnitBits, chroma: int, has_fields: bool) -> tuple[int, int, int, int]:
    """Read the offsets, which are in units of chroma samples."""
    across, down = 2 if chroma in (1, 2) else 1, (2 if chroma == 1 else 1) * (2 if has_fields else 1)
    left, right, top, bottom = (bits.number() for _ in range(4))
    return left * across, right * across, top * down, bottom * down


def _read_display(bits: UnitBits) -> tuple[Fraction, Colors, int]:
    """Read the pixel aspect ratio, the colors, and the largest number of reordered frames (E.1.1)."""
    shape, colors = Fraction(1), Colors()
    if bits.take(1):
        kind = bits.take(8)
        if kind == OTHER_SHAPE:
            width, height = bits.take(16), bits.take(16)
            shape = Fraction(width, height) if width and height else shape
        elif 1 <= kind <= len(SHAPES):
            shape = Fraction(*SHAPES[kind - 1])
    if bits.take(1):  # overscan
        bits.take(1)
    if bits.take(1):
        bits.take(3)
        color_range = FULL if bits.take(1) else LIMITED
        colors = (
            Colors(color_range, *(bits.take(8) for _ in range(3))) if bits.take(1) else Colors(color_range)
        )
    if bits.take(1):  # place of the chroma samples
        bits.skip(2)
    if bits.take(1):  # frame rate
        bits.take(65)
    has_buffers = False
    for _ in range(2):
        if bits.take(1):
            has_buffers = True
            _skip_buffers(bits)
    if has_buffers:
        bits.take(1)
    bits.take(1)
    if not bits.take(1):
        return shape, colors, 0
    bits.take(1)
    bits.skip(4)
    return shape, colors, bits.number()


def _skip_buffers(bits: UnitBits) -> None:
    """Skip the sizes of a decoder's buffer (E.1.2)."""
    count = min(bits.number(), 31) + 1
    bits.take(8)
    for _ in range(count):
        bits.skip(2)
        bits.take(1)
    bits.take(20)


def read_picture_set(unit: bytes | memoryview) -> PictureSet:
    """Read a picture parameter set, a NAL unit with its header."""
    bits = UnitBits(unit[1:])
    number, sequence = bits.number(), bits.number()
    bits.take(1)
    has_order_deltas = bool(bits.take(1))
    has_slice_groups = bits.number() > 0
    if has_slice_groups:
        return PictureSet(number, sequence, has_order_deltas, has_hidden_parts=True)
    bits.skip(2)
    bits.take(3)
    bits.skip(3)
    bits.take(2)
    has_redundant_slices = bool(bits.take(1))
    return PictureSet(number, sequence, has_order_deltas, has_hidden_parts=has_redundant_slices)


def read_avc_header(header: bytes) -> tuple[int, list[bytes]] | None:
    """Return the bytes of a NAL unit's length, and the parameter sets of an MP4 (ISO/IEC 14496-15, 5.3.3.1).

    None if the header is of another kind, or has data that is not understood.
    """
    if len(header) < 7 or header[0] != 1:
        return None
    units: list[bytes] = []
    position = 5
    for mask in (31, 255):
        count = header[position] & mask if position < len(header) else 0
        position += 1
        for _ in range(count):
            size = int.from_bytes(header[position : position + 2], "big")
            units.append(header[position + 2 : position + 2 + size])
            position += 2 + size
    if position > len(header) or any(not unit for unit in units):
        return None
    return (header[4] & 3) + 1, units


def split_units(data: bytes) -> list[bytes]:
    """Return the NAL units of a stream with start codes (annex B)."""
    parts = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [part for part in parts if part]


def join_units(units: Sequence[bytes]) -> bytes:
    """Return the NAL units as a stream with start codes (annex B)."""
    return b"".join(START_CODE + unit for unit in units)
