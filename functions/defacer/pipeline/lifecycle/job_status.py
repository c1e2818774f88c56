"""The status of a job for the console and the commands, by the job's objects alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from google.cloud.storage import Blob

from defacer.pipeline import admission
from defacer.pipeline.documents.job_records import Failed, Published
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle.job_state import ERASED, JobRecord, JobState
from defacer.pipeline.lifecycle.progress import (
    DETECT_SHARE,
    JOIN_SHARE,
    LEASE,
    LONGER,
    NEW_ESTIMATE,
    PAUSE,
    REDACT_SHARE,
    WAITING,
    JobProgress,
    Span,
    estimate,
    share_of,
)
from defacer.pipeline.lifecycle.segments import Subsegments
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.objects import reference

STATE_TITLES: Mapping[JobState, str] = {
    JobState.UPLOADED: "waiting to be planned",
    JobState.PLANNED: "detecting faces",
    JobState.DETECTED: "linking faces across segments",
    JobState.LINKED: "redacting faces",
    JobState.WAITING_FOR_REVIEW: "waiting for your review",
    JobState.REDACTING: "redacting faces",
    JobState.REDACTED: "joining segments",
    JobState.COMMITTED: "publishing",
    JobState.PUBLISHED_PENDING: "publishing",
    JobState.ROLLBACK_PENDING: "rolling back",
    JobState.ROLLING_BACK: "rolling back",
    JobState.FAILING: "failing",
    JobState.FAILED: "failed",
    JobState.ANNOUNCED: "failed",
    JobState.PUBLISHED: "published",
    JobState.FINALIZED: "published",
}
# Of an upload that is not planned, a re-render or a confirmed job, while the channel's earlier videos fill the queue.
WAITS_FOR_TURN = "waiting for earlier videos of this channel"
UNREADABLE = (
    "The objects of this job can't be read. Erase the job (defacer job erase) and upload the video again."
)
# Reads an object of the work bucket, by its name, as a document of this class.
ReadDocument = Callable[[str, Any], Any]


@dataclass(frozen=True)
class StartedJob:
    """A job that a command has started, and the name of its upload."""

    job: str
    source: str


@dataclass(frozen=True)
class JobStatus:
    """A job at one moment.

    `since` is when the newest of its objects was written, `worked_at` when the newest of its leases was. `detected` and
    `redacted` count the segments that each of the two steps is done with. `spans` are those of the current step.
    Until `review_end` the job waits for a person. `waits_for_turn` is whether earlier videos of its channel come first.
    """

    job: str
    source: str | None
    manifest: Manifest | None
    state: JobState
    detected: int
    redacted: int
    published: Published | None
    failed: Failed | None
    since: datetime | None
    worked_at: datetime | None = None
    spans: tuple[Span, ...] = ()
    review_end: datetime | None = None
    waits_for_turn: bool = False
    is_readable: bool = True

    @property
    def title(self) -> str:
        """The state in words."""
        if self.is_superseded:
            return "superseded by a newer upload"
        if self.waits_for_turn:
            return WAITS_FOR_TURN
        return "erased on request" if self.is_erased else STATE_TITLES[self.state]

    @property
    def has_result(self) -> bool:
        """Whether this job's result was published, and not a newer one instead."""
        return self.published is not None and not self.published.superseded

    @property
    def is_superseded(self) -> bool:
        return self.published is not None and self.published.superseded

    @property
    def has_error(self) -> bool:
        """Whether the job failed. An erased job did not."""
        return self.published is None and self.failed is not None and not self.is_erased

    @property
    def is_erased(self) -> bool:
        return self.published is None and self.failed is not None and self.failed.code == ERASED

    @property
    def is_over(self) -> bool:
        return self.published is not None or self.failed is not None

    @property
    def is_waiting_for_review(self) -> bool:
        """Whether the job waits for a person who confirms who stays visible."""
        return self.state is JobState.WAITING_FOR_REVIEW

    @property
    def can_wait_for_review(self) -> bool:
        return self.manifest is not None and self.manifest.policy.confirm != "never" and not self.is_rerender

    @property
    def is_linked(self) -> bool:
        return self.state not in (JobState.UPLOADED, JobState.PLANNED, JobState.DETECTED)

    @property
    def segments(self) -> int:
        return len(self.manifest.segments) if self.manifest else 0

    @property
    def done(self) -> int:
        """The number of segments that the current step is done with."""
        return self.redacted if self.is_linked else self.detected

    @property
    def channel(self) -> str | None:
        return object_names.channel_of_input(self.source) if self.source else None

    @property
    def is_rerender(self) -> bool:
        """Whether the video is re-rendered: then no faces are detected."""
        if self.manifest is not None:
            return self.manifest.rerender is not None
        video = self.failed.source if self.failed is not None else None
        if video is not None and object_names.parse_video(video.name) is not None:
            return object_names.job_of(video) != self.job  # the id of an upload's job is made from its video
        return self.source is not None and object_names.parse_rerender(self.source) is not None

    @property
    def can_try_again(self) -> bool:
        """Whether the job failed and can succeed when it is tried again."""
        return self.has_error and self.failed is not None and self.failed.code.can_try_again

    def progress(self, now: datetime) -> JobProgress:
        """Return how far the job is, and how long the rest takes at the same pace."""
        if self.published is not None:
            return JobProgress(1.0)
        share = share_of(self.detected, self.redacted, self.segments, is_rerender=self.is_rerender)
        is_quiet = self.is_waiting_for_review or self.waits_for_turn or self.is_over
        if is_quiet or self.done == self.segments:  # the rest is short
            return JobProgress(share)
        if self._is_waiting(now):
            return JobProgress(share, note=WAITING)
        rest = JOIN_SHARE / REDACT_SHARE if self.is_linked else (REDACT_SHARE + JOIN_SHARE) / DETECT_SHARE
        estimated = estimate(self.spans, self.segments, rest)
        if estimated is None:
            is_second_step = self.is_linked and not self.is_rerender and self.segments > 1
            return JobProgress(share, note=NEW_ESTIMATE if is_second_step else None)
        left = (estimated.end - now).total_seconds()
        if left <= 0:
            return JobProgress(share, note=LONGER)
        return JobProgress(share, left, LONGER if estimated.is_later else None)

    def _is_waiting(self, now: datetime) -> bool:
        """Whether no worker has a lease on a segment."""
        if self.worked_at is None:
            return self.since is not None and now - self.since > PAUSE
        return now - self.worked_at > LEASE


def read_job_status(job: str, source: str | None) -> JobStatus:
    """Read a job's status. `source` is the name of its upload, if known.

    Raises RetryableError if its objects change during the read.
    """
    blobs = objects.list_blobs(settings().work_bucket, object_names.job_prefix(job))
    return with_turn(job_status_of(job, blobs, source, read_document))


def with_turn(status: JobStatus) -> JobStatus:
    """Add to the status of a job whether it waits for its turn, to be planned or, once it is confirmed, redacted."""
    can_wait = status.state is JobState.UPLOADED or (
        status.state is JobState.REDACTING and status.can_wait_for_review and not status.redacted
    )
    if not can_wait or status.channel is None:
        return status
    return replace(status, waits_for_turn=admission.is_turn_waiting(status.job, status.channel))


def read_document(name: str, model: Any) -> Any:
    """Read an object of the work bucket as a document of this class."""
    found = objects.find_json(settings().work_bucket, name, model)
    if found is None:
        raise RetryableError("an object of the job was deleted between listing and reading")
    return found.document


def job_status_of(job: str, blobs: Iterable[Blob], source: str | None, read: ReadDocument) -> JobStatus:
    """Return the status of the job with these objects. `source` is the name of its upload, if known.

    A job with an unreadable document counts as failed, so that it does not prevent the list of the other jobs.
    """
    by_name = {blob.name: blob for blob in blobs}
    record, is_readable = JobRecord.from_blobs(job, by_name.values()), True

    def read_if_listed(name: str, model: Any) -> Any:
        nonlocal is_readable
        try:
            return read(name, model) if name in by_name else None
        except PermanentError:
            is_readable = False
            return None

    manifest: Manifest | None = read_if_listed(object_names.manifest(job), Manifest)
    failed: Failed | None = read_if_listed(object_names.failed(job), Failed)
    published: Published | None = read_if_listed(object_names.published(job), Published)
    if manifest is not None:
        source = manifest.source.name
    elif failed is not None and failed.source is not None:
        source = failed.source.name
    state = record.state
    if not is_readable and failed is None and published is None:
        failed = Failed(job=job, source=None, stage="view", code=ErrorCode.UNREADABLE, message=UNREADABLE)
        state = JobState.FAILED
    segments = len(manifest.segments) if manifest else 0
    detected, redacted = (
        _complete({name: blob for name, blob in by_name.items() if name.startswith(prefix)}, segments)
        for prefix in (object_names.segment_detections_prefix(job), object_names.segments_prefix(job))
    )
    if state is JobState.PLANNED and segments and len(detected) == segments:
        state = JobState.DETECTED
    elif state is JobState.REDACTING and len(redacted) == segments:
        state = JobState.REDACTED
    segment_leases = object_names.leases_prefix(job)
    leases = (blob.updated for name, blob in by_name.items() if name.startswith(segment_leases))
    return JobStatus(
        job=job,
        source=source,
        manifest=manifest,
        state=state,
        # The outputs of a step are deleted after their last use: then the next step shows how far the job is.
        detected=segments if record.is_linked or published else len(detected),
        redacted=segments if published else len(redacted),
        published=published,
        failed=failed,
        since=max((blob.updated for blob in by_name.values()), default=None),
        worked_at=max(leases, default=None),
        spans=redacted if record.is_linked else detected,
        review_end=record.review_end if state is JobState.WAITING_FOR_REVIEW else None,
        is_readable=is_readable,
    )


def _complete(blobs: Mapping[str, Blob], segments: int) -> tuple[Span, ...]:
    """Return the segments that a step is done with, by the objects that it has written."""
    subsegments = Subsegments(map(reference, blobs.values()))
    outputs = filter(None, map(subsegments.of, range(segments)))
    return tuple(_span_of([blobs[ref.name] for ref in refs]) for refs in outputs)


def _span_of(blobs: Sequence[Blob]) -> Span:
    seconds = (float((blob.metadata or {}).get(object_names.OF_SECONDS, 0)) for blob in blobs)
    began = min(blob.updated - timedelta(seconds=took) for blob, took in zip(blobs, seconds, strict=True))
    return Span(began, max(blob.updated for blob in blobs))
