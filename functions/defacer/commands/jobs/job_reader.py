"""Read the jobs of the pipeline from its buckets."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from google.cloud.storage import Blob

from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle.job_status import (
    JobStatus,
    job_status_of,
    read_document,
    read_job_status,
    with_turn,
)
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.program import program

LONG_AGO = datetime.min.replace(tzinfo=UTC)


def find_job(job: str, option: str) -> JobStatus:
    """Return one job of the deployment that `option` chooses. Raise PermanentError if it does not exist."""
    if object_names.is_job_id(job):
        status = read_job_status(job, None)
        if status.source is None and job in (uploads := _uploads()):  # it is not planned yet
            return read_job_status(job, uploads[job].name)
        if status.since is not None:
            return status
    raise PermanentError(
        ErrorCode.NO_JOB,
        f"The job {job} does not exist. List all jobs with: {program()} job status{option}",
    )


@contextmanager
def hints_about_jobs(job: str, option: str) -> Iterator[None]:
    """Name the command that shows the jobs in an error about a job that does not exist or has another state."""
    commands = {
        ErrorCode.NO_JOB: f"To list the jobs: {program()} job status{option}",
        ErrorCode.NOT_WAITING: f"To see its state: {program()} job status {job}{option}",
    }
    try:
        yield
    except PermanentError as error:
        if error.code not in commands:
            raise
        raise PermanentError(error.code, f"{error} {commands[error.code]}") from error


def list_jobs(limit: int) -> tuple[JobStatus, ...]:
    """Return the newest jobs, the newest one last."""
    found: dict[str, list[Blob]] = defaultdict(list)
    for blob in objects.list_blobs(settings().work_bucket, object_names.JOBS):
        found[blob.name.split("/")[1]].append(blob)
    uploads = _uploads()
    written = {job: [blob.updated for blob in found[job]] for job in {**uploads, **found}}
    written |= {job: [*written[job], blob.updated] for job, blob in uploads.items()}
    newest = sorted(written, key=lambda job: max(written[job], default=LONG_AGO))[-limit:]
    return tuple(
        with_turn(
            job_status_of(job, found[job], uploads[job].name if job in uploads else None, read_document)
        )
        for job in newest
    )


def _uploads() -> dict[str, Blob]:
    """Return the uploads and the requests for re-renders, by the job that each of them starts."""
    intake = settings().intake_bucket
    return {
        object_names.job_id(intake, blob.name, int(blob.generation)): blob
        for blob in objects.list_blobs(intake, object_names.CHANNELS)
        if object_names.channel_of_input(blob.name) and blob.size  # ingest ignores an empty object
    }
