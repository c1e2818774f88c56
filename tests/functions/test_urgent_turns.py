"""Re-renders and confirmed jobs take turns too. They come before the uploads that wait, and no limit refuses them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from defacer.pipeline import admission
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.lifecycle.job_state import JobState
from defacer.pipeline.lifecycle.job_status import read_job_status
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import job_of
from tests.cloud import Buckets, Environment, Post, Push, Topics, upload_push
from tests.functions.ingesting import tasks
from tests.functions.records import failure_of
from tests.functions.rendering import Cloud
from tests.functions.reviewing import (
    CHECK,
    Waiting,
    let_time_pass,
    plan_waiting_job,
    waiting_policy,
)
from tests.functions.test_admission import called, fail, turns, upload
from tests.functions.test_review_wait import link
from tests.planned import find_all_segments


@dataclass
class Queue:
    """A channel with two segments in the queue: two uploads fill it, and two wait."""

    uploads: list[ObjectRef]
    topics: Topics

    def end_upload(self, number: int) -> list[Push]:
        """End the job of this upload, and return the messages that this publishes on `uploads`."""
        before = len(self.topics.all(self.topics.uploads))
        fail(self.uploads[number])
        return self.topics.all(self.topics.uploads)[before:]


@pytest.fixture
def queue(buckets: Buckets, topics: Topics, ingest: Post, clip: Path, environment: Environment) -> Queue:
    environment(segment_seconds=1, channel_segments=2)
    queue = Queue([upload(buckets, clip, f"{number}.mp4") for number in range(4)], topics)
    for ref in queue.uploads:
        assert ingest(upload_push(ref)) == 200
    return queue


def is_planned(buckets: Buckets, job: str) -> bool:
    return object_names.manifest(job) in buckets.names(buckets.work)


@pytest.fixture
def asked(
    queue: Queue, buckets: Buckets, topics: Topics, ingest: Post, worker: Post, merge: Post, clip: Path
) -> ObjectRef:
    """A request to hide a face in a published video."""
    cloud = Cloud(buckets, topics, ingest, worker, merge)
    return cloud.write_request(cloud.publish_first(clip).job, {0: "hide"})


@pytest.fixture
def waiting(
    queue: Queue, buckets: Buckets, topics: Topics, clip: Path, request: pytest.FixtureRequest
) -> Waiting:
    """A job that waits for a person."""
    planned = plan_waiting_job(buckets, clip, waiting_policy(getattr(request, "param", "fail")))
    find_all_segments(buckets, planned)
    link(buckets, planned)
    return Waiting(buckets, topics, planned)


def test_rerender_waits_for_room_and_then_comes_before_uploads(
    queue: Queue, buckets: Buckets, topics: Topics, ingest: Post, asked: ObjectRef
) -> None:
    before = len(tasks(topics))
    assert ingest(upload_push(asked)) == 200
    assert not is_planned(buckets, job_of(asked))
    assert len(tasks(topics)) == before
    (push,) = queue.end_upload(0)
    assert push["message"]["attributes"]["objectId"] == asked.name
    assert ingest(push) == 200
    assert is_planned(buckets, job_of(asked))
    assert len(tasks(topics)) == before + 1


def test_no_limit_of_the_channel_refuses_a_rerender(
    queue: Queue, buckets: Buckets, ingest: Post, environment: Environment, asked: ObjectRef
) -> None:
    queue.end_upload(0)
    environment(segment_seconds=1, channel_segments=20, max_channel_jobs=1, max_channel_minutes=2 / 60)
    assert ingest(upload_push(asked)) == 200
    assert is_planned(buckets, job_of(asked))
    assert len(buckets.names(buckets.work, object_names.MINUTES)) == len(queue.uploads)


def test_clock_calls_a_rerender_whose_call_was_lost(
    queue: Queue, buckets: Buckets, topics: Topics, ingest: Post, asked: ObjectRef
) -> None:
    ingest(upload_push(asked))
    queue.end_upload(0)
    before = len(topics.all(topics.uploads))
    assert ingest(CHECK) == 200
    (push,) = topics.all(topics.uploads)[before:]
    assert ingest(push) == 200
    assert is_planned(buckets, job_of(asked))


def test_confirmed_job_waits_for_room_and_stays_listed(
    queue: Queue, buckets: Buckets, ingest: Post, waiting: Waiting
) -> None:
    assert ingest(waiting.confirm(track1="keep")) == 200
    assert waiting.state is JobState.REDACTING
    assert waiting.tasks() == []
    assert waiting.is_listed()
    status = read_job_status(waiting.job, None)
    assert status.title == "waiting for earlier videos of this channel"
    assert status.progress(datetime.now(UTC)).note is None
    (push,) = queue.end_upload(0)
    assert push["message"]["attributes"] == {"type": "review-check", "job": waiting.job}
    assert ingest(push) == 200
    waiting.assert_dispatched()
    assert read_job_status(waiting.job, None).title == "redacting faces"
    assert object_names.turn("street", waiting.job) in turns(buckets)


def test_clock_starts_a_confirmed_job_whose_call_was_lost(
    queue: Queue, buckets: Buckets, ingest: Post, waiting: Waiting
) -> None:
    ingest(waiting.confirm(track1="keep"))
    queue.end_upload(0)
    assert ingest(CHECK) == 200
    waiting.assert_dispatched()


@pytest.mark.parametrize("waiting", ["publish_hidden"], indirect=True)
def test_job_whose_review_time_ended_waits_for_room(
    queue: Queue, buckets: Buckets, ingest: Post, waiting: Waiting,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    let_time_pass(monkeypatch)
    assert ingest(CHECK) == 200
    assert waiting.tasks() == []
    assert waiting.is_listed()
    (push,) = queue.end_upload(0)
    assert ingest(push) == 200
    waiting.assert_dispatched()


def test_error_in_the_repair_does_not_stop_the_review_limits(
    waiting: Waiting, ingest: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off() -> list[admission.HopelessTurn]:
        raise OSError("the repair failed")

    monkeypatch.setattr(admission, "repair_turns", break_off)
    let_time_pass(monkeypatch)
    assert ingest(CHECK) == 503
    assert not waiting.is_listed()


def test_job_of_an_unreadable_turn_fails_and_its_channel_continues(
    queue: Queue, buckets: Buckets, topics: Topics, ingest: Post
) -> None:
    source = queue.uploads[2]
    broken = object_names.turn("street", job_of(source))
    marks = buckets.blob(buckets.work, broken).metadata
    buckets.put(buckets.work, broken, b"{}", metadata=marks)
    for ref in queue.uploads[:2]:
        objects.delete_any(buckets.work, object_names.turn("street", job_of(ref)))
    assert ingest(CHECK) == 200
    assert called(topics) == ["3.mp4"]
    assert turns(buckets) == [object_names.turn("street", job_of(queue.uploads[3]))]
    failed = failure_of(buckets, job_of(source))
    assert (failed.code, failed.source) == ("object-gone", source)
    assert [event["subject"] for event in topics.events() if event["type"] == "job.failed"] == [failed.job]


def test_confirmed_job_without_a_manifest_is_not_planned_again(
    queue: Queue, buckets: Buckets, topics: Topics, ingest: Post, waiting: Waiting
) -> None:
    """Its new faces would not be those that the person confirmed."""
    assert ingest(waiting.confirm(track1="keep")) == 200
    objects.delete_any(buckets.work, object_names.manifest(waiting.job))
    (push,) = queue.end_upload(0)
    assert ingest(push) == 200
    assert failure_of(buckets, waiting.job).code == "object-gone"
    assert not is_planned(buckets, waiting.job)
    assert not waiting.is_listed()
