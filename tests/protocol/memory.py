"""Cloud Storage and Pub/Sub in memory, as far as the functions use their clients.

All other tests run against a real server. The model check can't, for two reasons:

- Twenty thousand interleavings of some hundred requests are two million requests. The scheduler has to be able to stop
  each of them, let it fail, or lose its answer.
- fake-gcs-server ignores the preconditions of delete, compose, copy and resumable uploads. These are checked here.

This storage follows all preconditions (https://cloud.google.com/storage/docs/request-preconditions) and is strongly
consistent (https://cloud.google.com/storage/docs/consistency), as Cloud Storage documents it. A replaced generation is
gone, unless its bucket keeps versions. `test_memory.py` compares it with fake-gcs-server. The functions' own
`objects.py` runs on top of it.

Every request goes through a `Gate`, which decides its outcome.
"""

import base64
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import google_crc32c
from google.api_core.exceptions import NotFound, PreconditionFailed

Answer = TypeVar("Answer")


class Gate(Protocol):
    """A gate between a client and the server: it runs `effect`, skips it, or loses its answer."""

    def __call__(self, label: str, effect: Callable[[], Answer]) -> Answer: ...


def run_at_once(label: str, effect: Callable[[], Answer]) -> Answer:
    return effect()


# Newer than any time limit of the functions.
UPDATED = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Stored:
    """One version of one object."""

    bucket: str
    name: str
    data: bytes
    generation: int
    content_type: str | None
    metadata: Mapping[str, str] | None
    writer: int | None = None

    @property
    def crc32c(self) -> str:
        return base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()


@dataclass
class Storage:
    """The server. `written` has every version in order. A `versioned` bucket still returns replaced and deleted ones.

    `writer` returns the number of the delivery that writes now. A copy is one step, a slow copy is two.
    """

    versioned: frozenset[str] = frozenset()
    copies_slowly: bool = False
    objects: dict[tuple[str, str], Stored] = field(default_factory=dict)
    writer: Callable[[], int | None] = lambda: None
    written: list[Stored] = field(default_factory=list)
    erased: set[int] = field(default_factory=set)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def get(self, bucket: str, name: str, generation: int | None = None) -> Stored:
        stored = self.objects.get((bucket, name))
        if stored is not None and generation in (None, stored.generation):
            return stored
        if generation is not None and bucket in self.versioned:
            for old in self.written:
                key = (old.bucket, old.name, old.generation)
                if key == (bucket, name, generation) and generation not in self.erased:
                    return old
        raise NotFound(name)

    def put(
        self,
        bucket: str,
        name: str,
        data: bytes,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_generation_match: int | None = None,
    ) -> Stored:
        self._check(bucket, name, if_generation_match)
        stored = Stored(bucket, name, data, next(self.generations), content_type, metadata, self.writer())
        self.objects[bucket, name] = stored
        self.written.append(stored)
        return stored

    def patch(self, bucket: str, name: str, generation: int | None, metadata: Mapping[str, str]) -> Stored:
        old = self.get(bucket, name, generation)
        merged = {**(old.metadata or {}), **metadata}
        stored = Stored(bucket, name, old.data, old.generation, old.content_type, merged)
        self.objects[bucket, name] = stored
        return stored

    def delete(
        self, bucket: str, name: str, generation: int | None = None, if_generation_match: int | None = None
    ) -> None:
        """Delete a version for good or, without a generation, keep it as an old version of a versioned bucket."""
        self.get(bucket, name, generation)
        self._check(bucket, name, if_generation_match)
        if generation is not None:
            self.erased.add(generation)
            live = self.objects.get((bucket, name))
            if live is None or live.generation != generation:
                return
        del self.objects[bucket, name]

    def with_prefix(self, bucket: str, prefix: str) -> list[Stored]:
        found = [
            stored for (its_bucket, name), stored in self.objects.items()
            if its_bucket == bucket and name.startswith(prefix)
        ]  # fmt: skip
        return sorted(found, key=lambda stored: stored.name)

    def versions_with_prefix(self, bucket: str, prefix: str) -> list[Stored]:
        """Return the objects as `with_prefix` does, and the old versions of a versioned bucket."""
        live = self.with_prefix(bucket, prefix)
        known = {stored.generation for stored in live} | self.erased
        old = [
            stored for stored in self.written
            if bucket in self.versioned and stored.bucket == bucket and stored.name.startswith(prefix)
            and stored.generation not in known
        ]  # fmt: skip
        return [*live, *old]

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        return [stored.name for stored in self.with_prefix(bucket, prefix)]

    def _check(self, bucket: str, name: str, wanted: int | None) -> None:
        there = self.objects.get((bucket, name))
        if wanted is not None and wanted != (there.generation if there else 0):
            raise PreconditionFailed(name)


@contextmanager
def open_writer(blob: "Blob", chunk_size: int, content_type: str, retry: object) -> Iterator[io.BytesIO]:
    """Yield a file that is stored in the blob unless the block raises, in place of the client's `BlobWriter`."""
    file = io.BytesIO()
    yield file
    blob.write(file.getvalue(), content_type)


class Client:
    """`google.cloud.storage.Client`, as far as the functions use it."""

    def __init__(self, storage: Storage, gate: Gate = run_at_once):
        self.storage = storage
        self.gate = gate

    def bucket(self, name: str) -> "Bucket":
        return Bucket(self, name)

    def list_blobs(
        self,
        bucket: str,
        prefix: str,
        retry: object,
        versions: str | None = None,
        delimiter: str | None = None,
    ) -> "BlobListing":
        lists = self.storage.versions_with_prefix if versions else self.storage.with_prefix
        found = self.gate(f"list {prefix}", lambda: lists(bucket, prefix))
        folders = set()
        if delimiter is not None:
            below = {stored.name: stored.name.removeprefix(prefix).partition(delimiter) for stored in found}
            folders = {f"{prefix}{folder}{delimiter}" for folder, slash, _ in below.values() if slash}
            found = [stored for stored in found if not below[stored.name][1]]
        return BlobListing([Blob.loaded(self, stored) for stored in found], folders)


class BlobListing(list["Blob"]):
    """The objects of a listing; with a delimiter also the folders, as `prefixes`."""

    def __init__(self, blobs: list["Blob"], prefixes: set[str]):
        super().__init__(blobs)
        self.prefixes = prefixes


@dataclass(frozen=True)
class Bucket:
    client: Client
    name: str

    def blob(self, name: str, generation: int | None = None) -> "Blob":
        return Blob(self, name, generation)

    def get_blob(self, name: str, generation: int | None, retry: object) -> "Blob | None":
        def get() -> Stored | None:
            try:
                return self.client.storage.get(self.name, name, generation)
            except NotFound:
                return None

        found = self.client.gate(f"find {name}", get)
        return Blob.loaded(self.client, found) if found else None


class Blob:
    """`google.cloud.storage.Blob`, as far as the functions use it."""

    def __init__(self, bucket: Bucket, name: str, generation: int | None = None):
        self.bucket = bucket
        self.name = name
        self.generation = generation
        self.metadata: Mapping[str, str] | None = None
        self.time_deleted: str | None = None
        self.content_type: str | None = None
        self.content_encoding: str | None = None
        self.chunk_size = 0
        self.size = 0
        self.crc32c = ""
        self.updated = self.time_created = UPDATED

    @classmethod
    def loaded(cls, client: Client, stored: Stored) -> "Blob":
        blob = cls(Bucket(client, stored.bucket), stored.name)
        blob._load(stored)
        return blob

    def _load(self, stored: Stored) -> None:
        live = self.bucket.client.storage.objects.get((stored.bucket, stored.name))
        self.time_deleted = None if live and live.generation == stored.generation else "some time ago"
        self.generation = stored.generation
        self.metadata = stored.metadata
        self.content_type = stored.content_type
        self.size = len(stored.data)
        self.crc32c = stored.crc32c

    def _ask(
        self, label: str, effect: Callable[[Storage], Answer], if_generation_match: int | None = None
    ) -> Answer:
        client = self.bucket.client
        condition = "" if if_generation_match is None else f" if {if_generation_match}"
        return client.gate(f"{label} {self.name}{condition}", lambda: effect(client.storage))

    def _put(self, label: str, data: bytes, if_generation_match: int | None = None) -> None:
        place = (self.bucket.name, self.name, data, self.content_type, self.metadata, if_generation_match)
        self._load(self._ask(label, lambda storage: storage.put(*place), if_generation_match))

    def upload_from_file(
        self,
        file: Any,
        size: int,
        content_type: str,
        if_generation_match: int,
        checksum: str,
        retry: object,
    ) -> None:
        self.content_type = content_type
        self._put("write", file.read(size), if_generation_match)

    def write(self, data: bytes, content_type: str) -> None:
        """Store the data as `BlobWriter.close` does."""
        self.content_type = content_type
        self._put("write", data)

    def download_as_bytes(
        self,
        retry: object,
        start: int = 0,
        end: int | None = None,
        raw_download: bool = False,
        checksum: str | None = "auto",
    ) -> bytes:
        got = self._ask("read", lambda storage: storage.get(self.bucket.name, self.name, self.generation))
        return got.data[start:] if end is None else got.data[start : end + 1]

    def compose(self, parts: Sequence["Blob"], retry: object) -> None:
        def compose(storage: Storage) -> Stored:
            data = b"".join(storage.get(self.bucket.name, part.name).data for part in parts)
            return storage.put(self.bucket.name, self.name, data, self.content_type, self.metadata)

        self._load(self._ask("compose", compose))

    def rewrite(
        self, source: "Blob", token: str | None, if_generation_match: int, retry: object
    ) -> tuple[None, int, int]:
        def read(storage: Storage) -> bytes:
            return storage.get(source.bucket.name, source.name, source.generation).data

        def write(storage: Storage) -> Stored:
            place = (self.bucket.name, self.name, data or read(storage), self.content_type, self.metadata)
            return storage.put(*place, if_generation_match)

        data = self._ask("copy from", read) if self.bucket.client.storage.copies_slowly else None
        self._load(self._ask("copy to", write, if_generation_match))
        return None, self.size, self.size

    def patch(self, retry: object) -> None:
        place = (self.bucket.name, self.name, self.generation, self.metadata or {})
        self._load(self._ask("mark", lambda storage: storage.patch(*place)))

    def delete(self, retry: object, if_generation_match: int | None = None) -> None:
        place = (self.bucket.name, self.name, self.generation, if_generation_match)
        self._ask("delete", lambda storage: storage.delete(*place))


class Publisher:
    """`google.pubsub_v1.PublisherClient`, as far as the functions use it. `send` gets topic, data and attributes."""

    def __init__(self, send: Callable[[str, bytes, dict[str, str]], None], gate: Gate = run_at_once):
        self._send = send
        self._gate = gate

    def topic_path(self, project: str, topic: str) -> str:
        return topic

    def publish(self, request: Any, retry: object, timeout: float) -> None:
        def send() -> None:
            for message in request.messages:
                self._send(request.topic, message.data, dict(message.attributes))

        self._gate(f"publish on {request.topic}", send)
