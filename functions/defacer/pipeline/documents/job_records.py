"""The small objects that record a job's state, and the events that announce it."""

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import (
    AwareDatetime,
    Field,
    model_validator,
)

from defacer.pipeline.documents.base import Document, JobId, ObjectRef
from defacer.pipeline.error_codes import ErrorCode


class Published(Document):
    """`jobs/ID/published.json`: the job was published, or is superseded."""

    version: Literal[1] = 1
    job: JobId
    result: ObjectRef | None
    report: str
    superseded: bool = False


class Failed(Document):
    """`jobs/ID/failed.json`: the job failed. `message` is a sentence that a person can act on."""

    version: Literal[1] = 1
    job: JobId
    source: ObjectRef | None
    stage: str
    code: ErrorCode
    message: str


VerdictState = Literal["publishing", "published_pending", "rolling_back_pending", "rolling_back", "failing"]


class Verdict(Document):
    """`jobs/ID/verdict.json`: whether the job is published or fails (`pipeline/lifecycle/verdict.py`).

    `result` and `report` are the objects of the work bucket to publish; both are None if a newer version was published
    first. In the state "published_pending", `result` is the published object. `failed` is the failure, in the states
    that lead to one. `source` is the video and `request` the re-render request, if there was one. They identify a job
    whose manifest is gone.
    """

    version: Literal[3] = 3
    job: JobId
    state: VerdictState
    source: ObjectRef | None = None
    request: ObjectRef | None = None
    result: ObjectRef | None = None
    report: ObjectRef | None = None
    failed: Failed | None = None

    @model_validator(mode="after")
    def _require_failure_where_it_fails(self) -> Self:
        is_published = self.state in ("publishing", "published_pending")
        if is_published != (self.failed is None):
            raise ValueError(
                f"the state is {self.state!r}: `failed` must be "
                f"{'absent' if is_published else 'the failure'} in this state"
            )
        return self


class Lease(Document):
    """The exclusive right to do a step, until it expires. `holder` is the id of the message that it is held for.

    `attempts` counts the holders so far, `timeouts` those that reached their deadline.
    """

    version: Literal[3] = 3
    holder: str
    token: str
    expires_at: AwareDatetime
    attempts: int = Field(ge=0)
    timeouts: int = Field(default=0, ge=0)


class Turn(Document):
    """`turns/CHANNEL/ID.json`: this job is processed or waits for it (`pipeline/admission.py`).

    `source` is the upload or the re-render request.
    """

    version: Literal[1] = 1
    job: JobId
    source: ObjectRef


class JobEventData(Document):
    """The data of an event on `job-events`."""

    job: JobId
    """The job."""
    channel: str
    """The channel of the video."""
    source: ObjectRef
    """The uploaded video."""
    result: ObjectRef | None = None
    """`job.completed`: the result. Null if a newer upload of the same video was published before."""
    report: str | None = None
    """`job.completed`: the name of the report in the output bucket. Null if `result` is null."""
    code: ErrorCode | None = None
    """`job.failed`: an [error code](ERROR_CODES.md)."""
    message: str | None = None
    """`job.failed`: a sentence for the owner of the video. `job.completed`: why `result` is null."""
    segments: int | None = None
    """`job.planned`, `job.waiting` and `job.completed`: the number of segments."""
    review_end: datetime | None = None
    """`job.waiting`: until when a person can confirm who stays visible."""


class JobEvent(Document):
    """A CloudEvent 1.0 in JSON on `job-events`. Sent again it has the same id: drop duplicates by it."""

    specversion: Literal["1.0"] = "1.0"
    """The version of CloudEvents."""
    id: str
    """The job and the kind of event. A duplicate has the same id."""
    source: str = "/defacer"
    """The sender."""
    type: Literal["job.planned", "job.waiting", "job.completed", "job.failed"]
    """What happened."""
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When the event was made. A duplicate can have another time."""
    subject: JobId
    """The job."""
    datacontenttype: Literal["application/json"] = "application/json"
    """The type of `data`."""
    data: JobEventData
    """The fields of the next table."""
