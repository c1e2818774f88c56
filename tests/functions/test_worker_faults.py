"""The worker when things go wrong: two at once, a dead worker, storage and messaging out of order."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from functions.pipeline import layout
from functions.pipeline.claim import ClaimedElsewhereError
from functions.pipeline.contracts import Claim, SegmentReport
from functions.pipeline.errors import RetryableError
from functions.worker.segment import Assignment, Concealed, work
from tests.cloud import Buckets, Environment, Post, Topics
from tests.functions.working import SOURCES, copy, failure_of, put_claim, report_of, segment_names, task
from tests.planned import VIDEO, Planned, do_segment
from tests.proxy import Proxy


@pytest.fixture
def stageable(planned: Planned) -> Iterator[Planned]:
    """A planned job whose segments `copy` can do."""
    SOURCES[planned.job] = planned.clip.read_bytes()
    yield planned
    del SOURCES[planned.job]


def test_while_another_message_s_worker_is_at_it_a_duplicate_is_acknowledged(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    put_claim(buckets, planned, 0, holder="another", seconds=600)
    assert worker(planned.task(0, "mine")) == 200
    assert segment_names(buckets, planned) == []
    assert topics.all(topics.segments_done) == []


def test_while_a_predecessor_of_the_same_message_may_live_the_message_comes_back(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    put_claim(buckets, planned, 0, holder="mine", seconds=600)
    assert worker(planned.task(0, "mine")) == 503
    assert segment_names(buckets, planned) == []


def test_the_claim_of_a_dead_worker_is_taken_over(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    put_claim(buckets, planned, 0, holder="mine", seconds=-1)
    assert worker(planned.task(0, "mine")) == 200
    assert list(report_of(buckets, planned, 0).frames) == planned.frames(0)


def test_a_segment_that_outlasts_its_workers_fails_the_job(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post, environment: Environment
) -> None:
    environment(max_segment_attempts=3)
    put_claim(buckets, planned, 1, holder="mine", seconds=-1, attempts=3)
    assert worker(planned.task(1, "mine")) == 200
    failed = failure_of(buckets, planned)
    assert (failed.stage, failed.code, failed.source) == ("worker", "poison-segment", planned.manifest.source)
    assert "3 workers in a row did not finish segment 2 of 2" in failed.message
    assert f"gs://{buckets.intake}/{VIDEO}" in failed.message
    assert [event["type"] for event in topics.events()] == ["job.failed"]


def test_many_deliveries_that_only_waited_are_no_attempts(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post, environment: Environment
) -> None:
    environment(max_segment_attempts=1)
    put_claim(buckets, planned, 0, holder="mine", seconds=600)
    assert {worker(planned.task(0, "mine")) for _ in range(20)} == {503}
    buckets.client.bucket(buckets.work).blob(layout.segment_claim(planned.job, 0)).delete()
    assert worker(planned.task(0, "mine")) == 200


@pytest.mark.parametrize("failing", [0, 1, 3, 5, 7, 9])
def test_storage_out_of_order_brings_the_message_back_and_then_it_succeeds(
    failing: int,
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    worker: Post,
    proxy: Proxy,
    environment: Environment,
) -> None:
    environment(retry_seconds=0.1)
    proxy.fails = lambda method, path: len(proxy.requests) > failing
    assert worker(planned.task(0, "mine")) == 503
    proxy.fails = lambda method, path: False
    environment(retry_seconds=20)
    buckets.client.bucket(buckets.work).delete_blobs(  # as if its lease had run out
        list(buckets.client.list_blobs(buckets.work, prefix=layout.claims_prefix(planned.job)))
    )
    assert worker(planned.task(0, "mine")) == 200
    assert list(report_of(buckets, planned, 0).frames) == planned.frames(0)
    assert len(topics.all(topics.segments_done)) >= 1


def test_messaging_out_of_order_brings_the_message_back_and_then_it_succeeds(
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    worker: Post,
    environment: Environment,
    pubsub_address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    environment(retry_seconds=0.5)
    assert worker(planned.task(0)) == 503
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    environment(retry_seconds=20)
    assert worker(planned.task(0)) == 200
    assert len(topics.all(topics.segments_done)) == 1


def test_two_messages_at_once_do_a_segment_once(buckets: Buckets, topics: Topics, stageable: Planned) -> None:
    """The second comes while the first is at it: staged, not left to chance."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(todo: Assignment) -> Concealed:
        inside.set()
        assert go_on.wait(60)
        return copy(todo)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(work, task(stageable, 0), "first", slow)
        assert inside.wait(60)
        with pytest.raises(ClaimedElsewhereError):
            work(task(stageable, 0), "second", slow)
        with pytest.raises(RetryableError):
            work(task(stageable, 0), "first", slow)
        go_on.set()
        first.result(60)
    assert len(segment_names(buckets, stageable)) == 2
    assert len(topics.all(topics.segments_done)) == 1


def test_a_segment_that_somebody_finished_just_before_the_claim_is_not_done_again(
    buckets: Buckets, topics: Topics, planned: Planned, proxy: Proxy
) -> None:
    finished: list[SegmentReport] = []

    def finish_meanwhile(method: str, path: str) -> bool:
        if "claims" in path and not finished:
            finished.append(do_segment(buckets, planned, 0))
        return False

    def never(todo: Assignment) -> Concealed:
        raise AssertionError("it was done already")

    proxy.fails = finish_meanwhile
    work(task(planned, 0), "mine", never)
    assert report_of(buckets, planned, 0) == finished[0]
    assert len(topics.all(topics.segments_done)) == 1


def test_who_finishes_after_somebody_else_committed_leaves_nothing_behind(
    buckets: Buckets, topics: Topics, stageable: Planned
) -> None:
    def overtaken(todo: Assignment) -> Concealed:
        do_segment(buckets, stageable, 0)
        return copy(todo)

    work(task(stageable, 0), "mine", overtaken)
    report = report_of(buckets, stageable, 0)
    assert segment_names(buckets, stageable) == sorted(
        [report.video.name, layout.segment_report(stageable.job, 0)]
    )


def test_work_past_the_deadline_is_abandoned_and_counts_as_an_attempt(
    buckets: Buckets, topics: Topics, stageable: Planned, environment: Environment
) -> None:
    environment(deadline_seconds=1)

    def endless(todo: Assignment) -> Concealed:
        while True:
            todo.keep_claim()

    with pytest.raises(RetryableError, match="not done after 1 s"):
        work(task(stageable, 0), "mine", endless)
    assert segment_names(buckets, stageable) == []
    claim = Claim.model_validate_json(buckets.get(buckets.work, layout.segment_claim(stageable.job, 0)))
    assert claim.attempts == 1
    work(task(stageable, 0), "mine", copy)
    assert list(report_of(buckets, stageable, 0).frames) == stageable.frames(0)


def test_the_claim_is_renewed_while_the_engine_works(
    buckets: Buckets, topics: Topics, stageable: Planned, environment: Environment
) -> None:
    environment(lease_seconds=1)
    end = datetime.now(UTC) + timedelta(seconds=1.5)

    def long(todo: Assignment) -> Concealed:
        while datetime.now(UTC) < end:
            todo.keep_claim()
        with pytest.raises(ClaimedElsewhereError):
            work(task(stageable, 0), "second", copy)
        return copy(todo)

    work(task(stageable, 0), "first", long)
    assert list(report_of(buckets, stageable, 0).frames) == stageable.frames(0)
