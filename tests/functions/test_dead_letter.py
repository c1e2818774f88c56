import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import JobEvent, JobEventData, Published
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Post, Push, Topics, push_body, upload_push
from tests.functions.records import failure_of, put_lease
from tests.inbox import document
from tests.planned import VIDEO, Planned, do_all_segments, find_segment, link_job
from tests.proxy import Proxy

GAVE_UP = {
    "CloudPubSubDeadLetterSourceDeliveryCount": "7",
    "CloudPubSubDeadLetterSourceSubscription": "some-subscription",
    "CloudPubSubDeadLetterSourceSubscriptionProject": "defacer-test",
}


def dead_letter_of(push: Push, waited: str = "3") -> Push:
    """Return the push with the attributes of a dead letter. By default it was already requeued as often as allowed."""
    message = push["message"]
    attributes = message["attributes"] | GAVE_UP | {"requeues": waited, "deliveries": "100"}
    return push | {"message": message | {"attributes": attributes}}


@pytest.mark.parametrize("stage", ["worker", "merge"])
def test_dead_letter_fails_its_job(
    stage: str, buckets: Buckets, topics: Topics, job: Planned, dead_letter: Post
) -> None:
    buckets.put(buckets.work, object_names.gallery(job.job, "ab" * 32), b"embeddings")
    find_segment(buckets, job, 0)
    push = job.task(1) if stage == "worker" else job.done(1)
    assert dead_letter(dead_letter_of(push)) == 200
    failed = failure_of(buckets, job.job)
    assert (failed.stage, failed.code, failed.source) == (stage, "exhausted", job.manifest.source)
    for part in ("walk.mp4", stage, "107 attempts", job.job, "Upload it again"):
        assert part in failed.message
    (event,) = topics.events()
    assert (event["type"], event["id"], event["data"]["code"]) == (
        "job.failed",
        f"{job.job}-failed",
        "exhausted",
    )
    assert event["data"]["channel"] == "street"
    stays = [object_names.failed(job.job), job.ref.name, object_names.verdict(job.job)]
    assert buckets.names(buckets.work) == stays


@pytest.mark.parametrize("stage", ["worker", "merge"])
def test_dead_letter_of_a_passed_step_does_not_fail_the_job(
    stage: str, buckets: Buckets, topics: Topics, planned: Planned, dead_letter: Post
) -> None:
    link_job(buckets, planned)
    find_segment(buckets, planned, 0)  # left by the dead worker of that message
    push = planned.task(0) if stage == "worker" else planned.done(0)
    assert dead_letter(dead_letter_of(push)) == 200
    assert buckets.names(buckets.work) == [object_names.faces(planned.job), planned.ref.name]
    assert topics.events() == []


def test_linked_job_without_dispatch_fails(
    buckets: Buckets, topics: Topics, planned: Planned, dead_letter: Post
) -> None:
    """The lease still exists, so the merge that linked the faces died before it dispatched them."""
    link_job(buckets, planned)
    buckets.put(buckets.work, object_names.link_lease(planned.job), b"a dead linker's")
    assert dead_letter(dead_letter_of(planned.done(0))) == 200
    assert failure_of(buckets, planned.job).code == "exhausted"


def test_dead_letter_of_an_unplanned_upload_fails_a_job(
    buckets: Buckets, topics: Topics, dead_letter: Post
) -> None:
    ref = buckets.put(buckets.intake, VIDEO, b"whatever")
    assert dead_letter(dead_letter_of(upload_push(ref))) == 200
    job = object_names.job_of(ref)
    failed = failure_of(buckets, job)
    assert (failed.stage, failed.code, failed.source) == ("ingest", "exhausted", ref)
    assert [event["subject"] for event in topics.events()] == [job]


def test_duplicate_dead_letter_fails_the_job_once(
    buckets: Buckets, topics: Topics, planned: Planned, dead_letter: Post
) -> None:
    assert dead_letter(dead_letter_of(planned.task(0, "1"))) == 200
    first = buckets.blob(buckets.work, object_names.failed(planned.job)).generation
    assert dead_letter(dead_letter_of(planned.done(1, "2"))) == 200
    assert dead_letter(dead_letter_of(planned.task(0, "1"))) == 200
    assert buckets.blob(buckets.work, object_names.failed(planned.job)).generation == first
    assert len(topics.events()) == 1


def test_dead_letter_of_a_published_job_deletes_embeddings(
    buckets: Buckets, topics: Topics, planned: Planned, dead_letter: Post
) -> None:
    published = Published(job=planned.job, result=None, report="r")
    buckets.put(buckets.work, object_names.published(planned.job), published.model_dump_json().encode())
    buckets.put(buckets.work, object_names.gallery(planned.job, "ab" * 32), b"embeddings")
    assert dead_letter(dead_letter_of(planned.done(1))) == 200
    assert buckets.names(buckets.work) == [planned.ref.name, object_names.published(planned.job)]
    assert topics.events() == []


def test_dead_letter_waits_while_the_job_is_published(
    buckets: Buckets, topics: Topics, planned: Planned, dead_letter: Post
) -> None:
    put_lease(buckets, object_names.merge_lease(planned.job), seconds=600)
    assert dead_letter(dead_letter_of(planned.task(0))) == 503
    assert object_names.failed(planned.job) not in buckets.names(buckets.work)
    put_lease(buckets, object_names.merge_lease(planned.job))
    assert dead_letter(dead_letter_of(planned.task(0))) == 200
    assert failure_of(buckets, planned.job).code == "exhausted"


def test_job_failed_by_dead_letter_is_never_published(
    buckets: Buckets,
    topics: Topics,
    job: Planned,
    dead_letter: Post,
    app: Callable[[str], FlaskClient],
) -> None:
    assert dead_letter(dead_letter_of(job.task(0))) == 200
    do_all_segments(buckets, job)
    assert app("merge").post("/", json=job.done(0)).status_code == 200
    assert buckets.names(buckets.output) == []


@pytest.mark.parametrize(
    ("data", "attributes"),
    [
        (b"hello", {}),
        (b"hello", {"type": "segment-task"}),
        (b"{}", {"type": "segment-done"}),
        (b"{}", {"type": "something-else"}),
        (b"{}", {"eventType": "OBJECT_FINALIZE"}),
    ],
)
def test_unknown_dead_letter_is_logged_and_acknowledged(
    data: bytes,
    attributes: Any,
    buckets: Buckets,
    topics: Topics,
    dead_letter: Post,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert dead_letter(dead_letter_of(push_body(data, attributes))) == 200
    assert buckets.names(buckets.work) == []
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["severity"], line["code"], line["function"]) == ("ERROR", "malformed-message", "dead_letter")


@pytest.mark.parametrize("name", ["channels/street/policy.json", "readme.txt"])
def test_dead_letter_of_another_object_is_ignored(
    name: str, buckets: Buckets, topics: Topics, dead_letter: Post
) -> None:
    ref = ObjectRef(bucket=buckets.intake, name=name, generation=1)
    assert dead_letter(dead_letter_of(upload_push(ref))) == 200
    assert (
        dead_letter(dead_letter_of(upload_push(ref.model_copy(update={"bucket": "other", "name": VIDEO}))))
        == 200
    )
    assert buckets.names(buckets.work) == []


@pytest.mark.parametrize("failing", range(0, 14, 2))
def test_storage_outage_is_retried_until_it_succeeds(
    failing: int,
    buckets: Buckets,
    topics: Topics,
    planned: Planned,
    dead_letter: Post,
    proxy: Proxy,
) -> None:
    buckets.put(buckets.work, object_names.gallery(planned.job, "ab" * 32), b"embeddings")
    with proxy.failing(lambda method, path: len(proxy.requests) > failing):
        assert dead_letter(dead_letter_of(planned.task(0))) == 503
    if object_names.merge_lease(planned.job) in buckets.names(buckets.work):
        put_lease(buckets, object_names.merge_lease(planned.job))  # as if the lease had expired
    assert dead_letter(dead_letter_of(planned.task(0))) == 200
    assert failure_of(buckets, planned.job).code == "exhausted"
    assert {event["id"] for event in topics.events()} == {f"{planned.job}-failed"}
    assert buckets.names(buckets.work, object_names.gallery_prefix(planned.job)) == []


def test_dead_letter_of_an_event_is_logged_and_fails_no_job(
    buckets: Buckets,
    topics: Topics,
    job: Planned,
    dead_letter: Post,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = JobEventData(job=job.job, channel="street", source=job.manifest.source)
    event = JobEvent(id="1", type="job.completed", subject=job.job, data=data)
    before = buckets.names(buckets.work)
    assert (
        dead_letter(dead_letter_of(push_body(event.model_dump_json().encode(), {"type": event.type}))) == 200
    )
    assert buckets.names(buckets.work) == before
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["severity"], line["job"]) == ("ERROR", job.job)
    assert "not delivered" in line["message"]


def test_segment_without_free_worker_is_requeued(
    buckets: Buckets, topics: Topics, job: Planned, dead_letter: Post
) -> None:
    """Its message is requeued a few times, however long the backlog is."""
    for waited in ("0", "2"):
        assert dead_letter(dead_letter_of(job.task(1), waited)) == 200
    anew = topics.all(topics.segments)
    assert [push["message"]["attributes"]["requeues"] for push in anew] == ["1", "3"]
    assert {SegmentTask.model_validate(document(push)) for push in anew} == {job.segment_task(1)}
    assert object_names.failed(job.job) not in buckets.names(buckets.work)
    assert topics.events() == []
    for waited in ("3", "many", "-1", "\u0663"):
        assert dead_letter(dead_letter_of(job.task(1), waited)) == 200
    assert failure_of(buckets, job.job).code == "exhausted"
    assert len(topics.all(topics.segments)) == 2


@pytest.mark.parametrize("kind", ["uploads", "segments_done"])
def test_dead_letter_after_storage_outage_is_requeued_once(
    kind: str, buckets: Buckets, topics: Topics, planned: Planned, dead_letter: Post
) -> None:
    """Storage is available again when dead_letter requeues it. The job fails if the message is exhausted again."""
    push = upload_push(planned.manifest.source) if kind == "uploads" else planned.done(1)
    assert dead_letter(dead_letter_of(push, "0")) == 200
    (anew,) = topics.all(getattr(topics, kind))
    assert document(anew) == document(push)
    attributes = push["message"]["attributes"]
    assert anew["message"]["attributes"] == attributes | {"requeues": "1", "deliveries": "107"}
    assert object_names.failed(planned.job) not in buckets.names(buckets.work)
    assert dead_letter(dead_letter_of(anew, "1")) == 200
    assert failure_of(buckets, planned.job).code == "exhausted"
    assert len(topics.all(getattr(topics, kind))) == 1


def test_failure_counts_attempts_of_all_requeues(
    buckets: Buckets, topics: Topics, job: Planned, dead_letter: Post
) -> None:
    push = job.task(0)
    for _ in range(3):
        message = push["message"]
        dead_letter(push | {"message": message | {"attributes": message["attributes"] | GAVE_UP}})
        push = topics.all(topics.segments)[-1]
    assert push["message"]["attributes"]["deliveries"] == "21"
    message = push["message"]
    dead_letter(push | {"message": message | {"attributes": message["attributes"] | GAVE_UP}})
    assert "did not finish in 28 attempts" in failure_of(buckets, job.job).message


def test_dead_letter_without_delivery_count_says_many_attempts(
    buckets: Buckets, topics: Topics, job: Planned, dead_letter: Post
) -> None:
    push = dead_letter_of(job.task(0))
    attributes = push["message"]["attributes"] | {"deliveries": "often"}
    assert dead_letter(push | {"message": push["message"] | {"attributes": attributes}}) == 200
    assert "did not finish in many attempts" in failure_of(buckets, job.job).message
