"""A merge that always reaches its deadline fails its job with the reason."""

import pytest

from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.merge.link_step import link_and_dispatch
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.media_engine import JoinedVideo, JoinInput, LinkedFaces, LinkInput
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Environment, Post, Topics
from tests.functions.linking import assert_failed as assert_link_failed
from tests.functions.linking import store_inputs_of_link
from tests.functions.merging import assert_failed, assert_published
from tests.functions.records import put_lease
from tests.functions.test_job_end import crash_after_verdict
from tests.media_engines import with_operations
from tests.planned import Planned, do_all_segments


def endless(parts: JoinInput) -> JoinedVideo:
    while True:
        parts.renew_lease()


def test_merge_fails_the_job_after_three_timeouts(
    buckets: Buckets, topics: Topics, linked: Planned, environment: Environment
) -> None:
    do_all_segments(buckets, linked)
    environment(deadline_seconds=1)
    for _ in range(3):
        with pytest.raises(RetryableError, match="not done within the 1 s"):
            join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=endless))
        assert topics.events() == []
    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=endless))
    failed = assert_failed(buckets, topics, linked, "too-slow")
    assert "joining it did not finish within 1 s" in failed.message
    assert "in 3 attempts. Cut it into parts." in failed.message


def test_linking_fails_the_job_after_three_timeouts(
    buckets: Buckets, topics: Topics, planned: Planned, environment: Environment
) -> None:
    store_inputs_of_link(buckets, planned)
    environment(deadline_seconds=1)

    def endless_link(job: LinkInput) -> LinkedFaces:
        while True:
            job.renew_lease()

    for _ in range(3):
        with pytest.raises(RetryableError, match="not done within the 1 s"):
            link_and_dispatch(planned.segment_done(0), "1", with_operations(MergeEngine(), link=endless_link))
    link_and_dispatch(planned.segment_done(0), "1", with_operations(MergeEngine(), link=endless_link))
    failed = assert_link_failed(buckets, topics, planned, "too-slow")
    assert "linking its faces did not finish" in failed.message


def test_two_timeouts_do_not_fail_the_job(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    put_lease(buckets, object_names.merge_lease(linked.job), attempts=2, timeouts=2)
    assert merge(linked.done(0)) == 200
    assert_published(buckets, topics, linked)


def test_joined_video_is_published_after_timeouts(buckets: Buckets, topics: Topics, linked: Planned) -> None:
    crash_after_verdict(buckets, linked)
    put_lease(buckets, object_names.merge_lease(linked.job), attempts=3, timeouts=3)
    join_and_publish(linked.segment_done(0), "1", MergeEngine())
    assert_published(buckets, topics, linked)
