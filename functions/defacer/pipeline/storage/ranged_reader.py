"""One version of an object as a seekable file, read in blocks over ranged requests."""

import io
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.storage import objects
from defacer.pipeline.storage.transient_errors import transient_errors_as_retryable

BLOCK_BYTES = 1024 * 1024
# A file whose sound is stored far from its picture is read at both places in turn: both must stay in memory.
KEPT_BLOCKS = 16
# Who has read so many in a row reads on: then as many come with one request as with eight. A header is shorter.
STREAK_BLOCKS, RUN_BLOCKS = 8, 8


@contextmanager
def open_ranged(ref: ObjectRef, code: ErrorCode = ErrorCode.SOURCE_GONE) -> Iterator[BinaryIO]:
    """One version of an object as a binary file; nothing is read before it is asked for.

    Raises PermanentError with this `code` if that version is there no more, RetryableError for a passing
    fault: in the read that met it, and again at the end of the block. A demuxer takes a failed read for
    the end of the file, so an error it swallowed, or made its own of, must not pass for a short video.
    """
    blob = objects.find(ref.bucket, ref.name, ref.generation)
    if blob is None:
        raise objects.object_missing_error(ref, code)
    raw = _RangedFile(ref, int(blob.size), code)
    try:
        yield cast(BinaryIO, io.BufferedReader(raw, 64 * 1024))
    except Exception as error:
        if raw.failure is not None and error is not raw.failure:
            raise raw.failure from error
        raise
    if raw.failure is not None:
        raise raw.failure


class _RangedFile(io.RawIOBase):
    """`failure` is the first error of a read: from then on every read raises it."""

    def __init__(self, ref: ObjectRef, size: int, code: ErrorCode):
        super().__init__()
        self.failure: Exception | None = None
        self._ref = ref
        self._code = code
        self._size = size
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._streak = 0  # blocks fetched in a row, up to the one before `_next`
        self._next = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"a file has no position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase gives a memoryview
        if self.failure is not None:
            raise self.failure
        if self._position >= self._size:
            return 0
        index, start = divmod(self._position, BLOCK_BYTES)
        piece = self._block(index)[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _block(self, index: int) -> bytes:
        if index not in self._blocks:
            self._streak = self._streak if index == self._next else 0
            run = RUN_BLOCKS if self._streak >= STREAK_BLOCKS else 1
            try:
                data = self._fetch(index * BLOCK_BYTES, run * BLOCK_BYTES)
            except Exception as error:
                self.failure = error
                raise
            for place in range(0, len(data), BLOCK_BYTES):
                self._blocks[index + place // BLOCK_BYTES] = data[place : place + BLOCK_BYTES]
            self._streak, self._next = self._streak + run, index + run
            while len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(index)
        return self._blocks[index]

    def _fetch(self, start: int, size: int) -> bytes:
        end = min(start + size, self._size)
        blob = objects.client().bucket(self._ref.bucket).blob(self._ref.name, generation=self._ref.generation)
        with (
            transient_errors_as_retryable("reading a part of an object"),
            objects.not_found_as_permanent(self._ref, self._code),
        ):
            # No checksum: the server has one of the whole file only. Raw: a compressed object has no ranges.
            data = cast(
                bytes,
                blob.download_as_bytes(
                    start=start, end=end - 1, raw_download=True, checksum=None, retry=objects.retries()
                ),
            )
        if len(data) != end - start:
            raise RetryableError(f"a read of {end - start} bytes gave {len(data)}")
        return data
