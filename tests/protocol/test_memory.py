"""Compare the storage of the model check with fake-gcs-server: the same operations have the same results.

Both run below `pipeline/storage/objects.py`. The test avoids the operations in which fake-gcs-server differs from Cloud
Storage: it ignores the preconditions of delete, compose and copy, patches any version, and reports a missing part of a
compose as a server error.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.storage import objects
from tests.cloud import Buckets, Environment
from tests.protocol.memory import Client, Storage, open_writer

NAMES = ("a", "a/1", "b")
BYTES = (b"one", b"two", b"")
METADATA = ({"job": "1"}, {"job": "2"}, None)


@dataclass
class Side:
    """One of the two storages. `versions` are its generations in the order of their discovery, to compare them."""

    bucket: str
    output: str
    versions: list[int] = field(default_factory=list)

    def known(self, ref: ObjectRef) -> tuple[str, int]:
        if ref.generation not in self.versions:
            self.versions.append(ref.generation)
        return ref.name, self.versions.index(ref.generation)

    def ref(self, name: str, version: int) -> ObjectRef:
        return ObjectRef(bucket=self.bucket, name=name, generation=self.generation(version))

    def generation(self, version: int) -> int:
        """Return the generation of a known version, or one that never existed."""
        return self.versions[version] if version < len(self.versions) else 10**17


Operation = Callable[[Side], object]


def draw_operation(rng: random.Random) -> tuple[str, Operation]:
    """Return the name of a random operation, and the operation."""
    name, other = rng.choice(NAMES), rng.choice(NAMES)
    data, metadata, version = rng.choice(BYTES), rng.choice(METADATA), rng.randrange(8)

    def write(side: Side) -> object:
        found = objects.find_blob(side.bucket, name) if version < 4 else None
        generation = int(found.generation) if found else side.generation(version)
        return side.known(objects.replace(side.bucket, name, data, generation=generation, metadata=metadata))

    def copy(side: Side) -> object:
        source = side.ref(name, version)
        copied = objects.copy(source, side.output, other, generation=0, metadata=metadata or METADATA[0])
        return side.known(copied)

    def stream(side: Side) -> object:
        with objects.open_for_writing(side.bucket, name, "text/plain", lambda: None) as file:
            file.write(data + b".")
        found = objects.find_blob(side.bucket, name)
        return found is not None and side.known(objects.reference(found))

    def mark(side: Side) -> object:
        found = objects.find_blob(side.bucket, name)
        return found and objects.mark(objects.reference(found), {"announced": "yes"})

    def compose(side: Side) -> object:
        objects.delete_all(side.bucket, "c")  # in place of another it keeps that one's generation there
        return side.known(objects.compose([name, other], side.bucket, "c", "text/plain"))

    def find(side: Side) -> object:
        found = objects.find_blob(side.bucket, name)
        return found and (found.size, found.crc32c, found.metadata, side.known(objects.reference(found)))

    operations: dict[str, Operation] = {
        "write": write,
        "write once": lambda side: side.known(objects.write_once(side.bucket, name, data, metadata=metadata)),
        "stream": stream,
        "copy": copy,
        "compose": compose,
        "find": find,
        "find version": lambda side: (
            objects.find_blob(side.bucket, name, side.generation(version)) is not None
        ),
        "read": lambda side: objects.read(side.ref(name, version)),
        "read document": lambda side: objects.find_json(side.bucket, name, Policy),
        "mark": mark,
        "delete": lambda side: objects.delete(side.ref(name, version)),
        "delete all": lambda side: objects.delete_all(side.bucket, name),
        "list": lambda side: [side.known(ref) for ref in objects.list_all(side.bucket, name)],
    }
    kind = rng.choice(tuple(operations))
    return f"{kind} {name} {other} {version} {data!r} {metadata}", operations[kind]


def run_operation(operation: Operation, side: Side) -> object:
    """Return the operation's result or error in a form that is the same for both."""
    try:
        return operation(side)
    except objects.AlreadyWrittenError as error:
        return "already written", side.known(error.existing)
    except (PermanentError, RetryableError) as error:
        return type(error).__name__


@pytest.mark.parametrize("seed", range(12))
def test_storage_in_memory_answers_like_fake_gcs_server(
    seed: int, buckets: Buckets, environment: Environment
) -> None:
    environment(retry_seconds=0.1)  # fake-gcs-server reports a missing part as a server error
    rng = random.Random(seed)
    server, memory = Side(buckets.work, buckets.output), Side("work", "output")
    client = Client(Storage())
    done: list[str] = []
    for _ in range(60):
        called, operation = draw_operation(rng)
        done.append(called)
        from_server = run_operation(operation, server)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(objects, "client", lambda: client)
            patch.setattr(objects, "_BlobWriter", open_writer)
            from_memory = run_operation(operation, memory)
        assert from_memory == from_server, "\n".join(done)


def test_replaced_version_exists_only_in_a_versioned_bucket() -> None:
    for versioned in (frozenset[str](), frozenset({"work"})):
        storage = Storage(versioned=versioned)
        old = storage.put("work", "a", b"old")
        storage.put("work", "a", b"new")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(objects, "client", lambda storage=storage: Client(storage))
            patch.setattr(objects, "_BlobWriter", open_writer)
            patch.setattr(objects, "retries", lambda: None)
            found = objects.find_blob("work", "a", old.generation)
        assert (found is not None) == bool(versioned)
