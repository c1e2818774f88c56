"""The objects that stay when a job is over: its manifest and its end, also after late writes."""

from pathlib import Path

import pytest

from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Post, Topics
from tests.functions.records import put_lease
from tests.functions.working import lease_name, work
from tests.planned import Planned, do_all_segments, do_segment, find_segment, link_job, plan_job

KEEP = Policy(keep_intermediates=True)


def fail(planned: Planned) -> None:
    failure.fail_job(planned.job, "worker", PermanentError("poison-segment", "another segment's fault"))


def leave_everything(buckets: Buckets, planned: Planned) -> Planned:
    """Store an object of each kind that a job can have, as if all its workers had died."""
    buckets.put(buckets.work, object_names.gallery(planned.job, "ab" * 32), b"embeddings")
    find_segment(buckets, planned, 0)
    linked = link_job(buckets, planned)
    do_segment(buckets, linked, 0)
    buckets.put(buckets.work, object_names.merge_part(planned.job, "token", "samples"), b"samples")
    put_lease(buckets, lease_name(linked, 1))
    put_lease(buckets, object_names.merge_lease(linked.job))
    return linked


def names(buckets: Buckets, planned: Planned) -> list[str]:
    prefix = object_names.job_prefix(planned.job)
    return [name.removeprefix(prefix) for name in buckets.names(buckets.work, prefix)]


def test_failed_job_leaves_only_manifest_and_failure(
    buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    linked = leave_everything(buckets, planned)
    fail(linked)
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]


@pytest.mark.parametrize("end", ["failed", "published"])
def test_policy_keeps_intermediates_but_no_embeddings(
    end: str, buckets: Buckets, topics: Topics, clip: Path, merge: Post
) -> None:
    linked = leave_everything(buckets, plan_job(buckets, clip, policy=KEEP))
    if end == "failed":
        fail(linked)
    else:
        do_segment(buckets, linked, 1)
        assert merge(linked.done(1)) == 200
    left = names(buckets, linked)
    assert [name for name in left if name.startswith(("gallery", "segment-detections", "merge/"))] == []
    assert {
        "leases/redact-00001.json",
        "faces.jsonl",
        "manifest.json",
        "segments/00000.json",
        f"{end}.json",
    } < set(left)
    assert "merge-lease.json" not in left


def test_failed_job_deletes_the_lease_of_a_live_merge(
    buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    """The verdict, not the lease, keeps that merge from publishing."""
    linked = leave_everything(buckets, planned)
    put_lease(buckets, object_names.merge_lease(linked.job), seconds=600)
    fail(linked)
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]


def test_merge_lease_stays_until_the_job_is_finalized(
    buckets: Buckets, topics: Topics, linked: Planned, worker: Post, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    assert merge(linked.done(1)) == 200
    put_lease(buckets, object_names.merge_lease(linked.job))
    assert worker(linked.task(0)) == 200
    assert names(buckets, linked) == ["manifest.json", "merge-lease.json", "published.json", "verdict.json"]
    assert merge(linked.done(0)) == 200
    assert names(buckets, linked) == ["manifest.json", "published.json", "verdict.json"]


@pytest.mark.parametrize("end", ["failed", "published"])
def test_late_worker_deletes_its_output(
    end: str, buckets: Buckets, topics: Topics, job: Planned, merge: Post
) -> None:
    """Another worker did the segment and the job ended while this worker was stalled."""
    work(job, 0, "slow", lambda _: bring_to(end, buckets, job, merge))
    assert names(buckets, job) == sorted([f"{end}.json", "manifest.json", "verdict.json"])


@pytest.mark.parametrize("end", ["failed", "published"])
def test_redelivery_deletes_output_of_a_dead_late_worker(
    end: str, buckets: Buckets, topics: Topics, job: Planned, merge: Post, worker: Post
) -> None:
    bring_to(end, buckets, job, merge)
    find_segment(buckets, job, 0)
    do_segment(buckets, job, 0)
    put_lease(buckets, lease_name(job, 0))
    segments = topics.all(topics.segments_done)
    assert worker(job.task(0)) == 200
    assert names(buckets, job) == sorted([f"{end}.json", "manifest.json", "verdict.json"])
    assert topics.all(topics.segments_done) == segments


@pytest.mark.parametrize("end", ["failed", "published"])
def test_dead_letter_cleans_up_after_its_worker(
    end: str, buckets: Buckets, topics: Topics, job: Planned, merge: Post, dead_letter: Post
) -> None:
    bring_to(end, buckets, job, merge)
    do_segment(buckets, job, 0)
    assert dead_letter(job.task(0)) == 200
    assert names(buckets, job) == sorted([f"{end}.json", "manifest.json", "verdict.json"])


def bring_to(end: str, buckets: Buckets, planned: Planned, merge: Post) -> None:
    if end == "failed":
        fail(planned)
        return
    linked = planned if planned.faces else link_job(buckets, planned)
    do_all_segments(buckets, linked)
    assert merge(linked.done(1)) == 200


def test_unreadable_manifest_keeps_no_embedding(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    linked = leave_everything(buckets, planned)
    task = linked.task(1)
    buckets.put(buckets.work, object_names.manifest(linked.job), b"{no manifest")
    fail(linked)
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]
    assert [worker(task), worker(task)] == [200, 200]
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]
    # Without a manifest the channel is unknown, so the failure is only logged.
    assert topics.events() == []


@pytest.mark.parametrize("name", ["failed.json", "verdict.json"])
@pytest.mark.parametrize("who", ["worker", "merge", "dead_letter"])
def test_unreadable_failure_keeps_no_embedding(
    who: str, name: str, buckets: Buckets, topics: Topics, planned: Planned, request: pytest.FixtureRequest
) -> None:
    fail(planned)
    linked = leave_everything(buckets, planned)
    buckets.put(buckets.work, object_names.job_prefix(planned.job) + name, b"{nothing that can be read")
    push = linked.task(1) if who == "worker" else linked.done(1)
    assert request.getfixturevalue(who)(push) == 200
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]
