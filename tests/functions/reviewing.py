"""A job that waits for a person, and the messages that end the wait."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import pytest

from defacer.pipeline import awaiting_review
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.lifecycle import lease
from defacer.pipeline.lifecycle.job_state import JobState
from defacer.pipeline.lifecycle.job_status import read_job_status
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.storage import object_names
from defacer.report.edits import Edits
from defacer.report.faces import Faces
from defacer.report.tracks import Decision
from tests.cloud import Buckets, Push, Topics, push_body, upload_push
from tests.functions.linking import redact_tasks
from tests.functions.rendering import EILEEN, tracks_of
from tests.planned import Planned, faces_of, plan_job

CHECK: Push = push_body(b"{}", {pubsub.TYPE: pubsub.REVIEW_CHECK})
LIMIT_HOURS = 2.0


def waiting_policy(on_timeout: Literal["fail", "publish_hidden"] = "fail") -> Policy:
    return Policy(
        mode="solid",
        color="#ffffff",
        confirm="before_publish",
        confirm_hours=LIMIT_HOURS,
        on_timeout=on_timeout,
    )


@dataclass(frozen=True)
class Waiting:
    """A job that waits for a person. Eileen is proposed to stay visible, two other people are not."""

    buckets: Buckets
    topics: Topics
    planned: Planned

    @property
    def job(self) -> str:
        return self.planned.job

    @property
    def confirmation(self) -> str:
        return object_names.ConfirmationName("street", self.job).object_name

    @property
    def state(self) -> JobState:
        return read_job_status(self.job, None).state

    def confirm(self, **decisions: Decision) -> Push:
        """Confirm the job as the console does, and return the message to ingest. `track1="keep"` keeps track 1."""
        edits = Edits({int(name[-1]): choice for name, choice in decisions.items()})
        awaiting_review.confirm(self.job, edits)
        return self.confirmation_message()

    def confirmation_message(self) -> Push:
        """Return the notification about the stored confirmation."""
        blob = self.buckets.blob(self.buckets.intake, self.confirmation)
        return upload_push(
            ObjectRef(bucket=self.buckets.intake, name=blob.name, generation=int(blob.generation))
        )

    def faces(self) -> Faces:
        return Faces.from_bytes(self.buckets.get(self.buckets.work, object_names.faces(self.job)))

    def decisions(self) -> list[tuple[str, str]]:
        return [(track.decision, str(track.reason)) for track in self.faces().tracks]

    def tasks(self) -> list[SegmentTask]:
        return [task for task in redact_tasks(self.topics) if task.job == self.job]

    def is_listed(self) -> bool:
        return object_names.waiting_entry(self.job) in self.buckets.names(self.buckets.work)

    def assert_dispatched(self) -> None:
        """Assert that the job left the wait, and that each segment has a task with the faces of now."""
        assert self.state is JobState.REDACTING
        blob = self.buckets.blob(self.buckets.work, object_names.faces(self.job))
        assert {task.index for task in self.tasks()} == set(range(len(self.planned.manifest.segments)))
        assert {task.faces.generation for task in self.tasks() if task.faces} == {int(blob.generation)}
        assert not self.is_listed()


def let_time_pass(patch: pytest.MonkeyPatch, hours: float = LIMIT_HOURS + 1) -> None:
    """Move the clock of the functions forward."""
    now = lease.utc_now() + timedelta(hours=hours)
    for module in ("defacer.ingest.confirm_job", "defacer.pipeline.awaiting_review"):
        patch.setattr(f"{module}.utc_now", lambda: now)


def plan_waiting_job(buckets: Buckets, clip: object, policy: Policy) -> Planned:
    buckets.put(buckets.intake, EILEEN, b"a picture")
    return plan_job(buckets, clip, policy=policy, targets=("Eileen",), gallery=b"embeddings")  # type: ignore[arg-type]


def proposed_faces(planned: Planned) -> Faces:
    return faces_of(planned, *tracks_of(planned, "Eileen", None, None))
