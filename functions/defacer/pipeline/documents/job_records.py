"""The small objects that record a job's state, and the events that announce it."""

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import (
    AwareDatetime,
    Field,
    model_validator,
)

from defacer.pipeline.documents.base import Document, JobId, ObjectRef


class Published(Document):
    """`jobs/ID/published.json`: the job's happy end."""

    version: Literal[1] = 1
    job: JobId
    result: ObjectRef | None
    report: str
    superseded: bool = False


class Failed(Document):
    """`jobs/ID/failed.json`: the job's other end. `message` is a sentence that a person can act on."""

    version: Literal[1] = 1
    job: JobId
    source: ObjectRef | None
    stage: str
    code: str
    message: str


class Verdict(Document):
    """`jobs/ID/verdict.json`: how the job ends (functions/defacer/pipeline/lifecycle/verdict.py).

    `result` and `report` are what to publish, in the work bucket; both None: something newer was quicker. At the end
    "out" `result` is what was published instead. `failed` is why not, at all ends but "publish" and "out". `source` is
    the video, `request` what asked to render it again, if anything did: a job can be ended by these whose manifest is
    gone.
    """

    version: Literal[1, 2] = 2
    job: JobId
    end: Literal["publish", "out", "withdraw", "unpublish", "fail"]
    source: ObjectRef | None = None
    request: ObjectRef | None = None
    result: ObjectRef | None = None
    report: ObjectRef | None = None
    failed: Failed | None = None

    @model_validator(mode="after")
    def _says_why_not(self) -> Self:
        if (self.end in ("publish", "out")) != (self.failed is None):
            raise ValueError(
                '`failed` says why a job is not published: not with "publish" or "out", always otherwise'
            )
        return self


class Lease(Document):
    """Who works on a thing, until when. `holder` is the id of the message that the holder works for.

    `attempts` counts the holders so far, `late` those whose time ran out.
    """

    version: Literal[1, 2] = 2
    holder: str
    token: str
    expires_at: AwareDatetime
    attempts: int = Field(ge=0)
    late: int = Field(default=0, ge=0)


class JobEventData(Document):
    """What an event on `job-events` says."""

    job: JobId
    channel: str
    source: ObjectRef
    result: ObjectRef | None = None
    report: str | None = None
    code: str | None = None
    message: str | None = None
    segments: int | None = None


class JobEvent(Document):
    """A CloudEvent 1.0 in JSON on `job-events`. Sent again it has the same id: drop doubles by it."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = "/defacer"
    type: Literal["job.planned", "job.completed", "job.failed"]
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    subject: JobId
    datacontenttype: Literal["application/json"] = "application/json"
    data: JobEventData
