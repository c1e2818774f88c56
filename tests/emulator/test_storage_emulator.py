"""The storage emulator keeps the promises of Cloud Storage that the pipeline is built on, and which it does not."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage import Bucket

from defacer_emulator.processes.environment import child_environment
from defacer_emulator.processes.ports import free_ports
from defacer_emulator.processes.state import StateFolder
from defacer_emulator.processes.supervisor import Processes
from defacer_emulator.resources import Resources
from defacer_emulator.services import storage

RACERS = 16
RESOURCES = Resources("defacer-test")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A storage server as the emulator runs it, with no Pub/Sub behind it."""
    folder = StateFolder(tmp_path_factory.mktemp("storage"))
    port, nobody = free_ports(2)
    with folder.lock(), Processes(folder, "a-test") as processes:
        files = folder.path / "storage"
        server = storage.storage_program(RESOURCES, port, files, f"127.0.0.1:{nobody}", child_environment())
        processes.start(server)
        processes.wait_until_ready([server], 30)
        storage.create_buckets(
            storage.create_client(RESOURCES.project, storage.url_of(port)), RESOURCES.buckets
        )
        yield storage.url_of(port)


@pytest.fixture
def bucket(address: str) -> Bucket:
    return storage.create_client(RESOURCES.project, address).bucket(RESOURCES.work)


def race(address: str, name: str, generation: int) -> list[str]:
    """Many write the same object at once, each of them only if it has this generation; gives their fates."""
    barrier = threading.Barrier(RACERS)

    def write(racer: int) -> str:
        blob = storage.create_client(RESOURCES.project, address).bucket(RESOURCES.work).blob(name)
        barrier.wait()
        try:
            blob.upload_from_string(f"racer {racer}", if_generation_match=generation, retry=None)
        except PreconditionFailed:
            return "refused"
        return "won"

    with ThreadPoolExecutor(RACERS) as racers:
        return sorted(racers.map(write, range(RACERS)))


@pytest.mark.parametrize("number", range(5))
def test_of_many_who_create_an_object_one_wins(address: str, number: int) -> None:
    assert race(address, f"created-{number}", 0) == ["refused"] * (RACERS - 1) + ["won"]


@pytest.mark.parametrize("number", range(5))
def test_of_many_who_replace_a_version_one_wins(address: str, bucket: Bucket, number: int) -> None:
    blob = bucket.blob(f"replaced-{number}")
    blob.upload_from_string("first")

    assert race(address, blob.name, blob.generation) == ["refused"] * (RACERS - 1) + ["won"]


def test_a_version_that_was_replaced_is_gone(bucket: Bucket) -> None:
    blob = bucket.blob("pinned")
    blob.upload_from_string("first")
    first = blob.generation
    blob.upload_from_string("second")

    assert bucket.blob("pinned", generation=blob.generation).download_as_bytes() == b"second"
    with pytest.raises(NotFound):
        bucket.blob("pinned", generation=first).download_as_bytes()
    assert bucket.get_blob("pinned", generation=first) is None


def test_names_that_people_give_their_videos_work(bucket: Bucket) -> None:
    name = "channels/Straße/videos/Прогулка по городу, 100% «финал» #2?.mp4"

    bucket.blob(name).upload_from_string("x")

    assert [blob.name for blob in bucket.list_blobs(prefix="channels/Straße/")] == [name]
    assert bucket.blob(name).download_as_bytes() == b"x"
