"""A job has a limited number of segments in the queue: each finished segment publishes the next task."""

from pathlib import Path

import pytest

from defacer.pipeline.errors import RetryableError
from defacer.pipeline.lifecycle.segments import publish_first_tasks
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.storage import object_names
from tests.clips import write_clip
from tests.cloud import Buckets, Post, Topics
from tests.functions.records import put_lease
from tests.functions.working import do_step, lease_name, work
from tests.inbox import document
from tests.planned import Planned, plan_job, with_window


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a video that half a second divides into five segments."""
    return write_clip(tmp_path_factory.mktemp("clip") / "walk.mp4")


@pytest.fixture
def planned(buckets: Buckets, topics: Topics, clip: Path) -> Planned:
    """Plan five segments. Two are in the queue at a time."""
    return with_window(buckets, plan_job(buckets, clip, seconds=0.5), 2)


def indexes(topics: Topics) -> list[int]:
    return [document(push)["index"] for push in topics.all(topics.segments)]


def test_first_tasks_fill_the_window(topics: Topics, planned: Planned) -> None:
    publish_first_tasks(planned.manifest, planned.ref)
    assert indexes(topics) == [0, 1]


def test_finished_segment_publishes_the_next_task(topics: Topics, job: Planned) -> None:
    for index in (1, 0, 2, 3):
        work(job, index, f"message {index}")
    assert indexes(topics) == [3, 2, 4]
    assert {document(push)["step"] for push in topics.all(topics.segments)} == {job.segment_task(0).step}


def test_duplicate_task_publishes_no_next_task(topics: Topics, job: Planned, worker: Post) -> None:
    work(job, 0, "first")
    assert worker(job.task(0)) == 200
    assert indexes(topics) == [2]


def test_redelivery_publishes_the_next_task_of_a_dead_worker(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    do_step(buckets, job, 0)
    put_lease(buckets, lease_name(job, 0), seconds=600)
    assert worker(job.task(0)) == 503
    put_lease(buckets, lease_name(job, 0))
    assert worker(job.task(0)) == 200
    assert indexes(topics) == [2]
    assert buckets.names(buckets.work, object_names.leases_prefix(job.job)) == []


def test_next_task_is_published_after_messaging_was_away(
    topics: Topics, job: Planned, worker: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise RetryableError("messaging is away")

    with monkeypatch.context() as patch:
        patch.setattr(pubsub, "publish", away)
        with pytest.raises(RetryableError):
            work(job, 0, "mine")
    assert worker(job.task(0)) == 200
    assert indexes(topics) == [2]
