"""What an MP4 or MOV holds in boxes that FFmpeg does not tell of: user data of cameras and editors, XMP.

Only the boxes' headers are read. None of them goes into a result; the report names their kinds.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from functions.engine.video import Source

XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # the uuid of Adobe's XMP (ISO 16684-1)
QUICKTIME_TAG = b"\xa9"  # FFmpeg tells of these, as tags
INTO = (b"moov", b"trak", b"udta")
# Told as tags: "meta" and "loci"; kept: chapters; of no meaning: a track's name, hints for streaming.
KNOWN = (b"meta", b"loci", b"chpl", b"name", b"hnti", b"hinf")
MOST_BOXES = 10_000  # of one file: a header can lie


def user_data(source: Source) -> tuple[str, ...]:
    """The kinds of such boxes, each once, in order; none for other files."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            return _kinds(file)
    return _kinds(source)


def _kinds(file: BinaryIO) -> tuple[str, ...]:
    end = file.seek(0, 2)
    file.seek(4)
    if file.read(4) != b"ftyp":
        return ()
    found = (told for _, told in zip(range(MOST_BOXES), _walk(file, 0, end, b""), strict=False))
    return tuple(dict.fromkeys(told for told in found if told))


def _walk(file: BinaryIO, start: int, end: int, parent: bytes) -> Iterator[str]:
    """What is told of each box from `start` to `end`; "" for nothing."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(32)
        if len(header) < 8:
            return
        size, kind = struct.unpack_from(">I4s", header)
        body = 8
        if size == 1 and len(header) >= 16:
            size, body = struct.unpack_from(">Q", header, 8)[0], 16
        if size == 0:
            size = end - start
        if size < body:
            return
        if kind == b"uuid":
            yield "XMP" if header[body : body + 16] == XMP else "uuid box"
        elif parent == b"udta" and kind not in KNOWN and not kind.startswith(QUICKTIME_TAG):
            yield f"user data {kind.decode('latin1')}" if kind.replace(b"_", b"").isalnum() else "user data"
        else:
            yield ""
        if kind in INTO:
            yield from _walk(file, start + body, min(start + size, end), kind)
        start += size
