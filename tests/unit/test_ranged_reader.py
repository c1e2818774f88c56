"""Read an object of the real storage server in blocks, as a seekable file."""

import io
import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.storage import objects
from defacer.pipeline.storage.ranged_reader import (
    BLOCK_BYTES,
    MAX_CACHED_BLOCKS,
    open_ranged,
)
from tests.cloud import Buckets
from tests.proxy import Proxy


@pytest.fixture
def content() -> bytes:
    return random.Random(3).randbytes(3 * BLOCK_BYTES + 12_345)


def count_downloads(proxy: Proxy) -> int:
    return sum("alt=media" in path for _, path in proxy.requests)


def test_random_reads_and_seeks_return_the_content(buckets: Buckets, content: bytes) -> None:
    ref = buckets.put(buckets.intake, "v", content)
    expected = io.BytesIO(content)
    chance = random.Random(5)
    with open_ranged(ref) as file:
        for _ in range(200):
            whence = chance.choice([io.SEEK_SET, io.SEEK_END])
            offset = chance.randint(0, len(content))
            where = offset if whence == io.SEEK_SET else -offset
            assert file.seek(where, whence) == expected.seek(where, whence)
            size = chance.choice([0, 1, 1000, 100_000, BLOCK_BYTES + 7])
            assert file.read(size) == expected.read(size)
            assert file.tell() == expected.tell()


def test_reading_stops_at_the_end_of_the_object(buckets: Buckets, content: bytes) -> None:
    ref = buckets.put(buckets.intake, "v", content)
    with open_ranged(ref) as file:
        assert file.read() == content
        assert file.read(10) == b""
        file.seek(len(content) + 10)
        assert file.read(10) == b""


def test_empty_object_is_an_empty_file(buckets: Buckets) -> None:
    with open_ranged(buckets.put(buckets.intake, "v", b"")) as file:
        assert file.read() == b""


def test_only_requested_blocks_are_fetched(buckets: Buckets, proxy: Proxy, content: bytes) -> None:
    ref = buckets.put(buckets.intake, "v", content)
    with open_ranged(ref) as file:
        assert count_downloads(proxy) == 0
        file.read(100)
        file.seek(-100, io.SEEK_END)
        file.read(100)
        assert count_downloads(proxy) == 2


def test_alternating_reads_fetch_each_block_once(buckets: Buckets, proxy: Proxy, content: bytes) -> None:
    ref = buckets.put(buckets.intake, "v", content)
    with open_ranged(ref) as file:
        for step in range(50):
            for start in (0, 2 * BLOCK_BYTES):
                file.seek(start + step * 20_000)
                file.read(20_000)
    assert count_downloads(proxy) == 2


def test_sequential_read_fetches_more_with_each_request(buckets: Buckets, proxy: Proxy) -> None:
    data = bytes(range(256)) * (24 * BLOCK_BYTES // 256) + b"end"
    ref = buckets.put(buckets.intake, "v", data)
    with open_ranged(ref) as file:
        assert file.read() == data
    assert count_downloads(proxy) == 6  # of 1, 2, 4, 8 and 8 blocks, and the rest


def test_opening_with_a_known_size_sends_no_request(buckets: Buckets, proxy: Proxy, content: bytes) -> None:
    ref = buckets.put(buckets.intake, "v", content)
    before = len(proxy.requests)
    with open_ranged(ref, size=len(content)) as file:
        assert len(proxy.requests) == before
        assert file.read() == content


def test_gone_object_of_known_size_is_a_permanent_error(buckets: Buckets, content: bytes) -> None:
    ref = buckets.put(buckets.intake, "v", content)
    buckets.put(buckets.intake, "v", b"other")
    with (
        pytest.raises(PermanentError) as caught,
        open_ranged(ref, size=len(content)) as file,
        suppress(PermanentError),
    ):
        file.read(10)
    assert caught.value.code == "source-gone"


def test_memory_is_bounded(buckets: Buckets) -> None:
    ref = buckets.put(buckets.intake, "v", bytes((MAX_CACHED_BLOCKS + 4) * BLOCK_BYTES))
    with open_ranged(ref) as file:
        while file.read(BLOCK_BYTES):
            pass
        raw = file.raw  # type: ignore[attr-defined]
        assert len(raw._blocks) == MAX_CACHED_BLOCKS


def test_version_replaced_before_opening_is_a_permanent_error(buckets: Buckets) -> None:
    ref = buckets.put(buckets.intake, "v", b"1")
    buckets.put(buckets.intake, "v", b"2")
    with pytest.raises(PermanentError) as caught, open_ranged(ref):
        pass
    assert caught.value.code == "source-gone"


def test_version_replaced_during_reading_is_a_permanent_error(buckets: Buckets, content: bytes) -> None:
    ref = buckets.put(buckets.intake, "v", content)
    with pytest.raises(PermanentError) as caught, open_ranged(ref) as file:
        file.read(10)
        buckets.put(buckets.intake, "v", b"other")
        file.seek(2 * BLOCK_BYTES)
        file.read(10)
    assert caught.value.code == "source-gone"


@pytest.fixture
def source(buckets: Buckets, content: bytes, environment: Callable[..., None]) -> ObjectRef:
    """Return an object whose reads are retried for a tenth of a second only."""
    environment(retry_seconds=0.1)
    return buckets.put(buckets.intake, "v", content)


def test_transient_error_is_raised_again_by_later_reads(source: ObjectRef, proxy: Proxy) -> None:
    with pytest.raises(RetryableError), open_ranged(source) as file:
        proxy.fails = lambda method, path: True
        with pytest.raises(RetryableError):
            file.read(10)
        proxy.fails = lambda method, path: False
        file.read(10)


def test_swallowed_transient_error_is_raised_at_the_end(source: ObjectRef, proxy: Proxy) -> None:
    with pytest.raises(RetryableError), open_ranged(source) as file:
        proxy.fails = lambda method, path: "alt=media" in path
        with suppress(RetryableError):
            file.read(10)


def test_transient_error_is_not_reported_as_a_broken_video(source: ObjectRef, proxy: Proxy) -> None:
    with pytest.raises(RetryableError), open_ranged(source) as file:
        proxy.fails = lambda method, path: "alt=media" in path
        try:
            file.read(10)
        except RetryableError as error:
            raise PermanentError("not-a-video", "it is not a video") from error


def test_error_of_the_caller_passes_through(buckets: Buckets) -> None:
    ref = buckets.put(buckets.intake, "v", b"1")
    with pytest.raises(ZeroDivisionError), open_ranged(ref):
        raise ZeroDivisionError


def test_short_response_is_not_the_end_of_the_object(
    buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = buckets.put(buckets.intake, "v", b"1234567890")
    find = objects.find_blob

    def overstate_size(bucket: str, name: str, generation: int | None = None) -> object:
        blob = find(bucket, name, generation)
        blob._properties["size"] = "20"
        return blob

    monkeypatch.setattr(objects, "find_blob", overstate_size)
    with pytest.raises(RetryableError, match="20 bytes returned 10"), open_ranged(ref) as file:
        file.read(20)
