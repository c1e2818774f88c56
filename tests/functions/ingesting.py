"""Helpers for tests of ingest."""

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import job_of
from tests.cloud import Buckets, Topics
from tests.functions.records import failure_of
from tests.inbox import document

VIDEO = "channels/street/videos/walk.mp4"

POLICY = "channels/street/policy.json"


def manifest_of(buckets: Buckets, ref: ObjectRef) -> Manifest:
    return Manifest.model_validate_json(buckets.get(buckets.work, object_names.manifest(job_of(ref))))


def tasks(topics: Topics) -> list[SegmentTask]:
    pushes = topics.all(topics.segments)
    assert all(push["message"]["attributes"]["type"] == "segment-task" for push in pushes)
    return [SegmentTask.model_validate(document(push)) for push in pushes]


def assert_nothing_happened(buckets: Buckets, topics: Topics) -> None:
    assert buckets.names(buckets.work) == []
    assert topics.all(topics.segments) == []
    assert topics.events() == []


def assert_failed(buckets: Buckets, topics: Topics, ref: ObjectRef, code: str, *said: str) -> None:
    failed = failure_of(buckets, job_of(ref))
    assert (failed.stage, failed.code, failed.source) == ("ingest", code, ref)
    for part in said:
        assert part in failed.message
    left = buckets.names(buckets.work)
    assert [name for name in left if not name.startswith(object_names.MINUTES)] == [
        object_names.failed(job_of(ref)),
        object_names.verdict(job_of(ref)),
    ]
    assert topics.all(topics.segments) == []
    (event,) = topics.events()
    assert (event["type"], event["id"]) == ("job.failed", f"{failed.job}-failed")
    assert (event["data"]["code"], event["data"]["message"]) == (code, failed.message)
