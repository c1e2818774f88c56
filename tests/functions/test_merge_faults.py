"""Faults of merge after the step "redact": concurrent, dead and stalled merges, outages of the servers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.media_engine import JoinedVideo, JoinInput
from defacer.pipeline.storage import object_names
from tests.clips import Clip, write_clip
from tests.cloud import Buckets, Environment, Post, Topics
from tests.functions.merging import (
    REQUESTS_OF_A_MERGE,
    RESULT,
    assert_published,
    deliver_concurrently,
    expire_lease,
    published_of,
    wait_for_expiry,
)
from tests.media_engines import with_operations
from tests.planned import VIDEO, Planned, do_all_segments, link_job, plan_job
from tests.proxy import Proxy


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "walk.mp4", Clip(seconds=3))


def test_three_concurrent_messages_publish_one_result(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    answers = deliver_concurrently(merge, linked)
    assert 200 in answers
    assert set(answers) <= {200, 503}
    assert_published(buckets, topics, linked)


def test_second_merge_waits_for_the_first(buckets: Buckets, topics: Topics, linked: Planned) -> None:
    """The second message arrives while the first one is joining."""
    do_all_segments(buckets, linked)
    inside, go_on = threading.Event(), threading.Event()

    def slow(parts: JoinInput) -> JoinedVideo:
        inside.set()
        assert go_on.wait(60)
        return MergeEngine().join(parts)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(
            join_and_publish, linked.segment_done(0), "first", with_operations(MergeEngine(), join=slow)
        )
        assert inside.wait(60)
        with pytest.raises(RetryableError):
            join_and_publish(linked.segment_done(1), "second", with_operations(MergeEngine(), join=slow))
        with pytest.raises(RetryableError):
            join_and_publish(linked.segment_done(0), "first", with_operations(MergeEngine(), join=slow))
        go_on.set()
        first.result(60)
    assert_published(buckets, topics, linked)


def test_merge_that_lost_its_lease_publishes_nothing(
    buckets: Buckets, topics: Topics, linked: Planned, environment: Environment
) -> None:
    do_all_segments(buckets, linked)
    environment(lease_seconds=1)
    lease = object_names.merge_lease(linked.job)

    def frozen(parts: JoinInput) -> JoinedVideo:
        """Join, then stall until the lease has expired and another merge has published the result."""
        joined = MergeEngine().join(parts)
        wait_for_expiry(buckets, lease)
        join_and_publish(linked.segment_done(1), "second", MergeEngine())
        return joined

    with pytest.raises(RetryableError):
        join_and_publish(linked.segment_done(0), "first", with_operations(MergeEngine(), join=frozen))
    assert_published(buckets, topics, linked)


def test_job_that_fails_during_joining_is_not_published(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    do_all_segments(buckets, linked)

    def meanwhile(parts: JoinInput) -> JoinedVideo:
        failure.fail_job(
            linked.job, "worker", PermanentError(ErrorCode.POISON_SEGMENT, "another segment's fault")
        )
        return MergeEngine().join(parts)

    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=meanwhile))
    assert buckets.names(buckets.output) == []
    assert object_names.published(linked.job) not in buckets.names(buckets.work)


def test_deleting_a_source_keeps_the_newer_upload(buckets: Buckets, topics: Topics, clip: Path) -> None:
    linked = link_job(buckets, plan_job(buckets, clip, policy=Policy(source_retention="delete")))
    do_all_segments(buckets, linked)

    def meanwhile(parts: JoinInput) -> JoinedVideo:
        joined = MergeEngine().join(parts)
        buckets.put(buckets.intake, VIDEO, b"a newer upload")
        return joined

    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=meanwhile))
    assert buckets.get(buckets.intake, VIDEO) == b"a newer upload"


@pytest.mark.parametrize("when", ["before", "while joining"])
def test_older_upload_does_not_replace_a_newer_result(
    when: str, buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    do_all_segments(buckets, linked)
    newer = ObjectRef(bucket=buckets.intake, name=VIDEO, generation=linked.manifest.source.generation + 1)
    metadata = {
        "defacer-job": object_names.job_of(newer),
        "defacer-source": VIDEO,
        "defacer-source-generation": str(newer.generation),
    }

    def publish_newer() -> None:
        blob = buckets.client.bucket(buckets.output).blob(RESULT)
        blob.metadata = metadata
        blob.upload_from_string(b"newer")

    def overtaken(parts: JoinInput) -> JoinedVideo:
        assert when == "while joining"
        publish_newer()
        return MergeEngine().join(parts)

    if when == "before":
        publish_newer()
    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=overtaken))
    assert buckets.get(buckets.output, RESULT) == b"newer"
    assert buckets.names(buckets.output) == [RESULT]
    published = published_of(buckets, linked)
    assert (published.superseded, published.result) == (True, None)
    (event,) = topics.events()
    assert (event["type"], event["data"]["result"], event["data"]["report"]) == ("job.completed", None, None)
    assert "newer" in event["data"]["message"]
    stays = [linked.ref.name, object_names.published(linked.job), object_names.verdict(linked.job)]
    assert buckets.names(buckets.work) == stays


@pytest.mark.parametrize(
    "crash_after",
    [
        *range(0, REQUESTS_OF_A_MERGE, 11),
        *(pytest.param(n, marks=pytest.mark.slow) for n in range(REQUESTS_OF_A_MERGE - 1) if n % 11),
        REQUESTS_OF_A_MERGE - 1,
        REQUESTS_OF_A_MERGE,
    ],
)
def test_redelivery_continues_after_a_crash_at_any_request(
    crash_after: int,
    buckets: Buckets,
    topics: Topics,
    clip: Path,
    merge: Post,
    proxy: Proxy,
) -> None:
    """Storage refuses every request after some number, the release of the lease included, as in a crash."""
    linked = link_job(buckets, plan_job(buckets, clip, policy=Policy(source_retention="delete")))
    buckets.put(buckets.work, object_names.gallery(linked.job, "ab" * 32), b"embeddings")
    do_all_segments(buckets, linked)
    with proxy.failing(lambda method, path: len(proxy.requests) > crash_after):
        first = merge(linked.done(2, "mine"))
    assert first == (200 if crash_after == REQUESTS_OF_A_MERGE else 503)
    expire_lease(buckets, object_names.merge_lease(linked.job))
    assert merge(linked.done(2, "mine")) == 200
    assert_published(buckets, topics, linked)
    assert buckets.names(buckets.intake) == []


def test_messaging_outage_is_retried_until_it_succeeds(
    buckets: Buckets,
    topics: Topics,
    linked: Planned,
    merge: Post,
    environment: Environment,
    pubsub_address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    do_all_segments(buckets, linked)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    environment(retry_seconds=0.5)
    assert merge(linked.done(2)) == 503
    generation = buckets.blob(buckets.output, RESULT).generation
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    environment(retry_seconds=20)
    assert merge(linked.done(2)) == 200
    assert buckets.blob(buckets.output, RESULT).generation == generation
    assert_published(buckets, topics, linked)
