"""Where jobs are, read from the buckets: nothing else knows, and nothing else needs to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import requests
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import TransportError
from google.cloud.storage import Blob, Client
from pydantic import ValidationError

from functions.pipeline import layout
from functions.pipeline.contracts import Contract, Failed, Manifest, ObjectRef, Published, Report
from functions.pipeline.jobs import ERASED
from functions.pipeline.parts import Pieces
from functions.pipeline.store import reference
from local_emulator.errors import EmulatorError
from local_emulator.resources import Resources

SECONDS = 10.0  # for one request: the server is on this machine
State = Literal[
    "waiting", "finding", "linking", "hiding", "merging", "published", "superseded", "failed", "erased"
]
AnyDocument = TypeVar("AnyDocument", bound=Contract)


class StorageError(EmulatorError):
    """The storage emulator does not answer, or not as expected."""


@contextmanager
def storage_faults() -> Iterator[None]:
    """Raise StorageError for whatever the storage client raises in the block."""
    try:
        yield
    except (requests.ConnectionError, requests.Timeout, TransportError) as error:
        raise StorageError("The storage emulator does not answer.") from error
    except (GoogleAPIError, requests.RequestException) as error:
        raise StorageError(f"The storage emulator failed: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class JobView:
    """A job as its objects show it. `since` is when the newest of them was written.

    `found` and `hidden` are how many segments each of the two steps is done with.
    """

    job: str
    source: str | None
    manifest: Manifest | None
    found: int
    hidden: int
    linked: bool
    published: Published | None
    failed: Failed | None
    since: datetime | None

    @property
    def state(self) -> State:
        if self.published is not None:
            return "superseded" if self.published.superseded else "published"
        if self.failed is not None:
            return "erased" if self.failed.code == ERASED else "failed"
        if self.manifest is None:
            return "waiting"
        if not self.linked:
            return "finding" if self.found < self.segments else "linking"
        return "hiding" if self.hidden < self.segments else "merging"

    @property
    def over(self) -> bool:
        return self.published is not None or self.failed is not None

    @property
    def segments(self) -> int:
        return len(self.manifest.segments) if self.manifest else 0

    @property
    def done(self) -> int:
        """How many segments the step that the job is in is done with."""
        return self.hidden if self.linked else self.found

    @property
    def channel(self) -> str | None:
        return layout.channel_of_input(self.source) if self.source else None


class JobReader:
    """Reads the jobs of one emulator."""

    def __init__(self, client: Client, resources: Resources):
        self._client = client
        self._resources = resources

    def view(self, job: str) -> JobView | None:
        """One job, or None if the buckets know none of that name."""
        blobs = self._list(self._resources.work, layout.job_prefix(job))
        source = self._uploads().get(job)
        return self._view(job, blobs, source) if blobs or source else None

    def follow(self, job: str, source: str) -> JobView:
        """A job whose upload is known: cheaper than `view`, for looking again and again."""
        return self._view(job, self._list(self._resources.work, layout.job_prefix(job)), source)

    def all(self) -> tuple[JobView, ...]:
        """Every job that has left a trace, in the order in which that was."""
        traces: dict[str, list[Blob]] = defaultdict(list)
        for blob in self._list(self._resources.work, "jobs/"):
            traces[blob.name.split("/")[1]].append(blob)
        uploads = self._uploads()
        views = [self._view(job, traces[job], uploads.get(job)) for job in {**uploads, **traces}]
        return tuple(sorted(views, key=lambda view: (view.since is None, view.since)))

    def report(self, manifest: Manifest) -> Report:
        return self._read(self._resources.output, manifest.report, Report)

    def kept_people(self, channel: str) -> tuple[str, ...]:
        """Whom a channel's target pictures name."""
        blobs = self._list(self._resources.intake, layout.targets_prefix(channel))
        return layout.people(blob.name for blob in blobs)

    def has(self, intake_object: str) -> bool:
        return any(blob.name == intake_object for blob in self._list(self._resources.intake, intake_object))

    def download(self, ref: ObjectRef, path: Path) -> None:
        with storage_faults():
            blob = self._client.bucket(ref.bucket).blob(ref.name, generation=ref.generation)
            blob.download_to_filename(str(path), retry=None)

    def _uploads(self) -> dict[str, str]:
        intake = self._resources.intake
        return {
            layout.job_id(intake, blob.name, int(blob.generation)): blob.name
            for blob in self._list(intake, "channels/")
            if layout.channel_of_input(blob.name)
        }

    def _view(self, job: str, blobs: Iterable[Blob], source: str | None) -> JobView:
        there = {blob.name: blob for blob in blobs}
        work = self._resources.work
        manifest = self._read(work, layout.manifest(job), Manifest) if layout.manifest(job) in there else None
        failed = self._read(work, layout.failed(job), Failed) if layout.failed(job) in there else None
        published = (
            self._read(work, layout.published(job), Published) if layout.published(job) in there else None
        )
        if manifest is not None:
            source = manifest.source.name
        elif failed is not None and failed.source is not None:
            source = failed.source.name
        segments = len(manifest.segments) if manifest else 0
        prefixes = layout.findings_prefix(job), layout.segments_prefix(job)
        found, hidden = (
            _complete([reference(blob) for name, blob in there.items() if name.startswith(prefix)], segments)
            for prefix in prefixes
        )
        linked = layout.faces(job) in there
        return JobView(
            job=job,
            source=source,
            manifest=manifest,
            # What a step needs no more is deleted: then it is the next one that shows how far the job is.
            found=segments if linked or published else found,
            hidden=segments if published else hidden,
            linked=linked,
            published=published,
            failed=failed,
            since=max((blob.updated for blob in there.values()), default=None),
        )

    def _list(self, bucket: str, prefix: str) -> list[Blob]:
        with storage_faults():
            return list(self._client.list_blobs(bucket, prefix=prefix, retry=None, timeout=SECONDS))

    def _read(self, bucket: str, name: str, model: type[AnyDocument]) -> AnyDocument:
        with storage_faults():
            data = self._client.bucket(bucket).blob(name).download_as_bytes(retry=None, timeout=SECONDS)
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            raise EmulatorError(
                f"gs://{bucket}/{name} is no {model.__name__} of this version: the job is another version's. "
                "Delete the state folder, or run the version that made it."
            ) from error


def _complete(listed: list[ObjectRef], segments: int) -> int:
    """How many segments a step is done with."""
    pieces = Pieces(listed)
    return len([index for index in range(segments) if pieces.of(index) is not None])
