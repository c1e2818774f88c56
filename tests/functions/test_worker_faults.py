"""Faults of the worker in both steps: concurrent and dead workers, outages of storage and messaging."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from defacer.pipeline.documents.job_records import Lease
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Environment, Post, Topics
from tests.functions.records import failure_of, put_lease
from tests.functions.working import (
    count_frames_done,
    do_step,
    is_done,
    lease_name,
    made,
    report_of,
    work,
)
from tests.planned import Planned
from tests.proxy import Proxy

Keep = Callable[[], None]


@pytest.mark.parametrize("holder", ["mine", "another"])
def test_message_is_redelivered_while_another_holds_the_lease(
    holder: str, buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    put_lease(buckets, lease_name(job, 0), holder, seconds=600)
    assert worker(job.task(0, "mine")) == 503
    assert made(buckets, job) == []
    assert topics.all(topics.segments_done) == []


def test_expired_lease_is_taken_over(buckets: Buckets, topics: Topics, job: Planned, worker: Post) -> None:
    put_lease(buckets, lease_name(job, 0), "mine")
    assert worker(job.task(0, "mine")) == 200
    assert count_frames_done(buckets, job, 0) == len(job.frames(0))


def test_segment_with_exhausted_attempts_fails_the_job(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post, environment: Environment
) -> None:
    environment(max_segment_attempts=3)
    buckets.put(buckets.work, object_names.gallery(job.job, "ab" * 32), b"embeddings")
    put_lease(buckets, lease_name(job, 1), "mine", attempts=3)
    assert worker(job.task(1, "mine")) == 200
    failed = failure_of(buckets, job.job)
    assert (failed.stage, failed.code, failed.source) == ("worker", "poison-segment", job.manifest.source)
    assert "3 attempts did not finish segment 2 of 2" in failed.message
    assert "walk.mp4" in failed.message
    assert [event["type"] for event in topics.events()] == ["job.failed"]
    assert buckets.names(buckets.work, object_names.gallery_prefix(job.job)) == []


def test_attempts_are_counted_per_step(
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    linked: Planned,
    worker: Post,
    environment: Environment,
) -> None:
    environment(max_segment_attempts=3)
    put_lease(buckets, lease_name(planned, 0), "mine", attempts=3)
    assert worker(linked.task(0, "mine")) == 200
    assert is_done(buckets, linked, 0)


def test_waiting_deliveries_do_not_count_as_attempts(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post, environment: Environment
) -> None:
    environment(max_segment_attempts=1)
    put_lease(buckets, lease_name(job, 0), "mine", seconds=600)
    assert {worker(job.task(0, "mine")) for _ in range(20)} == {503}
    buckets.client.bucket(buckets.work).blob(lease_name(job, 0)).delete()
    assert worker(job.task(0, "mine")) == 200


@pytest.mark.parametrize("failing", [0, 1, 3, 5, 6, 7])
def test_storage_outage_is_retried_until_it_succeeds(
    failing: int,
    buckets: Buckets,
    topics: Topics,
    job: Planned,
    worker: Post,
    proxy: Proxy,
) -> None:
    with proxy.failing(lambda method, path: len(proxy.requests) > failing):
        assert worker(job.task(0, "mine")) == 503
    buckets.client.bucket(buckets.work).delete_blobs(  # as if its lease had expired
        list(buckets.client.list_blobs(buckets.work, prefix=object_names.leases_prefix(job.job)))
    )
    assert worker(job.task(0, "mine")) == 200
    assert count_frames_done(buckets, job, 0) == len(job.frames(0))
    assert len(topics.all(topics.segments_done)) >= 1


def test_messaging_outage_is_retried_until_it_succeeds(
    buckets: Buckets,
    topics: Topics,
    job: Planned,
    worker: Post,
    environment: Environment,
    pubsub_address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    environment(retry_seconds=0.5)
    assert worker(job.task(0)) == 503
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    environment(retry_seconds=20)
    assert worker(job.task(0)) == 200
    assert len(topics.all(topics.segments_done)) == 1


def test_two_concurrent_messages_do_a_segment_once(buckets: Buckets, topics: Topics, job: Planned) -> None:
    """The second message arrives while the first one is processed."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(keep: Keep) -> None:
        inside.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(work, job, 0, "first", slow)
        assert inside.wait(60)
        with pytest.raises(RetryableError):
            work(job, 0, "second", never)
        with pytest.raises(RetryableError):
            work(job, 0, "first", never)
        go_on.set()
        first.result(60)
    assert is_done(buckets, job, 0)
    assert len(topics.all(topics.segments_done)) == 1


def test_first_committed_output_counts(buckets: Buckets, topics: Topics, job: Planned) -> None:
    work(job, 0, "mine", lambda keep: do_step(buckets, job, 0))
    assert count_frames_done(buckets, job, 0) == len(job.frames(0))
    assert len(topics.all(topics.segments_done)) == 1


def test_second_commit_leaves_no_video(buckets: Buckets, topics: Topics, linked: Planned) -> None:
    work(linked, 0, "mine", lambda keep: do_step(buckets, linked, 0))
    report = report_of(buckets, linked, 0)
    assert made(buckets, linked) == sorted([report.video.name, object_names.segment_report(linked.job, 0)])


def test_deadline_stops_the_work_and_counts_as_attempt(
    buckets: Buckets, topics: Topics, job: Planned, environment: Environment
) -> None:
    environment(deadline_seconds=1)

    def endless(keep: Keep) -> None:
        while True:
            keep()

    with pytest.raises(RetryableError, match="not done within the 1 s"):
        work(job, 0, "mine", endless)
    assert made(buckets, job) == []
    lease = Lease.model_validate_json(buckets.get(buckets.work, lease_name(job, 0)))
    assert lease.attempts == 1
    work(job, 0, "mine")
    assert is_done(buckets, job, 0)


def test_lease_is_renewed_while_the_engine_works(
    buckets: Buckets, topics: Topics, job: Planned, environment: Environment
) -> None:
    environment(lease_seconds=1)
    end = datetime.now(UTC) + timedelta(seconds=1.5)

    def long(keep: Keep) -> None:
        while datetime.now(UTC) < end:
            keep()
        with pytest.raises(RetryableError):
            work(job, 0, "second", never)

    work(job, 0, "first", long)
    assert is_done(buckets, job, 0)


def never(keep: Keep) -> None:
    raise AssertionError("another worker has done the step, or has the lease")
