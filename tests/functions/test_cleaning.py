"""What stays in the work bucket when a job is over: its manifest and its end, whoever comes late."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from defacer.pipeline.documents.job_records import Lease
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Post, Topics
from tests.functions.working import put_claim, work
from tests.planned import Planned, do_all_segments, do_segment, find_segment, link_job, plan_job

KEEP = Policy(keep_intermediates=True)


def fail(planned: Planned) -> None:
    failure.fail_job(planned.job, "worker", PermanentError("poison-segment", "another segment's fault"))


def put_merge_claim(buckets: Buckets, planned: Planned, seconds: float) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
    claim = Lease(holder="merging", token="t", expires_at=expires_at, attempts=1)  # noqa: S106 - no secret
    buckets.put(buckets.work, object_names.merge_lease(planned.job), claim.model_dump_json().encode())


def leave_everything(buckets: Buckets, planned: Planned) -> Planned:
    """One of each kind of object that a job may have, as if all its holders had died."""
    buckets.put(buckets.work, object_names.gallery(planned.job, "ab" * 32), b"embeddings")
    find_segment(buckets, planned, 0)
    linked = link_job(buckets, planned)
    do_segment(buckets, linked, 0)
    buckets.put(buckets.work, object_names.merge_part(planned.job, "token", "samples"), b"samples")
    put_claim(buckets, linked, 1, "dead", seconds=-1)
    put_merge_claim(buckets, linked, seconds=-1)
    return linked


def names(buckets: Buckets, planned: Planned) -> list[str]:
    prefix = object_names.job_prefix(planned.job)
    return [name.removeprefix(prefix) for name in buckets.names(buckets.work, prefix)]


def test_a_failed_job_leaves_its_manifest_and_why_it_failed(
    buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    linked = leave_everything(buckets, planned)
    fail(linked)
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]


@pytest.mark.parametrize("end", ["failed", "published"])
def test_the_policy_keeps_the_work_but_never_an_embedding(
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


def test_a_merge_that_is_alive_loses_its_claim_when_the_job_fails(
    buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    """It needs none any more: the verdict is what keeps it from publishing."""
    linked = leave_everything(buckets, planned)
    put_merge_claim(buckets, linked, seconds=600)
    fail(linked)
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]


def test_the_claim_of_a_merge_that_died_while_winding_up_stays_until_somebody_has(
    buckets: Buckets, topics: Topics, linked: Planned, worker: Post, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    assert merge(linked.done(1)) == 200
    put_merge_claim(buckets, linked, seconds=-1)
    assert worker(linked.task(0)) == 200
    assert names(buckets, linked) == ["manifest.json", "merge-lease.json", "published.json", "verdict.json"]
    assert merge(linked.done(0)) == 200
    assert names(buckets, linked) == ["manifest.json", "published.json", "verdict.json"]


@pytest.mark.parametrize("end", ["failed", "published"])
def test_a_worker_that_comes_too_late_deletes_what_it_wrote(
    end: str, buckets: Buckets, topics: Topics, job: Planned, merge: Post
) -> None:
    """Another worker did the segment and the job came to its end, while this one stood still."""
    work(job, 0, "slow", lambda _: bring_to(end, buckets, job, merge))
    assert names(buckets, job) == sorted([f"{end}.json", "manifest.json", "verdict.json"])


@pytest.mark.parametrize("end", ["failed", "published"])
def test_what_a_worker_left_that_died_too_late_is_deleted_with_its_next_delivery(
    end: str, buckets: Buckets, topics: Topics, job: Planned, merge: Post, worker: Post
) -> None:
    bring_to(end, buckets, job, merge)
    find_segment(buckets, job, 0)
    do_segment(buckets, job, 0)
    put_claim(buckets, job, 0, "dead", seconds=-1)
    segments = topics.all(topics.segments_done)
    assert worker(job.task(0)) == 200
    assert names(buckets, job) == sorted([f"{end}.json", "manifest.json", "verdict.json"])
    assert topics.all(topics.segments_done) == segments


@pytest.mark.parametrize("end", ["failed", "published"])
def test_a_given_up_message_cleans_up_after_its_worker(
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


def test_a_manifest_that_can_t_be_read_keeps_no_embedding_and_the_failure_is_told_once(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    linked = leave_everything(buckets, planned)
    task = linked.task(1)
    buckets.put(buckets.work, object_names.manifest(linked.job), b"{no manifest")
    fail(linked)
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]
    assert [worker(task), worker(task)] == [200, 200]
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]
    # No manifest says of which channel it is: there is nobody to tell, and the log has told it.
    assert topics.events() == []


@pytest.mark.parametrize("name", ["failed.json", "verdict.json"])
@pytest.mark.parametrize("who", ["worker", "merge", "dead_letter"])
def test_an_end_that_can_t_be_read_keeps_no_embedding(
    who: str, name: str, buckets: Buckets, topics: Topics, planned: Planned, request: pytest.FixtureRequest
) -> None:
    fail(planned)
    linked = leave_everything(buckets, planned)
    buckets.put(buckets.work, object_names.job_prefix(planned.job) + name, b"{nothing that can be read")
    push = linked.task(1) if who == "worker" else linked.done(1)
    assert request.getfixturevalue(who)(push) == 200
    assert names(buckets, linked) == ["failed.json", "manifest.json", "verdict.json"]
