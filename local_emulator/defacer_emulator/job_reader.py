"""Read the state of jobs from the emulator's buckets."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import requests
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import TransportError
from google.cloud.storage import Blob, Client
from pydantic import ValidationError

from defacer.pipeline.documents.base import Document, ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.lifecycle.job_status import JobStatus, job_status_of
from defacer.pipeline.storage import object_names
from defacer_emulator.errors import EmulatorError
from defacer_emulator.resources import Resources

REQUEST_SECONDS = 10.0  # the server is on this machine
AnyDocument = TypeVar("AnyDocument", bound=Document)


class StorageError(EmulatorError):
    """The storage emulator does not answer, or answers with an error."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn every error of the storage client in the block into a StorageError."""
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

    def find_job(self, job: str) -> JobStatus | None:
        """Return one job, or None if it does not exist."""
        blobs = self._list(self._resources.work, object_names.job_prefix(job))
        source = self._uploads().get(job)
        return self._status(job, blobs, source) if blobs or source else None

    def follow(self, job: str, source: str) -> JobStatus:
        """Return a job whose upload is known. Cheaper than `find_job`, for polling."""
        return self._status(job, self._list(self._resources.work, object_names.job_prefix(job)), source)

    def list_jobs(self) -> tuple[JobStatus, ...]:
        """Return all jobs, in the order of their creation."""
        blobs: dict[str, list[Blob]] = defaultdict(list)
        for blob in self._list(self._resources.work, "jobs/"):
            blobs[blob.name.split("/")[1]].append(blob)
        uploads = self._uploads()
        jobs = [self._status(job, blobs[job], uploads.get(job)) for job in {**uploads, **blobs}]
        return tuple(sorted(jobs, key=lambda status: (status.since is None, status.since)))

    def read_report(self, manifest: Manifest) -> JobReport:
        """Return the published report of a job."""
        data = self._download(self._resources.output, manifest.report)
        try:
            return JobReport.from_bytes(data)
        except ValueError as error:
            raise _unreadable_error(self._resources.output, manifest.report, JobReport) from error

    def kept_people(self, channel: str) -> tuple[str, ...]:
        """Return the people in a channel's target pictures."""
        blobs = self._list(self._resources.intake, object_names.targets_prefix(channel))
        return object_names.list_people(blob.name for blob in blobs)

    def has_object(self, intake_object: str) -> bool:
        return any(blob.name == intake_object for blob in self._list(self._resources.intake, intake_object))

    def download(self, ref: ObjectRef, path: Path) -> None:
        with storage_errors():
            blob = self._client.bucket(ref.bucket).blob(ref.name, generation=ref.generation)
            blob.download_to_filename(str(path), retry=None)

    def _uploads(self) -> dict[str, str]:
        intake = self._resources.intake
        return {
            object_names.job_id(intake, blob.name, int(blob.generation)): blob.name
            for blob in self._list(intake, "channels/")
            if object_names.channel_of_input(blob.name)
        }

    def _status(self, job: str, blobs: Iterable[Blob], source: str | None) -> JobStatus:
        return job_status_of(
            job, blobs, source, lambda name, model: self._read(self._resources.work, name, model)
        )

    def _list(self, bucket: str, prefix: str) -> list[Blob]:
        with storage_errors():
            return list(self._client.list_blobs(bucket, prefix=prefix, retry=None, timeout=REQUEST_SECONDS))

    def _read(self, bucket: str, name: str, model: type[AnyDocument]) -> AnyDocument:
        data = self._download(bucket, name)
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            raise _unreadable_error(bucket, name, model) from error

    def _download(self, bucket: str, name: str) -> bytes:
        with storage_errors():
            blob = self._client.bucket(bucket).blob(name)
            return cast(bytes, blob.download_as_bytes(retry=None, timeout=REQUEST_SECONDS))


def _unreadable_error(bucket: str, name: str, model: type[Document]) -> EmulatorError:
    return EmulatorError(
        f"gs://{bucket}/{name} is not a valid {model.__name__} of this version of De-facer. Delete the state "
        "folder, or run the version that created the job."
    )
