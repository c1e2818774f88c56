"""Read and store the records of a job: its failure and its leases."""

from datetime import UTC, datetime, timedelta

from defacer.pipeline.documents.job_records import Failed, Lease
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.lifecycle import step_marks
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets
from tests.planned import Planned
from tests.sentences import require_plain


def failure_of(buckets: Buckets, job: str) -> Failed:
    failed = Failed.model_validate_json(buckets.get(buckets.work, object_names.failed(job)))
    require_plain(failed.message)
    return failed


def put_failure(buckets: Buckets, planned: Planned) -> None:
    """Store a failure that is not announced yet."""
    failed = Failed(
        job=planned.job,
        source=planned.manifest.source,
        stage="worker",
        code=ErrorCode.POISON_SEGMENT,
        message="m",
    )
    buckets.put(buckets.work, object_names.failed(planned.job), failed.model_dump_json().encode())
    step_marks.mark_steps_over(planned.job, *step_marks.STEPS)


def put_lease(
    buckets: Buckets,
    name: str,
    holder: str = "dead",
    *,
    seconds: float = -1,
    attempts: int = 1,
    timeouts: int = 0,
) -> None:
    """Store a lease that expires after this time. The default is the lease of a dead holder."""
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    lease = Lease(holder=holder, token="t", expires_at=expires_at, attempts=attempts, timeouts=timeouts)  # noqa: S106 - no secret
    buckets.put(buckets.work, name, lease.model_dump_json().encode())
