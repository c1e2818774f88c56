"""The boxes of an MP4 or MOV (ISO/IEC 14496-12): what FFmpeg does not tell of is read from them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

HEADER_BYTES = 32  # read of each box: its header and what tells a "uuid" box's kind


MAX_DEPTH = 12  # boxes in boxes; real files have eight


@dataclass(frozen=True)
class Box:
    """One box: its body is from `start` to `end`; `path` are the kinds of the boxes around it and its own.

    `is_whole`: it does not go on beyond the box around it, or the end of the file.
    """

    path: tuple[bytes, ...]
    start: int
    end: int
    is_whole: bool
    head: bytes  # the first bytes of the body

    @property
    def kind(self) -> bytes:
        return self.path[-1]

    def body(self, file: BinaryIO, most: int) -> bytes:
        """The body's bytes, `most` of them at most."""
        file.seek(self.start)
        return file.read(min(self.end - self.start, most))


def is_mp4(file: BinaryIO) -> bool:
    """Whether the file says that it is one."""
    file.seek(4)
    return file.read(4) == b"ftyp"


def walk(file: BinaryIO, into: tuple[bytes, ...]) -> Iterator[Box]:
    """Every box in the order of the file; those of the kinds in `into` are looked into. Ends where no box can be."""
    yield from _walk(file, 0, file.seek(0, 2), (), into)


def _walk(
    file: BinaryIO, start: int, end: int, path: tuple[bytes, ...], into: tuple[bytes, ...]
) -> Iterator[Box]:
    while start + 8 <= end:
        file.seek(start)
        header = file.read(HEADER_BYTES)
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
        box = Box((*path, kind), start + body, min(start + size, end), start + size <= end, header[body:])
        yield box
        if kind in into and len(box.path) < MAX_DEPTH:
            yield from _walk(file, box.start, box.end, box.path, into)
        start += size
