"""The guarantees of Cloud Storage that the pipeline relies on and the storage emulator has."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage import Bucket

from defacer.pipeline.settings import use_variables
from defacer.pipeline.storage import object_names, objects
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
    """Run a storage server as the emulator does, but without Pub/Sub."""
    folder = StateFolder(tmp_path_factory.mktemp("storage"))
    port, unused = free_ports(2)
    with folder.lock(), Processes(folder, uuid.uuid4().hex) as processes:
        files = folder.path / "storage"
        server = storage.storage_program(RESOURCES, port, files, f"127.0.0.1:{unused}", child_environment())
        processes.start(server)
        processes.wait_until_ready([server], 30)
        storage.create_buckets(
            storage.create_client(RESOURCES.project, storage.url_of(port)), RESOURCES.buckets
        )
        yield storage.url_of(port)


@pytest.fixture
def bucket(address: str) -> Bucket:
    return storage.create_client(RESOURCES.project, address).bucket(RESOURCES.work)


def race_writes(address: str, name: str, generation: int) -> list[str]:
    """Write the same object in many threads at once, each with this precondition, and return the outcomes."""
    barrier = threading.Barrier(RACERS)

    def write(racer: int) -> str:
        blob = storage.create_client(RESOURCES.project, address).bucket(RESOURCES.work).blob(name)
        barrier.wait()
        try:
            blob.upload_from_string(f"racer {racer}", if_generation_match=generation, retry=None)
        except PreconditionFailed:
            return "rejected"
        return "won"

    with ThreadPoolExecutor(RACERS) as racers:
        return sorted(racers.map(write, range(RACERS)))


@pytest.mark.parametrize("number", range(5))
def test_exactly_one_of_many_creators_succeeds(address: str, number: int) -> None:
    assert race_writes(address, f"created-{number}", 0) == ["rejected"] * (RACERS - 1) + ["won"]


@pytest.mark.parametrize("number", range(5))
def test_exactly_one_of_many_replacing_writers_succeeds(address: str, bucket: Bucket, number: int) -> None:
    blob = bucket.blob(f"replaced-{number}")
    blob.upload_from_string("first")

    assert race_writes(address, blob.name, blob.generation) == ["rejected"] * (RACERS - 1) + ["won"]


def test_replaced_version_is_not_found(bucket: Bucket) -> None:
    blob = bucket.blob("pinned")
    blob.upload_from_string("first")
    first = blob.generation
    blob.upload_from_string("second")

    assert bucket.blob("pinned", generation=blob.generation).download_as_bytes() == b"second"
    with pytest.raises(NotFound):
        bucket.blob("pinned", generation=first).download_as_bytes()
    assert bucket.get_blob("pinned", generation=first) is None


def test_object_name_with_special_characters_works(bucket: Bucket) -> None:
    name = "channels/Straße/videos/Прогулка по городу, 100% «финал» #2?.mp4"

    bucket.blob(name).upload_from_string("x")

    assert [blob.name for blob in bucket.list_blobs(prefix="channels/Straße/")] == [name]
    assert bucket.blob(name).download_as_bytes() == b"x"


def test_marked_manifest_is_found_by_the_version_that_messages_name(address: str) -> None:
    """The server gives a marked object another generation, which Cloud Storage does not."""
    variables = {
        "STORAGE_EMULATOR_HOST": address,
        "DEFACER_PROJECT": RESOURCES.project,
        "DEFACER_INTAKE_BUCKET": RESOURCES.intake,
        "DEFACER_WORK_BUCKET": RESOURCES.work,
        "DEFACER_OUTPUT_BUCKET": RESOURCES.output,
    }
    name, marks = object_names.manifest("0" * 20), {"one": "yes", "other": "yes"}
    with use_variables(variables):
        objects.client.cache_clear()
        ref = objects.write_once(RESOURCES.work, name, b"{}")
        for mark in marks:
            objects.mark(ref, {mark: "yes"})
        blob = objects.find_blob(ref.bucket, ref.name, ref.generation)
        assert blob is not None
        assert blob.metadata == marks
        assert objects.read(ref) == b"{}"
    objects.client.cache_clear()
