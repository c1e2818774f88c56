"""One version of an object as a seekable file, which is read in blocks by ranged requests."""

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
# The audio of a file can be stored far from its video, and both are read in turn: both must stay in memory.
MAX_CACHED_BLOCKS = 16
# Each request for the blocks that follow the last ones reads twice as many, up to this limit.
MAX_BLOCKS_PER_REQUEST = 8


@contextmanager
def open_ranged(
    ref: ObjectRef, code: ErrorCode = ErrorCode.SOURCE_GONE, size: int | None = None
) -> Iterator[BinaryIO]:
    """Open one version of an object as a binary file. With its known `size`, opening it sends no request.

    Raises PermanentError with this `code` if that version was deleted or replaced, and RetryableError for a transient
    error. Both are raised by the read that fails, and again at the end of the block. A demuxer takes a failed read for
    the end of the file, so a swallowed or replaced error must not turn into a short video.
    """
    if size is None:
        blob = objects.find_blob(ref.bucket, ref.name, ref.generation)
        if blob is None:
            raise objects.object_missing_error(ref, code)
        size = int(blob.size)
    raw = _RangedFile(ref, size, code)
    try:
        yield cast(BinaryIO, io.BufferedReader(raw, 64 * 1024))
    except Exception as error:
        if raw.failure is not None and error is not raw.failure:
            raise raw.failure from error
        raise
    if raw.failure is not None:
        raise raw.failure


class _RangedFile(io.RawIOBase):
    """`failure` is the first error of a read. Every later read raises it again."""

    def __init__(self, ref: ObjectRef, size: int, code: ErrorCode):
        super().__init__()
        self.failure: Exception | None = None
        self._ref = ref
        self._code = code
        self._size = size
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._count = 0  # the blocks of the last request, up to the one before `_next`
        self._next = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

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
        data = self._block(index)[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _block(self, index: int) -> bytes:
        if index not in self._blocks:
            follows = self._count and index == self._next
            count = min(2 * self._count, MAX_BLOCKS_PER_REQUEST) if follows else 1
            try:
                data = self._fetch(index * BLOCK_BYTES, count * BLOCK_BYTES)
            except Exception as error:
                self.failure = error
                raise
            for place in range(0, len(data), BLOCK_BYTES):
                self._blocks[index + place // BLOCK_BYTES] = data[place : place + BLOCK_BYTES]
            self._count, self._next = count, index + count
            while len(self._blocks) > MAX_CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(index)
        return self._blocks[index]

    def _fetch(self, start: int, size: int) -> bytes:
        end = min(start + size, self._size)
        blob = objects.client().bucket(self._ref.bucket).blob(self._ref.name, generation=self._ref.generation)
        with (
            transient_errors_as_retryable("reading a range of an object"),
            objects.not_found_as_permanent(self._ref, self._code),
        ):
            # No checksum, because the server has only that of the whole file. Raw, because a compressed object has no
            # ranges.
            data = cast(
                bytes,
                blob.download_as_bytes(
                    start=start, end=end - 1, raw_download=True, checksum=None, retry=objects.retries()
                ),
            )
        if len(data) != end - start:
            raise RetryableError(f"a read of {end - start} bytes returned {len(data)}")
        return data
