"""Cloud Storage: conditional writes, and reads of one version.

The state of the pipeline is objects and preconditions. Reads, deletes and listings are strongly consistent
(https://cloud.google.com/storage/docs/consistency).
"""

import base64
import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, BinaryIO, Generic, NamedTuple, cast

import google_crc32c
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.api_core.retry import Retry
from google.cloud import storage
from google.cloud.storage.fileio import BlobWriter
from google.cloud.storage.retry import DEFAULT_RETRY

from defacer.pipeline.documents.base import AnyDocument, ObjectRef, parse_document
from defacer.pipeline.documents.report import JobReport, ReportHead
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import emulator_hosts, settings
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.transient_errors import transient_errors_as_retryable
from defacer.report.json_lines import ReportError, split_report

JSON = "application/json"
JSON_LINES = "application/jsonl"
GZIP = "gzip"  # the content encoding of an object that `gsutil cp -z` or `-Z` wrote
GZIP_FORMAT = 31  # zlib's `wbits` for gzip with its header
# Of a conditional write that another writer overtakes. Races settle within a round.
MAX_CAS_RETRIES = 5
# A larger file is uploaded in chunks of this size. The client's default is 100 MiB, and a chunk is held in memory.
CHUNK_BYTES = 8 * 1024 * 1024

TransferCallback = Callable[[], None]


class AlreadyWrittenError(Exception):
    """A precondition failed: a version with other bytes exists. `existing` is that version."""

    def __init__(self, existing: ObjectRef):
        super().__init__(f"{existing} exists with other bytes")
        self.existing = existing


class Stored(NamedTuple, Generic[AnyDocument]):
    """A document, and the version of the object that holds it."""

    document: AnyDocument
    ref: ObjectRef


@cache
def client() -> storage.Client:
    """Return this process's client. It uses the emulator that STORAGE_EMULATOR_HOST names, if any."""
    return storage.Client(project=settings().project)


def retries() -> Retry:
    """Return the retries of a call, after which its error becomes a RetryableError."""
    return cast(Retry, DEFAULT_RETRY.with_timeout(settings().retry_seconds))


def write_once(
    bucket: str,
    name: str,
    data: bytes | Path,
    content_type: str = JSON,
    *,
    metadata: Mapping[str, str] | None = None,
    progress: TransferCallback = lambda: None,
) -> ObjectRef:
    """Write an object that must not exist yet, and return its version.

    An object with the same bytes counts as written by this call: the response was lost, or the message was redelivered.
    Raises AlreadyWrittenError if it has other bytes, RetryableError for a transient error.
    """
    return replace(bucket, name, data, content_type, generation=0, metadata=metadata, progress=progress)


def replace(
    bucket: str,
    name: str,
    data: bytes | Path,
    content_type: str = JSON,
    *,
    generation: int,
    metadata: Mapping[str, str] | None = None,
    progress: TransferCallback = lambda: None,
) -> ObjectRef:
    """Write an object if its current version is `generation` (0: it does not exist). Raises as `write_once` does.

    The upload calls `progress` for every chunk, and stops if that raises.
    """
    blob = client().bucket(bucket).blob(name)
    if metadata is not None:
        blob.metadata = dict(metadata)
    try:
        with transient_errors_as_retryable("writing an object"), _open(data) as file:
            content = _measure(file)
            if content.size > CHUNK_BYTES:
                blob.chunk_size = CHUNK_BYTES
            blob.upload_from_file(
                _ProgressFile(file, progress),
                size=content.size,
                content_type=content_type,
                if_generation_match=generation,
                checksum="crc32c",
                retry=retries(),
            )
    except PreconditionFailed:
        return _accept_own_write(bucket, name, content, metadata)
    return reference(blob)


def _accept_own_write(
    bucket: str, name: str, written: "_Content", metadata: Mapping[str, str] | None
) -> ObjectRef:
    """Return the existing version if it equals the written one: then our write succeeded and its response was lost."""
    existing = find_blob(bucket, name)
    if existing is None:
        raise RetryableError("an object came and went while it was written")
    if _Content(existing.size, existing.crc32c) == written and (
        metadata is None or existing.metadata == metadata
    ):
        return reference(existing)
    raise AlreadyWrittenError(reference(existing))


def reference(blob: storage.Blob) -> ObjectRef:
    """Return the version of the object that this blob describes."""
    return ObjectRef(bucket=blob.bucket.name, name=blob.name, generation=int(blob.generation))


def find_blob(bucket: str, name: str, generation: int | None = None) -> storage.Blob | None:
    """Return the metadata of the current version, or of `generation`; None if it does not exist."""
    if not object_names.is_object_name(name):
        return None
    with transient_errors_as_retryable("reading an object's metadata"):
        return client().bucket(bucket).get_blob(name, generation=_readable(name, generation), retry=retries())


def list_all(bucket: str, prefix: str) -> tuple[ObjectRef, ...]:
    """Return the current versions of the objects whose names start with `prefix`, sorted by name."""
    return tuple(map(reference, list_blobs(bucket, prefix)))


def list_blobs(bucket: str, prefix: str, *, recursive: bool = True) -> list[storage.Blob]:
    """Return the same objects as `list_all`, with their metadata. Without `recursive`, omit the folders below."""
    delimiter = None if recursive else "/"
    with transient_errors_as_retryable("listing objects"):
        blobs = list(client().list_blobs(bucket, prefix=prefix, delimiter=delimiter, retry=retries()))
    return sorted(blobs, key=lambda blob: blob.name)


def list_versions(bucket: str, prefix: str) -> list[storage.Blob]:
    """Return the same objects as `list_blobs`, and the noncurrent versions of a bucket with object versioning."""
    with transient_errors_as_retryable("listing objects"):
        # A string, because the client writes True with a capital, which fake-gcs-server does not read.
        found = client().list_blobs(bucket, prefix=prefix, versions="true", retry=retries())
        return sorted(found, key=lambda blob: (blob.name, int(blob.generation)))


def list_folders(bucket: str, prefix: str) -> list[str]:
    """Return the prefixes one level below `prefix`. All of them end in a slash."""
    with transient_errors_as_retryable("listing objects"):
        pages = client().list_blobs(bucket, prefix=prefix, delimiter="/", retry=retries())
        for _ in pages:  # the prefixes are known once all pages are read
            pass
        return sorted(pages.prefixes)


def read(ref: ObjectRef) -> bytes:
    """Read one version and verify its checksum. Unpack it if it is stored with `Content-Encoding: gzip`.

    Raises PermanentError if it was deleted or replaced, or if it can't be unpacked.
    """
    blob = _pinned(ref)
    with transient_errors_as_retryable("reading an object"), not_found_as_permanent(ref):
        data = cast(bytes, blob.download_as_bytes(raw_download=True, retry=retries()))
    return _unpack(data, ref) if blob.content_encoding == GZIP else data


def _unpack(data: bytes, ref: ObjectRef) -> bytes:
    """Unpack gzip up to the size of the largest input that is read as a whole: a few bytes can unpack to gigabytes."""
    allowed = settings().max_picture_bytes
    unpacker = zlib.decompressobj(wbits=GZIP_FORMAT)
    try:
        unpacked = unpacker.decompress(data, allowed)
    except zlib.error:
        unpacked = b""
    if unpacker.eof:
        return unpacked
    raise PermanentError(
        ErrorCode.BAD_OBJECT,
        f"{object_names.owner_name(ref.name)} is stored with gzip compression, and does not unpack to at most "
        f"{allowed} bytes. Upload it without compression (`gsutil cp` without -z and -Z), then upload the video again.",
    )


def download(ref: ObjectRef, path: Path) -> None:
    """Write one version into a file. Raises PermanentError if it was deleted."""
    with transient_errors_as_retryable("reading an object"), not_found_as_permanent(ref):
        _pinned(ref).download_to_filename(str(path), retry=retries())


def read_json(ref: ObjectRef, model: type[AnyDocument]) -> AnyDocument:
    """Read one version as a document. Raises PermanentError if it was deleted or is not a valid document."""
    return parse_object(read(ref), ref, model)


def read_report(ref: ObjectRef) -> JobReport:
    """Return a report with its tracks. Raise PermanentError if it is gone, or is not a complete report."""
    head, lines = split_stored_report(read(ref), ref)
    try:
        return JobReport.from_lines(head, lines)
    except ReportError as error:
        raise unreadable_error(ref, str(error)) from error


def split_stored_report(data: bytes, ref: ObjectRef) -> tuple[ReportHead, Iterator[bytes]]:
    """Return the head of a report, and the lines of its tracks. Raise PermanentError unless it is complete."""
    try:
        head, lines = split_report(data)
    except ReportError as error:
        raise unreadable_error(ref, str(error)) from error
    return parse_object(head, ref, ReportHead), lines


def find_json(bucket: str, name: str, model: type[AnyDocument]) -> Stored[AnyDocument] | None:
    """Return the current version of a document; None if there is none."""
    blob = find_blob(bucket, name)
    if blob is None:
        return None
    try:
        with transient_errors_as_retryable("reading an object"):
            data = cast(bytes, _pinned(reference(blob)).download_as_bytes(retry=retries()))
    except NotFound:  # replaced or deleted since, so the version that is current now counts
        return find_json(bucket, name, model)
    return Stored(parse_object(data, reference(blob), model), reference(blob))


class _BlobWriter(BlobWriter):  # type: ignore[misc]  # the client has no types
    """A file that is uploaded to a blob, by `close` alone."""

    def __del__(self) -> None:
        """Upload nothing. The inherited method calls `close`, which uploads what a failed block had written."""


@contextmanager
def open_for_writing(
    bucket: str, name: str, content_type: str, progress: TransferCallback
) -> Iterator[BinaryIO]:
    """Open a file whose bytes are uploaded in chunks. The object does not exist if the block raises."""
    blob = client().bucket(bucket).blob(name)
    with (
        transient_errors_as_retryable("writing an object"),
        _BlobWriter(blob, chunk_size=CHUNK_BYTES, content_type=content_type, retry=retries()) as file,
    ):
        yield cast(BinaryIO, _ProgressFile(file, progress))


def compose(parts: Sequence[str], bucket: str, name: str, content_type: str) -> ObjectRef:
    """Concatenate objects on the server.

    Raises RetryableError if one was deleted, because another worker finished with them.
    """
    blob = client().bucket(bucket).blob(name)
    blob.content_type = content_type
    try:
        with transient_errors_as_retryable("composing an object"):
            blob.compose([client().bucket(bucket).blob(part) for part in parts], retry=retries())
    except NotFound as error:
        raise RetryableError("a part of the result is gone") from error
    return reference(blob)


def copy(
    source: ObjectRef,
    bucket: str,
    name: str,
    *,
    generation: int,
    metadata: Mapping[str, str],
    progress: TransferCallback = lambda: None,
) -> ObjectRef:
    """Copy an object on the server if the target's version is `generation` (0: it does not exist).

    Raises as `write_once` does, and PermanentError if the source was deleted. It reads the target first, because
    fake-gcs-server v1.54 ignores the precondition of a copy. On Cloud Storage the precondition alone decides.
    """
    original = find_blob(source.bucket, source.name, source.generation)
    if original is None:
        raise object_missing_error(source)
    existing = find_blob(bucket, name)
    if (int(existing.generation) if existing else 0) != generation:
        return _accept_own_write(bucket, name, _Content(original.size, original.crc32c), metadata)
    blob = client().bucket(bucket).blob(name)
    blob.metadata = dict(metadata)
    blob.content_type = original.content_type
    token = None
    try:
        with transient_errors_as_retryable("copying an object"):
            while True:
                progress()
                token, _, _ = blob.rewrite(
                    original, token=token, if_generation_match=generation, retry=retries()
                )
                if token is None:
                    return reference(blob)
    except NotFound as error:
        raise object_missing_error(source) from error
    except PreconditionFailed:
        return _accept_own_write(bucket, name, _Content(original.size, original.crc32c), metadata)


def mark(ref: ObjectRef, metadata: Mapping[str, str]) -> None:
    """Add custom metadata to this version. Do nothing if it was deleted or replaced."""
    blob = _pinned(ref)
    blob.metadata = dict(metadata)
    try:
        with transient_errors_as_retryable("marking an object"):
            blob.patch(retry=retries())
    except (NotFound, PreconditionFailed):
        return


def delete(ref: ObjectRef) -> None:
    """Delete this version, unless that was done before. A bucket with object versioning keeps no copy.

    On an emulator it reads the version first, because fake-gcs-server v1.54 ignores the generation of a delete and
    deletes any version. On Cloud Storage the generation alone decides.
    """
    if emulator_hosts() and find_blob(ref.bucket, ref.name, ref.generation) is None:
        return
    try:
        with transient_errors_as_retryable("deleting an object"):
            _pinned(ref).delete(retry=retries())
    except NotFound:
        return


def delete_all(bucket: str, prefix: str) -> None:
    """Delete every object whose name starts with `prefix`."""
    for ref in list_all(bucket, prefix):
        delete_any(bucket, ref.name)


def delete_any(bucket: str, name: str) -> None:
    """Delete the current version, if any."""
    try:
        with transient_errors_as_retryable("deleting an object"):
            client().bucket(bucket).blob(name).delete(retry=retries())
    except NotFound:
        return


def object_missing_error(ref: ObjectRef, code: ErrorCode = ErrorCode.OBJECT_GONE) -> PermanentError:
    """Return the error for a version that was deleted or replaced."""
    return PermanentError(
        code,
        f"{object_names.owner_name(ref.name)} was deleted or replaced while its video was being processed. "
        "Upload the video again.",
        detail=_detail(ref, "it is gone"),
    )


@contextmanager
def not_found_as_permanent(ref: ObjectRef, code: ErrorCode = ErrorCode.OBJECT_GONE) -> Iterator[None]:
    """Raise PermanentError if the block finds that this version was deleted or replaced."""
    try:
        yield
    except (NotFound, PreconditionFailed) as error:
        raise object_missing_error(ref, code) from error


def _pinned(ref: ObjectRef) -> storage.Blob:
    return client().bucket(ref.bucket).blob(ref.name, generation=_readable(ref.name, ref.generation))


def _readable(name: str, generation: int | None) -> int | None:
    """Return the generation to read: None for any, which a manifest on an emulator is read by.

    fake-gcs-server v1.54 gives a marked object a new generation, while messages name the first one. A manifest is
    written once. On Cloud Storage, a mark changes the metageneration alone.
    """
    is_marked = emulator_hosts() and name.startswith(object_names.JOBS) and name.endswith("/manifest.json")
    return None if is_marked else generation


def parse_object(data: bytes, ref: ObjectRef, model: type[AnyDocument]) -> AnyDocument:
    """Parse the bytes of an object. Raises PermanentError if they are not a valid document."""
    try:
        return parse_document(model, data)
    except ValueError as error:
        raise unreadable_error(ref, f"not a valid {model.__name__}") from error


def unreadable_error(ref: ObjectRef, what: str) -> PermanentError:
    """Return the error for an object that is not what it should be. `what` is for the log."""
    return PermanentError(
        ErrorCode.BAD_OBJECT,
        f"{object_names.owner_name(ref.name)} can't be read. Upload the video again.",
        detail=_detail(ref, what),
    )


def _detail(ref: ObjectRef, what: str) -> str:
    """Return a detail for the log, which can name an object of a job but not an object of a channel."""
    return f"{ref.name}: {what}" if ref.name.startswith(object_names.JOBS) else what


def _open(data: bytes | Path) -> AbstractContextManager[IO[bytes]]:
    return data.open("rb") if isinstance(data, Path) else io.BytesIO(data)


class _Content(NamedTuple):
    size: int
    checksum: str


def _measure(file: IO[bytes]) -> _Content:
    """Return the size in bytes and the CRC-32C as Cloud Storage encodes it: big-endian, base64."""
    size, checksum = 0, 0
    while chunk := file.read(CHUNK_BYTES):
        size += len(chunk)
        checksum = google_crc32c.extend(checksum, chunk)
    file.seek(0)
    return _Content(size, base64.b64encode(checksum.to_bytes(4, "big")).decode())


class _ProgressFile:
    """A file that calls `progress` for every chunk, which renews a lease during a long transfer."""

    def __init__(self, file: IO[bytes], progress: TransferCallback):
        self._file = file
        self._progress = progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        self._progress()
        return self._file.read(size)

    def write(self, data: bytes) -> int:
        self._progress()
        return self._file.write(data)
