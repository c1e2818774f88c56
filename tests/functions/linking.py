"""Helpers for tests of linking, and an engine that links nothing."""

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.media_engine import LinkedFaces, LinkInput, MediaEngine
from defacer.pipeline.storage import object_names
from defacer.report.faces import Faces
from tests.cloud import Buckets, Topics
from tests.functions.records import failure_of
from tests.inbox import document
from tests.planned import Planned, find_all_segments, linked_of
from tests.sentences import require_plain

# The requests of a link of three segments with a gallery. A test fails if the number changes.
REQUESTS_OF_A_LINK = 25


class LinkingEngine(MediaEngine):
    """Link as the engine does for a video without faces. `read` are the inputs in order."""

    def __init__(self, planned: Planned):
        self.read: list[bytes] = []
        self._linked = linked_of(planned)

    def link(self, job: LinkInput) -> LinkedFaces:
        self.read = [data for _, data in job.detections]
        return self._linked


def store_inputs_of_link(buckets: Buckets, planned: Planned) -> None:
    """Store all segment detections, and a gallery that is deleted with them."""
    buckets.put(buckets.work, object_names.gallery(planned.job, "ab" * 32), b"embeddings")
    find_all_segments(buckets, planned)


def redact_tasks(topics: Topics) -> list[SegmentTask]:
    return [SegmentTask.model_validate(document(push)) for push in topics.all(topics.segments)]


def embeddings(buckets: Buckets, planned: Planned) -> list[str]:
    """Return the names of all objects of a job that contain embeddings."""
    prefixes = (object_names.segment_detections_prefix(planned.job), object_names.gallery_prefix(planned.job))
    return [name for prefix in prefixes for name in buckets.names(buckets.work, prefix)]


def assert_linked(buckets: Buckets, topics: Topics, planned: Planned) -> None:
    """Assert that the faces were stored once and dispatched, and that nothing else is left."""
    blob = buckets.blob(buckets.work, object_names.faces(planned.job))
    faces = ObjectRef(bucket=buckets.work, name=blob.name, generation=blob.generation)
    stored = Faces.from_bytes(buckets.get(buckets.work, blob.name))
    assert stored.segments == tuple(len(planned.frames(index)) for index in range(3))
    assert stored.frames == sum(stored.segments)
    tasks = redact_tasks(topics)
    assert {task.index for task in tasks} == set(range(len(planned.manifest.segments)))
    assert {(task.job, task.step, task.faces) for task in tasks} == {(planned.job, "redact", faces)}
    assert {task.manifest for task in tasks} == {planned.ref}
    assert buckets.names(buckets.work) == [faces.name, planned.ref.name]
    assert topics.events() == []


def assert_failed(buckets: Buckets, topics: Topics, planned: Planned, code: str) -> Failed:
    """Assert that the job has failed, that nothing was dispatched, and that no embedding is left."""
    failed = failure_of(buckets, planned.job)
    assert (failed.stage, failed.code) == ("merge", code)
    require_plain(failed.message)
    assert object_names.faces(planned.job) not in buckets.names(buckets.work)
    assert redact_tasks(topics) == []
    assert embeddings(buckets, planned) == []
    assert [event["type"] for event in topics.events()] == ["job.failed"]
    return failed
