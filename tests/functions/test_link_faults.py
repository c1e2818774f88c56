"""Faults of merge after the step "detect": concurrent, dead and stalled linkers, outages of the servers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.link_step import link_and_dispatch
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.media_engine import LinkedFaces, LinkInput
from defacer.pipeline.storage import object_names
from tests.clips import Clip, write_clip
from tests.cloud import Buckets, Environment, Post, Topics
from tests.functions.linking import (
    REQUESTS_OF_A_LINK,
    LinkingEngine,
    assert_linked,
    embeddings,
    redact_tasks,
    store_inputs_of_link,
)
from tests.functions.merging import deliver_concurrently, expire_lease, lease_expiry, wait_for_expiry
from tests.functions.records import put_lease
from tests.functions.working import lease_name, work
from tests.media_engines import with_operations
from tests.planned import Planned, do_all_segments, link_job, linked_of
from tests.proxy import Proxy
from tests.servers import wait_until


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "walk.mp4", Clip(seconds=3))


def test_three_concurrent_messages_link_once(
    buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    store_inputs_of_link(buckets, planned)
    answers = deliver_concurrently(merge, planned)
    assert 200 in answers
    assert set(answers) <= {200, 503}
    assert_linked(buckets, topics, planned)


def test_second_linker_waits_for_the_first(buckets: Buckets, topics: Topics, planned: Planned) -> None:
    """The second message arrives while the first one is linking."""
    store_inputs_of_link(buckets, planned)
    inside, go_on = threading.Event(), threading.Event()

    def slow(job: LinkInput) -> LinkedFaces:
        inside.set()
        assert go_on.wait(60)
        return linked_of(planned)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(
            link_and_dispatch, planned.segment_done(0), "first", with_operations(MergeEngine(), link=slow)
        )
        assert inside.wait(60)
        with pytest.raises(RetryableError):
            link_and_dispatch(planned.segment_done(1), "second", with_operations(MergeEngine(), link=never))
        with pytest.raises(RetryableError):
            link_and_dispatch(planned.segment_done(0), "first", with_operations(MergeEngine(), link=never))
        go_on.set()
        first.result(60)
    assert_linked(buckets, topics, planned)
    assert len(redact_tasks(topics)) == 3


@pytest.mark.parametrize("wakes_up", ["before reading", "after linking"])
def test_linker_that_lost_its_lease_changes_nothing(
    wakes_up: str, buckets: Buckets, topics: Topics, planned: Planned, environment: Environment
) -> None:
    store_inputs_of_link(buckets, planned)
    environment(lease_seconds=1)
    lease = object_names.link_lease(planned.job)
    other = linked_of(planned, looks=99)

    def frozen(job: LinkInput) -> LinkedFaces:
        """Stall until the lease has expired and another merge has linked the faces."""
        if wakes_up == "after linking":
            list(job.detections)
        wait_for_expiry(buckets, lease)
        link_and_dispatch(
            planned.segment_done(1), "second", with_operations(MergeEngine(), link=lambda _: other)
        )
        list(job.detections)
        return linked_of(planned)

    with pytest.raises(RetryableError):
        link_and_dispatch(planned.segment_done(0), "first", with_operations(MergeEngine(), link=frozen))
    assert_linked(buckets, topics, planned)
    assert buckets.get(buckets.work, object_names.faces(planned.job)) == other.document
    assert len(redact_tasks(topics)) == 3


def test_lease_is_renewed_while_detections_are_read(
    buckets: Buckets, topics: Topics, planned: Planned, environment: Environment
) -> None:
    store_inputs_of_link(buckets, planned)
    environment(lease_seconds=3)
    lease = object_names.link_lease(planned.job)

    def slow(job: LinkInput) -> LinkedFaces:
        next(job.detections)
        before = lease_expiry(buckets, lease)
        wait_until(lambda: datetime.now(UTC) > before - timedelta(seconds=1.5), "half of the lease is over")
        next(job.detections)
        assert lease_expiry(buckets, lease) > before
        return linked_of(planned)

    link_and_dispatch(planned.segment_done(0), "1", with_operations(MergeEngine(), link=slow))
    assert_linked(buckets, topics, planned)


def test_error_of_a_late_linker_does_not_fail_the_job(
    buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    store_inputs_of_link(buckets, planned)

    def gone(job: LinkInput) -> LinkedFaces:
        link_job(buckets, planned)
        raise PermanentError("object-gone", "another has linked the job and deleted this")

    with pytest.raises(RetryableError):
        link_and_dispatch(planned.segment_done(0), "1", with_operations(MergeEngine(), link=gone))
    assert object_names.failed(planned.job) not in buckets.names(buckets.work)
    assert topics.events() == []


def test_job_that_fails_during_linking_is_not_dispatched(
    buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    store_inputs_of_link(buckets, planned)

    def meanwhile(job: LinkInput) -> LinkedFaces:
        failure.fail_job(
            planned.job, "worker", PermanentError(ErrorCode.POISON_SEGMENT, "another segment's fault")
        )
        return linked_of(planned)

    link_and_dispatch(planned.segment_done(0), "1", with_operations(MergeEngine(), link=meanwhile))
    assert redact_tasks(topics) == []
    assert object_names.faces(planned.job) not in buckets.names(buckets.work)
    assert embeddings(buckets, planned) == []


@pytest.mark.parametrize(
    "crash_after",
    [
        *range(0, REQUESTS_OF_A_LINK, 3),
        *(pytest.param(n, marks=pytest.mark.slow) for n in range(REQUESTS_OF_A_LINK) if n % 3),
        REQUESTS_OF_A_LINK,
    ],
)
def test_redelivery_continues_after_a_crash_at_any_request(
    crash_after: int,
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    merge: Post,
    proxy: Proxy,
) -> None:
    """Storage refuses every request after some number, the release of the lease included, as in a crash."""
    store_inputs_of_link(buckets, planned)
    with proxy.failing(lambda method, path: len(proxy.requests) > crash_after):
        first = merge(planned.done(2, "mine"))
    assert first == (200 if crash_after == REQUESTS_OF_A_LINK else 503)
    expire_lease(buckets, object_names.link_lease(planned.job))
    assert merge(planned.done(2, "mine")) == 200
    assert_linked(buckets, topics, planned)


def test_messaging_outage_is_retried_until_it_succeeds(
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    merge: Post,
    environment: Environment,
    pubsub_address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store_inputs_of_link(buckets, planned)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    environment(retry_seconds=0.5)
    assert merge(planned.done(2)) == 503
    generation = buckets.blob(buckets.work, object_names.faces(planned.job)).generation
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    environment(retry_seconds=20)
    assert merge(planned.done(2)) == 200
    assert buckets.blob(buckets.work, object_names.faces(planned.job)).generation == generation
    assert_linked(buckets, topics, planned)


def test_concurrent_linker_dispatches_the_same_faces(
    buckets: Buckets, topics: Topics, planned: Planned, proxy: Proxy
) -> None:
    """The second linker can't know that the first one finished. A second dispatch is harmless, a second link is not."""
    store_inputs_of_link(buckets, planned)
    linked: list[int] = []

    def link_concurrently(method: str, path: str) -> bool:
        if "manifest.json" in path and "alt=media" in path and not linked:
            linked.append(1)
            link_and_dispatch(planned.segment_done(0), "first", LinkingEngine(planned))
        return False

    proxy.fails = link_concurrently
    link_and_dispatch(planned.segment_done(1), "second", with_operations(MergeEngine(), link=never))
    assert linked
    assert_linked(buckets, topics, planned)


def test_worker_that_took_over_late_leaves_no_detections(
    buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    """Another worker did its segment, the job was linked, and all detections were deleted."""
    put_lease(buckets, lease_name(planned, 0))

    def meanwhile(_: object) -> None:
        store_inputs_of_link(buckets, planned)
        link_and_dispatch(planned.segment_done(1), "1", LinkingEngine(planned))

    work(planned, 0, "late", meanwhile)
    assert embeddings(buckets, planned) == []
    assert_linked(buckets, topics, planned)


def test_late_detect_messages_do_not_change_redaction(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post, merge: Post
) -> None:
    store_inputs_of_link(buckets, planned)
    assert merge(planned.done(0)) == 200
    linked = link_job(buckets, planned)  # the same faces in another version of the object
    do_all_segments(buckets, linked)
    before = buckets.names(buckets.work)
    assert [worker(planned.task(index, "late")) for index in range(3)] == [200] * 3
    assert [merge(planned.done(index, "late")) for index in range(3)] == [200] * 3
    assert buckets.names(buckets.work) == before
    assert len(redact_tasks(topics)) == 3
    assert topics.all(topics.segments_done) == []


def never(job: LinkInput) -> LinkedFaces:
    raise AssertionError("another merge has linked the faces, or has the lease")
