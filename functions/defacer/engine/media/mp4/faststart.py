"""An MP4 whose index comes first, without a seek in what is written and without holding it.

FFmpeg's muxer writes an MP4 (ISO/IEC 14496-12) as header, samples, index, and goes back once to write how many
samples there are. `IndexFirst` takes that: samples go on to a stream as they come, header and index are kept, and
`head` gives both, with every place in the index moved by what now lies before the samples.
"""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from defacer.engine.errors import CheckError

HEADER_BYTES = 8
LARGE_HEADER_BYTES = 16
MAX_32_BITS = 2**32 - 1
CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


class FaststartWriter(io.RawIOBase):
    """The file that FFmpeg writes to. `body` gets the samples' bytes in order."""

    def __init__(self, body: BinaryIO):
        super().__init__()
        self._body = body
        self._header = bytearray()  # all up to the first sample
        self._index = bytearray()  # all after the last one
        self._header_size: int | None = None
        self._body_size = 0
        self._position = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = len(self._header) + self._body_size + len(self._index)
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: end}[whence]
        return self._position

    def write(self, data: bytes) -> int:  # type: ignore[override]
        size = len(data)
        rest = memoryview(bytes(data))
        while len(rest):
            rest = rest[self._write_some(rest) :]
        return size

    def head(self) -> bytes:
        """What comes before the samples. Raises CheckError if what was written is no whole MP4."""
        declared = self._declared_body()
        if declared != self._body_size or not self._index:
            raise CheckError(
                "the result could not be put together: its index does not fit. Drop the video again."
            )
        boxes = list(_boxes(bytes(self._header)))
        before = b"".join(data for kind, data in boxes if kind == b"ftyp")
        samples = bytes(self._header)[len(before) :]
        index = bytes(self._index)
        size = len(index)
        while True:
            moved = _moved(index, size)
            if len(moved) == size:
                return before + moved + samples
            size = len(moved)  # places needed more room: they move once more

    def _write_some(self, data: memoryview) -> int:
        """Write a part of `data` at the position; give its length."""
        if self._header_size is None:
            self._header += data
            self._position += len(data)
            self._header_size = _header_size(bytes(self._header))
            if self._header_size is not None:
                surplus = bytes(self._header[self._header_size :])
                del self._header[self._header_size :]
                self._position = self._header_size
                self.write(surplus)
            return len(data)
        if self._position < self._header_size:
            count = min(len(data), self._header_size - self._position)
            self._header[self._position : self._position + count] = data[:count]
        else:
            place = self._position - self._header_size
            left = self._declared_body()
            if left is None or place < left:
                if place != self._body_size:
                    raise CheckError("the result could not be put together: samples are written twice.")
                count = len(data) if left is None else min(len(data), left - place)
                self._body.write(bytes(data[:count]))
                self._body_size += count
            else:
                count = len(data)
                start = place - self._body_size
                self._index[start : start + count] = data
        self._position += count
        return count

    def _declared_body(self) -> int | None:
        """How many bytes of samples the header says there are; None as long as it does not."""
        if self._header_size is None:
            return None
        for kind, start, size in _places(bytes(self._header)):
            if kind == b"mdat" and size:
                return start + size - self._header_size
        return None


def _header_size(data: bytes) -> int | None:
    """The length of what comes before the first sample, if it is all there."""
    place = 0
    while place + HEADER_BYTES <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"mdat":
            return place + (LARGE_HEADER_BYTES if size == 1 else HEADER_BYTES)
        if size < HEADER_BYTES:
            return None
        place += size
    return None


def _places(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and size of each box; a size of 0 is not known yet."""
    place = 0
    while place + HEADER_BYTES <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, place + HEADER_BYTES)
        yield kind, place, size
        if size < HEADER_BYTES:
            return
        place += size


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for kind, place, size in _places(data):
        yield kind, data[place : place + size]


def _moved(index: bytes, by: int) -> bytes:
    """The index with every place of samples moved, in 64 bits where 32 are too few."""
    parts = []
    for kind, box in _boxes(index):
        if kind in CONTAINERS:
            inner = _moved(box[HEADER_BYTES:], by)
            parts.append(struct.pack(">I4s", HEADER_BYTES + len(inner), kind) + inner)
        elif kind in (b"stco", b"co64"):
            places = np.frombuffer(
                box, ">u4" if kind == b"stco" else ">u8", offset=LARGE_HEADER_BYTES
            ).astype(np.uint64)
            places += np.uint64(by)
            wide = kind == b"co64" or bool(len(places) and places.max() > MAX_32_BITS)
            inner = box[HEADER_BYTES:LARGE_HEADER_BYTES] + places.astype(">u8" if wide else ">u4").tobytes()
            parts.append(struct.pack(">I4s", HEADER_BYTES + len(inner), b"co64" if wide else b"stco") + inner)
        else:
            parts.append(box)
    return b"".join(parts)
