"""Conditional writes and reads of objects, on a real storage server."""

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.storage import objects
from defacer.pipeline.storage.objects import AlreadyWrittenError
from tests.cloud import Buckets
from tests.proxy import Proxy

RACERS = 16
Environment = Callable[..., None]


def test_object_written_once_can_be_read(buckets: Buckets) -> None:
    ref = objects.write_once(buckets.work, "a", b"content", "text/plain", metadata={"k": "v"})
    assert objects.read(ref) == b"content"
    blob = buckets.blob(buckets.work, "a")
    assert (blob.content_type, blob.metadata, blob.generation) == ("text/plain", {"k": "v"}, ref.generation)


def test_file_is_written_like_bytes(buckets: Buckets, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"from a file")
    assert objects.read(objects.write_once(buckets.work, "a", file)) == b"from a file"


def test_large_file_is_uploaded_in_chunks_with_progress(buckets: Buckets, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * (70 * 1024))
    calls: list[int] = []
    ref = objects.write_once(buckets.work, "a", file, progress=lambda: calls.append(1))
    assert len(calls) >= 3
    assert objects.read(ref) == file.read_bytes()


def test_streamed_object_can_be_composed_and_copied(buckets: Buckets) -> None:
    calls: list[int] = []
    chunk = bytes(range(256)) * 4096
    with objects.open_for_writing(buckets.work, "samples", "video/mp4", lambda: calls.append(1)) as file:
        for _ in range(20):
            file.write(chunk)
    assert len(calls) == 20
    objects.write_once(buckets.work, "head", b"head")
    whole = objects.compose(["head", "samples"], buckets.work, "whole", "video/mp4")
    assert objects.read(whole) == b"head" + 20 * chunk

    copied = objects.copy(whole, buckets.output, "result", generation=0, metadata={"job": "j"})
    blob = buckets.blob(buckets.output, "result")
    assert (copied.generation, blob.metadata, blob.content_type) == (
        blob.generation,
        {"job": "j"},
        "video/mp4",
    )
    assert objects.read(copied) == b"head" + 20 * chunk
    assert objects.copy(whole, buckets.output, "result", generation=0, metadata={"job": "j"}) == copied
    with pytest.raises(AlreadyWrittenError):
        objects.copy(
            objects.write_once(buckets.work, "other", b"x"),
            buckets.output,
            "result",
            generation=0,
            metadata={},
        )


def test_interrupted_write_leaves_no_object(buckets: Buckets) -> None:
    def write() -> None:
        with objects.open_for_writing(buckets.work, "samples", "video/mp4", lambda: None) as file:
            file.write(bytes(20 * 1024 * 1024))
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert buckets.names(buckets.work) == []


def test_failed_write_uploads_nothing_later(buckets: Buckets, proxy: Proxy) -> None:
    """The client's file uploads its rest when it is collected, also after an error."""

    def write() -> None:
        with objects.open_for_writing(buckets.work, "samples", "video/mp4", lambda: None) as file:
            file.write(b"rest")

    with proxy.failing(lambda method, path: True), pytest.raises(RetryableError) as caught:
        write()
    del caught  # and the file with it, because its traceback holds the file
    gc.collect()
    assert len(proxy.requests) == 1
    assert buckets.names(buckets.work) == []


def test_writing_the_same_bytes_again_returns_the_first_version(buckets: Buckets) -> None:
    first = objects.write_once(buckets.work, "a", b"same")
    assert objects.write_once(buckets.work, "a", b"same") == first


def test_different_bytes_do_not_replace_the_first_version(buckets: Buckets) -> None:
    first = objects.write_once(buckets.work, "a", b"first")
    with pytest.raises(AlreadyWrittenError) as caught:
        objects.write_once(buckets.work, "a", b"other")
    assert caught.value.existing == first
    assert objects.read(first) == b"first"


def test_same_bytes_with_other_metadata_are_not_ours(buckets: Buckets) -> None:
    source = objects.write_once(buckets.work, "made", b"same")
    objects.copy(source, buckets.output, "a", generation=0, metadata={"job": "1"})
    with pytest.raises(AlreadyWrittenError):
        objects.copy(source, buckets.output, "a", generation=0, metadata={"job": "2"})
    with pytest.raises(AlreadyWrittenError):
        objects.write_once(buckets.output, "a", b"same", metadata={"job": "2"})


def test_copying_a_just_deleted_object_is_a_permanent_error(buckets: Buckets) -> None:
    source = objects.write_once(buckets.work, "made", b"result")
    with pytest.raises(PermanentError, match="was deleted"):
        objects.copy(
            source, buckets.output, "a", generation=0, metadata={}, progress=lambda: objects.delete(source)
        )
    assert buckets.names(buckets.output) == []


def test_one_of_sixteen_racing_writers_wins(buckets: Buckets) -> None:
    start = threading.Barrier(RACERS)

    def race(number: int) -> tuple[bool, ObjectRef]:
        start.wait()
        try:
            return True, objects.write_once(buckets.work, "a", f"racer {number}".encode())
        except AlreadyWrittenError as error:
            return False, error.existing

    objects.client()
    with ThreadPoolExecutor(RACERS) as pool:
        results = list(pool.map(race, range(RACERS)))
    assert sum(won for won, _ in results) == 1
    assert len({ref.generation for _, ref in results}) == 1


def test_write_with_a_lost_response_is_recognized_as_ours(buckets: Buckets, proxy: Proxy) -> None:
    lost: list[str] = []

    def lose_first_upload(method: str, path: str) -> bool:
        if method == "POST" and not lost:
            lost.append(path)
            return True
        return False

    proxy.loses = lose_first_upload
    ref = objects.write_once(buckets.work, "a", b"content")
    assert lost
    assert len([path for method, path in proxy.requests if method == "POST"]) == 2
    assert ref.generation == buckets.blob(buckets.work, "a").generation


def test_replacing_requires_the_live_generation(buckets: Buckets) -> None:
    first = objects.write_once(buckets.work, "a", b"1")
    second = objects.replace(buckets.work, "a", b"2", generation=first.generation)
    with pytest.raises(AlreadyWrittenError):
        objects.replace(buckets.work, "a", b"3", generation=first.generation)
    assert objects.read(second) == b"2"


def test_replacing_a_missing_object_is_retryable(buckets: Buckets) -> None:
    with pytest.raises(RetryableError):
        objects.replace(buckets.work, "a", b"2", generation=12345)


def test_reading_a_replaced_version_is_a_permanent_error(buckets: Buckets) -> None:
    first = buckets.put(buckets.work, "a", b"1")
    buckets.put(buckets.work, "a", b"2")
    with pytest.raises(PermanentError, match="was deleted or replaced"):
        objects.read(first)


def test_json_of_another_document_is_a_permanent_error(buckets: Buckets) -> None:
    ref = buckets.put(buckets.work, "a", b'{"mode": "nonsense"}')
    with pytest.raises(PermanentError, match="can't be read") as caught:
        objects.read_json(ref, Policy)
    assert (caught.value.code, caught.value.detail) == ("bad-object", "not a valid Policy")


def test_document_is_found_with_its_version(buckets: Buckets) -> None:
    assert objects.find_json(buckets.work, "a", Policy) is None
    ref = objects.write_once(buckets.work, "a", Policy(mode="solid").model_dump_json().encode())
    assert objects.find_json(buckets.work, "a", Policy) == (Policy(mode="solid"), ref)


def test_deleting_affects_only_the_given_version(buckets: Buckets) -> None:
    first = buckets.put(buckets.work, "a", b"1")
    second = buckets.put(buckets.work, "a", b"2")
    objects.delete(first)
    assert objects.read(second) == b"2"
    objects.delete(second)
    objects.delete(second)
    assert buckets.names(buckets.work) == []


def test_deleting_a_prefix_leaves_its_neighbors(buckets: Buckets) -> None:
    for name in ("jobs/1/a", "jobs/1/b", "jobs/12/a"):
        buckets.put(buckets.work, name, b"x")
    objects.delete_all(buckets.work, "jobs/1/")
    assert buckets.names(buckets.work) == ["jobs/12/a"]


def test_listing_continues_beyond_one_page_in_order(buckets: Buckets) -> None:
    def put(number: int) -> ObjectRef:
        return buckets.put(buckets.work, f"x/{number:04d}", b"")

    with ThreadPoolExecutor(8) as pool:
        refs = tuple(pool.map(put, range(1005)))
    assert objects.list_all(buckets.work, "x/") == refs


def test_metadata_is_added_without_a_new_version(buckets: Buckets) -> None:
    ref = objects.write_once(buckets.work, "a", b"1")
    objects.mark(ref, {"announced": "yes"})
    blob = buckets.blob(buckets.work, "a")
    assert (blob.metadata, blob.generation) == ({"announced": "yes"}, ref.generation)


@pytest.mark.parametrize("call", ["write", "find", "read", "delete", "list"])
def test_failing_storage_is_a_retryable_error(
    call: str, buckets: Buckets, proxy: Proxy, environment: Environment
) -> None:
    ref = buckets.put(buckets.work, "a", b"1")
    environment(retry_seconds=0.2)
    proxy.fails = lambda method, path: True
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: objects.write_once(buckets.work, "b", b"1"),
        "find": lambda: objects.find_blob(buckets.work, "a"),
        "read": lambda: objects.read(ref),
        "delete": lambda: objects.delete(ref),
        "list": lambda: objects.list_all(buckets.work, ""),
    }
    with pytest.raises(RetryableError):
        calls[call]()


def test_unreachable_storage_is_a_retryable_error(
    buckets: Buckets, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    environment(retry_seconds=0.2)
    with pytest.raises(RetryableError):
        objects.find_blob(buckets.work, "a")


def test_missing_bucket_is_not_a_transient_error(environment: Environment, buckets: Buckets) -> None:
    with pytest.raises(Exception, match="404") as caught:
        objects.write_once("no-such-bucket", "a", b"1")
    assert not isinstance(caught.value, RetryableError)
