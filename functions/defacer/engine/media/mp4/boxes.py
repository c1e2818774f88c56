"""Read the boxes of MP4 and MOV files (ISO/IEC 14496-12). All other modules of this folder use this reader."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import BinaryIO

HEADER_BYTES, LARGE_HEADER_BYTES = 8, 16
HEAD_BYTES = 32  # read of each box: its header, and the type of a "uuid" box
MAX_DEPTH = 12  # of nested boxes; real files have up to eight levels


@dataclass(frozen=True)
class BoxHeader:
    """The first bytes of a box. `size` counts the header too; 0 means up to the end of the file, or not yet known."""

    kind: bytes
    size: int
    length: int


@dataclass(frozen=True)
class Mp4Box:
    """One box. Its body is `start <= position < end`. `path` lists the kinds of the enclosing boxes and its own.

    `is_whole` is false if the box claims to end after its enclosing box, or after the file.
    """

    path: tuple[bytes, ...]
    start: int
    end: int
    is_whole: bool
    head: bytes  # the first bytes of the body

    @property
    def kind(self) -> bytes:
        return self.path[-1]

    def read_body(self, file: BinaryIO, max_bytes: int) -> bytes:
        """Return the body, at most `max_bytes` of it."""
        file.seek(self.start)
        return file.read(min(self.end - self.start, max_bytes))


@contextmanager
def open_binary(source: str | BinaryIO) -> Iterator[BinaryIO]:
    """Open a path; a file object is used as it is and stays open."""
    with open(source, "rb") if isinstance(source, str) else nullcontext(source) as file:
        yield file


def is_mp4(file: BinaryIO) -> bool:
    """Return whether the file begins as an MP4 or MOV does."""
    file.seek(4)
    return file.read(4) == b"ftyp"


def parse_header(data: bytes, offset: int = 0) -> BoxHeader | None:
    """Return the header of the box at `offset`; None if `data` ends before it, or if its size is impossible."""
    if len(data) < offset + HEADER_BYTES:
        return None
    size, kind = struct.unpack_from(">I4s", data, offset)
    length = HEADER_BYTES
    if size == 1:
        if len(data) < offset + LARGE_HEADER_BYTES:
            return None
        size, length = struct.unpack_from(">Q", data, offset + HEADER_BYTES)[0], LARGE_HEADER_BYTES
    return BoxHeader(kind, size, length) if size == 0 or size >= length else None


def walk_boxes(file: BinaryIO, containers: tuple[bytes, ...]) -> Iterator[Mp4Box]:
    """Yield every box in file order, and the boxes inside those whose kind is in `containers`.

    The walk ends where no box can begin.
    """
    yield from _walk(file, 0, file.seek(0, 2), (), containers)


def _walk(
    file: BinaryIO, start: int, end: int, path: tuple[bytes, ...], containers: tuple[bytes, ...]
) -> Iterator[Mp4Box]:
    while start + HEADER_BYTES <= end:
        file.seek(start)
        data = file.read(HEAD_BYTES)
        header = parse_header(data)
        if header is None:
            return
        stop = start + header.size if header.size else end
        kinds = (*path, header.kind)
        box = Mp4Box(kinds, start + header.length, min(stop, end), stop <= end, data[header.length :])
        yield box
        if header.kind in containers and len(kinds) < MAX_DEPTH:
            yield from _walk(file, box.start, box.end, kinds, containers)
        start = stop
