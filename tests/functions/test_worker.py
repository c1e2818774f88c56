"""The worker through its HTTP interface, with the real engine: cases of both steps."""

import json
from pathlib import Path

import pytest

from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.lifecycle import step_marks
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Post, Topics, push_body
from tests.functions.records import failure_of, put_failure
from tests.functions.working import count_frames_done, do_step, made
from tests.inbox import document
from tests.planned import VIDEO, Planned, link_job, plan_job


def test_step_is_done_and_announced(buckets: Buckets, topics: Topics, job: Planned, worker: Post) -> None:
    assert worker(job.task(1)) == 200
    assert count_frames_done(buckets, job, 1) == len(job.frames(1))
    assert buckets.names(buckets.work, object_names.leases_prefix(job.job)) == []
    (push,) = topics.all(topics.segments_done)
    assert push["message"]["attributes"] == {"type": "segment-done"}
    assert document(push) == {
        "version": 4,
        "subsegment": "",
        "job": job.job,
        "index": 1,
        "step": "redact" if job.faces else "detect",
        "manifest": job.ref.model_dump(),
        "faces": job.faces.model_dump() if job.faces else None,
    }


def test_finished_task_is_announced_again_but_not_repeated(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    do_step(buckets, job, 0)
    before = [buckets.blob(buckets.work, name).generation for name in made(buckets, job)]
    assert worker(job.task(0)) == 200
    after = [buckets.blob(buckets.work, name).generation for name in made(buckets, job)]
    assert after == before
    assert len(topics.all(topics.segments_done)) == 1


@pytest.mark.parametrize("end", ["published", "failed"])
def test_task_of_an_ended_job_is_acknowledged(
    end: str, buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    if end == "published":
        link_job(buckets, job)  # because every published job is linked
        published = Published(job=job.job, result=None, report="r")
        buckets.put(buckets.work, object_names.published(job.job), published.model_dump_json().encode())
        step_marks.mark_steps_over(job.job, *step_marks.STEPS)
    else:
        put_failure(buckets, job)
    assert worker(job.task(0)) == 200
    assert made(buckets, job) == []
    assert topics.all(topics.segments_done) == []


def test_next_message_announces_an_unannounced_failure(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    put_failure(buckets, planned)
    assert [worker(planned.task(index)) for index in (0, 1)] == [200, 200]
    (event,) = topics.events()
    assert (event["id"], event["data"]["message"]) == (f"{planned.job}-failed", "m")


@pytest.mark.parametrize(
    "change",
    [{"job": "no job"}, {"index": -1}, {"manifest": None}, {"more": 1}, {"version": 0}, {"step": "publish"}],
)
def test_malformed_task_is_acknowledged(
    change: dict[str, object], buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    body = job.segment_task(0).model_dump() | change
    assert worker(push_body(json.dumps(body).encode(), {"type": "segment-task"})) == 200
    assert made(buckets, job) == []


@pytest.mark.parametrize("index", [2, 99_999])
def test_task_outside_its_manifest_is_acknowledged(
    index: int, buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    before = buckets.names(buckets.work)
    assert worker(job.task(index)) == 200
    assert buckets.names(buckets.work) == before


def test_missing_source_fails_the_job(buckets: Buckets, topics: Topics, job: Planned, worker: Post) -> None:
    buckets.put(buckets.intake, VIDEO, b"a newer upload")
    assert worker(job.task(0)) == 200
    assert failure_of(buckets, job.job).code == "source-gone"


def test_missing_manifest_fails_the_job_without_event(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    buckets.client.bucket(buckets.work).blob(job.ref.name).delete()
    assert worker(job.task(0)) == 200
    failed = failure_of(buckets, job.job)
    assert (failed.code, failed.source) == ("object-gone", None)
    assert topics.events() == []


def test_truncated_source_fails_the_job(buckets: Buckets, topics: Topics, clip: Path, worker: Post) -> None:
    whole = clip.read_bytes()
    start = whole.index(b"mdat") + 4
    broken = whole[:start] + b"\xff" * (len(whole) // 2) + whole[start + len(whole) // 2 :]
    source = buckets.put(buckets.intake, VIDEO, broken)
    planned = plan_job(buckets, clip, source=source)
    assert worker(planned.task(0)) == 200
    failed = failure_of(buckets, planned.job)
    assert (failed.stage, failed.code) == ("worker", "not-a-video")
    assert failed.message.startswith("walk.mp4: ")
