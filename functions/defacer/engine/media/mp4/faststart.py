"""Write an MP4 whose index comes first (faststart) to a stream that cannot seek.

FFmpeg's muxer writes an MP4 (ISO/IEC 14496-12) as header, samples and index. At the end it seeks back once to write the
size of the samples. `FaststartWriter` passes the samples to a stream, and keeps header and index in memory. `head`
returns both, with every sample offset in the index moved by the size of the index.
"""

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from defacer.engine.errors import CheckError
from defacer.engine.media.mp4.boxes import HEADER_BYTES, BoxHeader, parse_header

# The offset of the entries of "stco" and "co64", after the header, the version and the number of entries.
TABLE_OFFSET = 16
PICTURE_HANDLER = b"hdlr" + bytes(8) + b"vide"
MAX_32_BITS = 2**32 - 1
CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


class FaststartWriter(io.RawIOBase):
    """The file that FFmpeg writes to. The bytes of the samples go to `body` in order."""

    def __init__(self, body: BinaryIO):
        super().__init__()
        self._body = body
        self._header = bytearray()  # all bytes before the first sample
        self._index = bytearray()  # all bytes after the last sample
        self._header_size: int | None = None
        self._body_size = 0
        self._position = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = len(self._header) + self._body_size + len(self._index)
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: end}[whence]
        return self._position

    def write(self, data: bytes) -> int:  # type: ignore[override]
        size = len(data)
        rest = memoryview(bytes(data))
        while len(rest):
            rest = rest[self._write_part(rest) :]
        return size

    def head(self, sample_entry_boxes: bytes = b"", track_boxes: bytes = b"") -> bytes:
        """Return the bytes before the samples. Raises CheckError unless a whole MP4 was written.

        The further boxes are added to the first sample entry, and to the track, of the picture.
        """
        if self._declared_body_size() != self._body_size or not self._index:
            raise CheckError(
                "the result could not be put together: its index does not fit. Process the video again."
            )
        header = bytes(self._header)
        index = _add_boxes(bytes(self._index), sample_entry_boxes, track_boxes)
        file_type = b"".join(data for kind, data in _split_boxes(header) if kind == b"ftyp")
        size = len(index)
        while True:
            moved = _move_offsets(index, size)
            if len(moved) == size:
                return file_type + moved + header[len(file_type) :]
            size = len(moved)  # 64-bit offsets made the index longer, so they move again

    def _write_part(self, data: memoryview) -> int:
        """Write a part of `data` at the position, and return its length."""
        if self._header_size is None:
            self._header += data
            self._position += len(data)
            self._header_size = _find_samples(bytes(self._header))
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
            count = self._write_after_header(data, self._position - self._header_size)
        self._position += count
        return count

    def _write_after_header(self, data: memoryview, offset: int) -> int:
        declared = self._declared_body_size()
        if declared is None or offset < declared:
            if offset != self._body_size:
                raise CheckError(
                    "the result could not be put together: samples are written twice. Process the video again."
                )
            count = len(data) if declared is None else min(len(data), declared - offset)
            self._body.write(bytes(data[:count]))
            self._body_size += count
            return count
        start = offset - self._body_size
        self._index[start : start + len(data)] = data
        return len(data)

    def _declared_body_size(self) -> int | None:
        """Return the size of the samples as the header declares it; None until it does."""
        if self._header_size is None:
            return None
        for header, offset in _list_headers(bytes(self._header)):
            if header.kind == b"mdat" and header.size:
                return offset + header.size - self._header_size
        return None


def _find_samples(data: bytes) -> int | None:
    """Return the offset of the first sample; None if `data` ends before it."""
    for header, offset in _list_headers(data):
        if header.kind == b"mdat":
            return offset + header.length
    return None


def _list_headers(data: bytes) -> Iterator[tuple[BoxHeader, int]]:
    """Yield the header and the offset of each box, up to a box whose size is not yet known."""
    offset = 0
    while header := parse_header(data, offset):
        yield header, offset
        if not header.size:
            return
        offset += header.size


def _split_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the bytes of each box."""
    for header, offset in _list_headers(data):
        yield header.kind, data[offset : offset + header.size]


def _move_offsets(index: bytes, distance: int) -> bytes:
    """Return the index with every sample offset moved, in 64 bits where 32 are too few."""
    parts = []
    for kind, box in _split_boxes(index):
        if kind in CONTAINERS:
            parts.append(_make_box(kind, _move_offsets(box[HEADER_BYTES:], distance)))
        elif kind in (b"stco", b"co64"):
            offsets = np.frombuffer(box, ">u4" if kind == b"stco" else ">u8", offset=TABLE_OFFSET)
            offsets = offsets.astype(np.uint64) + np.uint64(distance)
            is_wide = kind == b"co64" or bool(len(offsets) and offsets.max() > MAX_32_BITS)
            table = box[HEADER_BYTES:TABLE_OFFSET] + offsets.astype(">u8" if is_wide else ">u4").tobytes()
            parts.append(_make_box(b"co64" if is_wide else b"stco", table))
        else:
            parts.append(box)
    return b"".join(parts)


def _add_boxes(index: bytes, sample_entry: bytes, track: bytes, is_picture: bool = False) -> bytes:
    """Return the index with further boxes in the first sample entry, and in the track, of each picture."""
    if not sample_entry and not track:
        return index
    parts = []
    for kind, box in _split_boxes(index):
        if kind == b"stsd" and is_picture:
            parts.append(
                _make_box(
                    kind, box[HEADER_BYTES:TABLE_OFFSET] + _extend_first(box[TABLE_OFFSET:], sample_entry)
                )
            )
        elif kind in CONTAINERS:
            is_picture = is_picture or (kind == b"trak" and PICTURE_HANDLER in box)
            body = _add_boxes(box[HEADER_BYTES:], sample_entry, track, is_picture)
            is_track = kind == b"trak" and is_picture
            parts.append(_make_box(kind, body + (track if is_track else b"")))
            is_picture = is_picture and kind != b"trak"
        else:
            parts.append(box)
    return b"".join(parts)


def _extend_first(boxes: bytes, added: bytes) -> bytes:
    """Return boxes with further bytes at the end of the first one."""
    (kind, first), *_ = _split_boxes(boxes)
    return _make_box(kind, first[HEADER_BYTES:] + added) + boxes[len(first) :]


def _make_box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", HEADER_BYTES + len(body), kind) + body
