"""Detect packets that decode to no displayed frame, from the first bits of their data.

VP8, VP9 and AV1 encoders write frames that are only references for others ("alt-ref"). Some files store each of them in
a packet of its own. MPEG-4 encoders write an empty frame ("N-VOP") where they drop one.
"""

import re
from collections.abc import Callable, Iterator

from av import Packet
from av.video.stream import VideoStream

MIN_VOP_BYTES = 12  # of MPEG-4: a frame has a header, and at least a bit for each block of 16x16 pixels
# DivX stores two frames in one packet and an empty frame in the next one, in place of the second frame.
PACKED = re.compile(rb"DivX\d+(?:Build|b)\d+p")
OBU_SEQUENCE, OBU_FRAME_HEADER, OBU_FRAME = 1, 3, 6


def is_hidden(packet: "Packet[VideoStream]") -> bool:
    """Return whether the packet has only frames that are not displayed."""
    context = packet.stream.codec_context
    if context.name == "mpeg4":
        return 0 < packet.size < MIN_VOP_BYTES and not PACKED.search(context.extradata or b"")
    find = _SHOWN.get(context.name)
    return find is not None and packet.size > 0 and not find(memoryview(packet))


def _shows_vp8(data: memoryview) -> bool:
    """Read the frame tag (RFC 6386, 9.1)."""
    return bool(data[0] & 0x10)


def _shows_vp9(data: memoryview) -> bool:
    """Read all frames of a superframe (VP9 bitstream specification, annex B)."""
    return any(_shows_vp9_frame(frame) for frame in _split_superframe(data))


def _split_superframe(data: memoryview) -> Iterator[memoryview]:
    marker = data[-1]
    count, size_bytes = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index_bytes = 2 + count * size_bytes
    if marker & 0xE0 != 0xC0 or len(data) < index_bytes or data[-index_bytes] != marker:
        yield data
        return
    sizes, start = data[-index_bytes + 1 : -1], 0
    for number in range(count):
        size = int.from_bytes(sizes[number * size_bytes : (number + 1) * size_bytes], "little")
        yield data[start : start + size]
        start += size


def _shows_vp9_frame(data: memoryview) -> bool:
    """Read the uncompressed header (VP9 bitstream specification, 6.2): show_existing_frame or show_frame."""
    if not len(data):
        return False
    bits, position = int.from_bytes(data[:2].tobytes().ljust(2, b"\0"), "big"), 4
    position += (bits >> 12 & 3) == 3  # profile 3 has a reserved bit

    def bit(number: int) -> bool:
        return bool(bits >> (15 - number) & 1)

    return bit(position) or bit(position + 2)


def _shows_av1(data: memoryview) -> bool:
    """Read the frame headers of a temporal unit (AV1 bitstream specification, 5.9.2)."""
    has_frame = False
    for kind, body in _split_obus(data):
        if kind == OBU_SEQUENCE and len(body) and body[0] & 0x08:  # reduced_still_picture_header
            return True
        if kind in (OBU_FRAME_HEADER, OBU_FRAME) and len(body):
            has_frame = True
            if body[0] & 0x80 or body[0] & 0x10:
                return True
    return not has_frame


def _split_obus(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    position = 0
    while position < len(data):
        header = data[position]
        position += 2 if header & 0x04 else 1
        size = len(data) - position
        if header & 0x02:
            size, shift = 0, 0
            while position < len(data):
                byte = data[position]
                size |= (byte & 0x7F) << shift
                position, shift = position + 1, shift + 7
                if not byte & 0x80:
                    break
        yield header >> 3 & 15, data[position : position + size]
        position += size


_SHOWN: dict[str, Callable[[memoryview], bool]] = {
    "vp8": _shows_vp8,
    "libvpx": _shows_vp8,
    "vp9": _shows_vp9,
    "libvpx-vp9": _shows_vp9,
    "libdav1d": _shows_av1,
    "libaom-av1": _shows_av1,
    "av1": _shows_av1,
}
