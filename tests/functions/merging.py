"""Helpers for tests of merge."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed, Lease, Published
from defacer.pipeline.documents.segment_messages import SegmentReport
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Post, Topics
from tests.functions.records import failure_of
from tests.planned import Planned
from tests.servers import wait_until

RESULT = "channels/street/walk.mp4"

REPORT = "channels/street/walk.report.jsonl"


def published_of(buckets: Buckets, planned: Planned) -> Published:
    return Published.model_validate_json(buckets.get(buckets.work, object_names.published(planned.job)))


def change_report(buckets: Buckets, planned: Planned, of: int, **changes: object) -> None:
    name = object_names.segment_report(planned.job, of)
    report = SegmentReport.model_validate_json(buckets.get(buckets.work, name))
    buckets.put(buckets.work, name, report.model_copy(update=changes).model_dump_json().encode())


def assert_published(buckets: Buckets, topics: Topics, planned: Planned) -> None:
    """Assert that the result was published once, and that only the permanent objects are left."""
    published = published_of(buckets, planned)
    result = buckets.blob(buckets.output, RESULT)
    assert published.result == ObjectRef(bucket=buckets.output, name=RESULT, generation=result.generation)
    assert result.metageneration == 1
    assert buckets.names(buckets.output) == [RESULT, REPORT]
    stays = [planned.ref.name, object_names.published(planned.job), object_names.verdict(planned.job)]
    assert buckets.names(buckets.work, object_names.JOBS) == stays
    completed = [event for event in topics.events() if event["type"] == "job.completed"]
    assert {event["id"] for event in completed} == {f"{planned.job}-completed"}
    assert completed[0]["data"]["result"] == published.result.model_dump()


def assert_failed(buckets: Buckets, topics: Topics, planned: Planned, code: str) -> Failed:
    """Assert that the job has failed, and that nothing was published."""
    failed = failure_of(buckets, planned.job)
    assert (failed.stage, failed.code) == ("merge", code)
    assert buckets.names(buckets.output, RESULT) == []
    assert object_names.published(planned.job) not in buckets.names(buckets.work)
    assert [event["type"] for event in topics.events()] == ["job.failed"]
    return failed


# The requests of a merge of three segments. A test fails if the number changes.
REQUESTS_OF_A_MERGE = 76


def deliver_concurrently(merge: Post, planned: Planned) -> list[int]:
    """Deliver the messages of all three segments at the same moment, and return the statuses."""
    start = threading.Barrier(3)

    def deliver(index: int) -> int:
        start.wait()
        return merge(planned.done(index, f"message {index}"))

    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(deliver, range(3)))


def lease_expiry(buckets: Buckets, name: str) -> datetime:
    return Lease.model_validate_json(buckets.get(buckets.work, name)).expires_at


def wait_for_expiry(buckets: Buckets, name: str) -> None:
    wait_until(lambda: datetime.now(UTC) > lease_expiry(buckets, name), "the lease ran out")


def expire_lease(buckets: Buckets, name: str) -> None:
    """Let the lease of a dead holder expire, if it exists."""
    blob = buckets.blob(buckets.work, name)
    if blob is not None:
        lease = Lease.model_validate_json(blob.download_as_bytes())
        dead = lease.model_copy(update={"expires_at": datetime.now(UTC) - timedelta(seconds=1)})
        buckets.put(buckets.work, blob.name, dead.model_dump_json().encode())
