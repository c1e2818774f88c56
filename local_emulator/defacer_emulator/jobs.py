"""Where jobs are, read from the emulator's buckets."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import requests
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import TransportError
from google.cloud.storage import Blob, Client
from pydantic import ValidationError

from defacer.pipeline.documents.base import Document, ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import Report
from defacer.pipeline.lifecycle.job_status import JobStatus, job_status_of
from defacer.pipeline.storage import object_names
from defacer_emulator.errors import EmulatorError
from defacer_emulator.resources import Resources

SECONDS = 10.0  # for one request: the server is on this machine
AnyDocument = TypeVar("AnyDocument", bound=Document)


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


class JobReader:
    """Reads the jobs of one emulator."""

    def __init__(self, client: Client, resources: Resources):
        self._client = client
        self._resources = resources

    def view(self, job: str) -> JobStatus | None:
        """One job, or None if the buckets know none of that name."""
        blobs = self._list(self._resources.work, object_names.job_prefix(job))
        source = self._uploads().get(job)
        return self._view(job, blobs, source) if blobs or source else None

    def follow(self, job: str, source: str) -> JobStatus:
        """A job whose upload is known: cheaper than `view`, for looking again and again."""
        return self._view(job, self._list(self._resources.work, object_names.job_prefix(job)), source)

    def all(self) -> tuple[JobStatus, ...]:
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
        blobs = self._list(self._resources.intake, object_names.targets_prefix(channel))
        return object_names.people(blob.name for blob in blobs)

    def has(self, intake_object: str) -> bool:
        return any(blob.name == intake_object for blob in self._list(self._resources.intake, intake_object))

    def download(self, ref: ObjectRef, path: Path) -> None:
        with storage_faults():
            blob = self._client.bucket(ref.bucket).blob(ref.name, generation=ref.generation)
            blob.download_to_filename(str(path), retry=None)

    def _uploads(self) -> dict[str, str]:
        intake = self._resources.intake
        return {
            object_names.job_id(intake, blob.name, int(blob.generation)): blob.name
            for blob in self._list(intake, "channels/")
            if object_names.channel_of_input(blob.name)
        }

    def _view(self, job: str, blobs: Iterable[Blob], source: str | None) -> JobStatus:
        return job_status_of(
            job, blobs, source, lambda name, model: self._read(self._resources.work, name, model)
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
