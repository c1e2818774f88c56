"""The state of a job, read from its objects. Nothing here writes.

A job is the folder `jobs/ID/` of the work bucket. `step_marks` answers for each segment with one read. This module
reads the state in two ways:

- `is_over` and its neighbors read the one to three objects that matter.
- `read_job` lists the top level of the folder and returns an immutable `JobRecord`. A listing is billed as a write, 12
  times as much as a read, so it is for what happens a few times in a job.

Another function can fail, erase or publish the job at any moment. Use an answer only until the first long action, and
read again after every write, after an error, and directly before you publish or roll back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Self

from google.cloud.storage import Blob

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import VerdictState
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

ERASED = ErrorCode.ERASED
TARGET_GONE = ErrorCode.TARGET_GONE
# Metadata of `failed.json`: the failure was announced and cleaned up after.
ANNOUNCED = {"announced": "yes"}


class JobState(StrEnum):
    """The states of a job. The table in `functions/defacer/pipeline/README.md` says which objects make each of them."""

    UPLOADED = "uploaded"
    PLANNED = "planned"
    DETECTED = "detected"
    LINKED = "linked"
    WAITING_FOR_REVIEW = "waiting_for_review"
    REDACTING = "redacting"
    REDACTED = "redacted"
    COMMITTED = "committed"
    PUBLISHED_PENDING = "published_pending"
    ROLLBACK_PENDING = "rollback_pending"
    ROLLING_BACK = "rolling_back"
    FAILING = "failing"
    FAILED = "failed"
    ANNOUNCED = "announced"
    PUBLISHED = "published"
    FINALIZED = "finalized"


STATE_OF_VERDICT: Mapping[VerdictState, JobState] = {
    "publishing": JobState.COMMITTED,
    "published_pending": JobState.PUBLISHED_PENDING,
    "rolling_back_pending": JobState.ROLLBACK_PENDING,
    "rolling_back": JobState.ROLLING_BACK,
    "failing": JobState.FAILING,
}


@dataclass(frozen=True)
class JobRecord:
    """The objects that make a job's state, each by the version that was there; None if it was not.

    `review_end` is until when a person can confirm the faces; None if nothing waits for that.
    """

    job: str
    manifest: ObjectRef | None = None
    faces: ObjectRef | None = None
    link_lease: ObjectRef | None = None
    review_end: datetime | None = None
    verdict: ObjectRef | None = None
    verdict_state: VerdictState | None = None
    published: ObjectRef | None = None
    merge_lease: ObjectRef | None = None
    failed: ObjectRef | None = None
    is_announced: bool = False
    is_erased: bool = False

    @classmethod
    def from_blobs(cls, job: str, blobs: Iterable[Blob]) -> Self:
        """Return the record of a job with these objects. Objects in its subfolders do not count."""
        by_name = {blob.name: blob for blob in blobs}

        def ref(name: str) -> ObjectRef | None:
            return objects.reference(by_name[name]) if name in by_name else None

        def marks(name: str) -> Mapping[str, str]:
            return (by_name[name].metadata or {}) if name in by_name else {}

        verdict, failed = object_names.verdict(job), object_names.failed(job)
        return cls(
            job=job,
            manifest=ref(object_names.manifest(job)),
            faces=ref(object_names.faces(job)),
            link_lease=ref(object_names.link_lease(job)),
            review_end=parse_review_end(marks(object_names.faces(job))),
            verdict=ref(verdict),
            verdict_state=_parse_verdict_state(marks(verdict).get(object_names.OF_STATE)),
            published=ref(object_names.published(job)),
            merge_lease=ref(object_names.merge_lease(job)),
            failed=ref(failed),
            is_announced=bool(marks(failed)),
            is_erased=ERASED in marks(failed),
        )

    @property
    def is_published(self) -> bool:
        return self.published is not None

    @property
    def is_finalized(self) -> bool:
        """Whether the job was published, announced and cleaned up."""
        return self.is_published and self.merge_lease is None

    @property
    def has_failed(self) -> bool:
        return self.failed is not None

    @property
    def is_over(self) -> bool:
        return self.is_published or self.has_failed

    @property
    def is_linked(self) -> bool:
        """Whether the faces are linked across the segments, so that no step needs embeddings any more."""
        return self.faces is not None

    @property
    def is_linking_over(self) -> bool:
        """Whether the next step has begun, or a person has to confirm first. No message of "detect" matters then."""
        return self.is_linked and self.link_lease is None

    @property
    def is_detection_over(self) -> bool:
        """Whether no step needs the detections of the segments any more."""
        return self.is_linked or self.is_over

    @property
    def state(self) -> JobState:
        """The state by these objects alone: PLANNED can be DETECTED, and REDACTING can be REDACTED, by the segments."""
        if self.has_failed:
            return JobState.ANNOUNCED if self.is_announced else JobState.FAILED
        if self.is_published:
            return JobState.FINALIZED if self.is_finalized else JobState.PUBLISHED
        if self.verdict_state is not None:
            return STATE_OF_VERDICT[self.verdict_state]
        if self.is_linked and not self.is_linking_over:
            return JobState.LINKED
        if self.is_linked:
            return JobState.REDACTING if self.review_end is None else JobState.WAITING_FOR_REVIEW
        return JobState.UPLOADED if self.manifest is None else JobState.PLANNED


def read_job(job: str) -> JobRecord:
    """Return the job's state now, from one listing."""
    blobs = objects.list_blobs(settings().work_bucket, object_names.job_prefix(job), recursive=False)
    return JobRecord.from_blobs(job, blobs)


class StoredFaces(NamedTuple):
    """The faces of a job, and until when a person can confirm them; None if nothing waits for that."""

    ref: ObjectRef
    review_end: datetime | None


def find_stored_faces(job: str) -> StoredFaces | None:
    """Return the faces of the job; None if it has none."""
    blob = objects.find_blob(settings().work_bucket, object_names.faces(job))
    return StoredFaces(objects.reference(blob), parse_review_end(blob.metadata or {})) if blob else None


def parse_review_end(metadata: Mapping[str, str]) -> datetime | None:
    """Return until when a person can confirm the faces with this metadata; None if nothing waits for that."""
    text = metadata.get(object_names.OF_REVIEW_END)
    return datetime.fromisoformat(text) if text else None


def is_linked(job: str) -> bool:
    """Return whether the faces are linked across the segments. After the end of a job this is not known."""
    return _has_any(object_names.faces(job))


def has_link_lease(job: str) -> bool:
    """Return whether a merge links the faces, or died before it had dispatched the redaction."""
    return _has_any(object_names.link_lease(job))


def has_merge_lease(job: str) -> bool:
    """Return whether a merge joins or publishes, or died before it had finalized the job."""
    return _has_any(object_names.merge_lease(job))


def is_published(job: str) -> bool:
    """Return whether the job is published."""
    return _has_any(object_names.published(job))


def has_failed(job: str) -> bool:
    """Return whether the job has failed or was erased, from one object."""
    return _has_any(object_names.failed(job))


def is_erased(job: str) -> bool:
    """Return whether a command erased the job."""
    failed = objects.find_blob(settings().work_bucket, object_names.failed(job))
    return failed is not None and ERASED in (failed.metadata or {})


def has_pending_failure(job: str) -> bool:
    """Return whether the process that recorded the failure has not announced it yet."""
    failed = objects.find_blob(settings().work_bucket, object_names.failed(job))
    return failed is not None and not failed.metadata


def is_over(job: str) -> bool:
    """Return whether the job is published or has failed, from two objects."""
    return _has_any(object_names.published(job), object_names.failed(job))


def is_detection_over(job: str) -> bool:
    """Return whether no step needs the detections of the segments any more, from three objects."""
    return _has_any(object_names.faces(job), object_names.published(job), object_names.failed(job))


def _has_any(*names: str) -> bool:
    """Return whether one of these objects exists.

    Pass them in the order of a job's life. An object is deleted only after a later one was written, so none is missed
    if the job moves on between two reads.
    """
    return any(objects.find_blob(settings().work_bucket, name) for name in names)


def find_manifest(job: str) -> objects.Stored[Manifest] | None:
    """Return the job's manifest; None if it has none. Raise PermanentError if it can't be read."""
    return objects.find_json(settings().work_bucket, object_names.manifest(job), Manifest)


def try_read_manifest(job: str) -> objects.Stored[Manifest] | None:
    """Return the job's manifest; None also if it can't be read, so that such a job can be failed or erased."""
    try:
        return find_manifest(job)
    except PermanentError:
        return None


def source_of_job(job: str) -> ObjectRef | None:
    """Return the video that the job's manifest names; None without a readable manifest."""
    found = try_read_manifest(job)
    return found.document.source if found else None


def _parse_verdict_state(text: str | None) -> VerdictState | None:
    return next((state for state in STATE_OF_VERDICT if state == text), None)
