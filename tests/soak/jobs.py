"""Drop the jobs of a soak, poll them until they end, and judge their results."""

import time
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import storage

from defacer.pipeline.documents.base import Document, parse_document
from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.lifecycle.job_status import JobStatus, job_status_of
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.transient_errors import transient_errors_as_retryable
from defacer_emulator.chaos.subjects import hash_name
from defacer_emulator.emulator import Emulator
from tests.soak import judging
from tests.soak.clips import JobKind

ONE_TRY: dict[str, Any] = {"retry": None, "timeout": 10.0}


@dataclass
class Job:
    """A job of a soak. `ended` is None until a poll finds its end. Times are seconds of the monotonic clock."""

    kind: JobKind
    id: str
    source: str
    uploaded: float
    ended: float | None = None
    segments: int = 0
    leaked: int = 0
    changed: str | None = None
    failed: Failed | None = None

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.uploaded


class Jobs:
    """All jobs of one soak on one emulator."""

    def __init__(self, emulator: Emulator):
        self._emulator = emulator
        self._client: storage.Client = emulator.storage_client()
        self.all: list[Job] = []

    def prepare(self, kind: JobKind) -> None:
        """Upload the target picture and the policy of this kind of job into its channel."""
        intake = self._client.bucket(self._emulator.intake)
        policy = f'{{"mode": "{kind.mode}"}}'
        intake.blob(object_names.policy(kind.channel)).upload_from_string(policy, "application/json")
        if kind.target is not None:
            name = object_names.targets_prefix(kind.channel) + kind.target.name
            intake.blob(name).upload_from_filename(str(kind.target))

    def upload(self, kind: JobKind, name: str) -> Job:
        """Upload the video under this name, and return its job."""
        source = object_names.VideoName(kind.channel, name).object_name
        blob = self._client.bucket(self._emulator.intake).blob(source)
        blob.upload_from_filename(str(kind.video))
        job = object_names.job_id(self._emulator.intake, source, int(blob.generation))
        self.all.append(Job(kind, job, source, time.monotonic()))
        return self.all[-1]

    def running(self) -> list[Job]:
        return [job for job in self.all if job.ended is None]

    def poll(self) -> list[Job]:
        """Poll the running jobs, and judge and return those that have just ended."""
        return [job for job in self.running() if self._has_ended(job)]

    def _has_ended(self, job: Job) -> bool:
        status = self._read_status(job)
        job.segments = max(job.segments, status.segments)
        if not status.is_over:
            return False
        job.ended = time.monotonic()
        job.failed = status.failed
        self._judge(job, status)
        return True

    def _read_status(self, job: Job) -> JobStatus:
        """Return the status of a job. Raise RetryableError if storage does not answer or its objects change."""
        bucket = self._client.bucket(self._emulator.work)

        def read(name: str, model: type[Document]) -> Document:
            return parse_document(model, bucket.blob(name).download_as_bytes(**ONE_TRY))

        try:
            with transient_errors_as_retryable("reading a job"):
                blobs = self._client.list_blobs(bucket, prefix=object_names.job_prefix(job.id), **ONE_TRY)
                return job_status_of(job.id, list(blobs), job.source, read)
        except NotFound as error:
            raise RetryableError("an object of the job was deleted between listing and reading") from error

    def _judge(self, job: Job, status: JobStatus) -> None:
        ref = status.published.result if status.published else None
        if ref is None:
            return
        # The current version. `duplicated` compares it with the published one.
        try:
            result = self._client.bucket(ref.bucket).blob(ref.name).download_as_bytes()
        except NotFound:
            job.changed = "the result is missing"
            return
        job.leaked = judging.count_leaked_faces(job.kind, result)
        job.changed = judging.find_change(job.kind.video, result)

    def duplicated(self, writes: dict[str, set[str]]) -> list[Job]:
        """Return the jobs that ended twice: published and failed, or with more than one version of the result.

        `writes` are the versions that were written to the output bucket, by the hash of the object's name.
        """
        return [job for job in self.all if self._has_ended_twice(job, writes)]

    def _has_ended_twice(self, job: Job, writes: dict[str, set[str]]) -> bool:
        status = self._read_status(job)
        video = object_names.parse_video(job.source)
        assert video is not None
        current = self._client.bucket(self._emulator.output).get_blob(video.result)
        versions = writes.get(hash_name(video.result), set()) | (
            {str(current.generation)} if current else set()
        )
        if status.published is None:
            return bool(versions) and status.failed is not None
        assert status.published.result is not None
        return status.failed is not None or versions != {str(status.published.result.generation)}

    def list_leftovers(self) -> list[str]:
        """Return the objects of ended jobs, without the manifest and the records of their end."""
        ended = [job.id for job in self.all if job.ended is not None]
        ends = (object_names.manifest, object_names.verdict, object_names.published, object_names.failed)
        kept = {end(job) for job in ended for end in ends}
        prefixes = tuple(object_names.job_prefix(job) for job in ended)
        names = [blob.name for blob in self._client.list_blobs(self._emulator.work, prefix="jobs/")]
        return [name for name in names if name.startswith(prefixes) and name not in kept]
