"""An upload that is replaced or deleted while it is being processed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.lifecycle import job_state, step_marks
from defacer.pipeline.media_engine import JoinedVideo, JoinInput, RedactedSegment, StepInput
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import job_of
from defacer.worker.detect_step import detect_and_announce
from defacer.worker.engine_adapter import WorkerEngine
from defacer.worker.redact_step import redact_and_announce
from tests.cloud import Buckets, Environment, Post, Topics, upload_push
from tests.functions.merging import REPORT, RESULT
from tests.functions.records import failure_of
from tests.media_engines import with_operations
from tests.planned import VIDEO, Planned, do_all_segments, find_all_segments, link_job


@pytest.fixture
def versioned(buckets: Buckets, topics: Topics, environment: Environment) -> str:
    """An intake bucket with object versioning, which keeps a replaced upload for its job."""
    bucket = buckets.client.bucket(f"versioned-{buckets.intake}")
    bucket.versioning_enabled = True
    buckets.client.create_bucket(bucket)
    environment(intake_bucket=bucket.name)
    return str(bucket.name)


def planned_of(buckets: Buckets, clip: Path, source: ObjectRef) -> Planned:
    found = job_state.find_manifest(job_of(source))
    assert found is not None
    return link_job(buckets, Planned(clip, *found))


@pytest.mark.parametrize("first_done", ["older", "newer"])
def test_second_upload_is_a_second_job_with_newer_result(
    first_done: str, versioned: str, buckets: Buckets, topics: Topics, clip: Path, ingest: Post, merge: Post
) -> None:
    older = buckets.put(versioned, VIDEO, clip)
    assert ingest(upload_push(older)) == 200
    newer = buckets.put(versioned, VIDEO, clip)
    assert ingest(upload_push(newer)) == 200
    assert job_of(older) != job_of(newer)
    order = [older, newer] if first_done == "older" else [newer, older]
    for source in order:
        linked = planned_of(buckets, clip, source)
        do_all_segments(buckets, linked)
        assert merge(linked.done(1)) == 200
    assert buckets.names(buckets.output) == [RESULT, REPORT]
    for name in (RESULT, REPORT):
        assert buckets.blob(buckets.output, name).metadata["defacer-job"] == job_of(newer)
    ends = [
        Published.model_validate_json(buckets.get(buckets.work, object_names.published(job_of(source))))
        for source in (older, newer)
    ]
    assert [end.superseded for end in ends] == [first_done == "newer", False]
    events = {event["subject"]: event for event in topics.events() if event["type"] == "job.completed"}
    assert events.keys() == {job_of(older), job_of(newer)}
    said = events[job_of(older)]["data"]["message"]
    assert said == ("A newer upload of this video was published before." if first_done == "newer" else None)


@pytest.fixture
def deleted(buckets: Buckets) -> Callable[[], None]:
    """Return a call that deletes the upload, as its owner can."""
    return lambda: buckets.client.bucket(buckets.intake).blob(VIDEO).delete()


def assert_failed_cleanly(buckets: Buckets, topics: Topics, source: ObjectRef, stage: str) -> None:
    job = job_of(source)
    failed = failure_of(buckets, job)
    assert (failed.stage, failed.code, failed.source) == (stage, "source-gone", source)
    assert failed.message == (
        f"{object_names.owner_name(source.name)} was deleted or replaced while its video was being processed. "
        "Upload the video again."
    )
    manifest = [object_names.manifest(job)] if stage != "ingest" else []
    assert buckets.names(buckets.work, object_names.JOBS) == [
        object_names.failed(job),
        *manifest,
        object_names.verdict(job),
    ]
    assert buckets.names(buckets.output) == []
    assert [event["type"] for event in topics.events() if event["type"] != "job.planned"] == ["job.failed"]


def test_source_deleted_before_planning_fails_the_job(
    buckets: Buckets, topics: Topics, clip: Path, deleted: Callable[[], None], ingest: Post
) -> None:
    source = buckets.put(buckets.intake, VIDEO, clip)
    deleted()
    assert ingest(upload_push(source)) == 200
    assert_failed_cleanly(buckets, topics, source, "ingest")


def test_source_deleted_before_detection_fails_the_job(
    buckets: Buckets, topics: Topics, planned: Planned, deleted: Callable[[], None], worker: Post
) -> None:
    assert worker(planned.task(1)) == 200
    deleted()
    assert worker(planned.task(0)) == 200
    assert_failed_cleanly(buckets, topics, planned.manifest.source, "worker")


def test_failure_without_its_marks_is_finished_by_the_next_delivery(
    buckets: Buckets, topics: Topics, planned: Planned, deleted: Callable[[], None], worker: Post,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The worker that fails the job dies before it marks the steps as over. Its message is redelivered."""

    def die(*_: object) -> None:
        raise RetryableError("the process ended")

    deleted()
    with monkeypatch.context() as patch:
        patch.setattr(step_marks, "mark_steps_over", die)
        assert worker(planned.task(0)) == 503
    assert [worker(planned.task(0)), worker(planned.task(0))] == [503, 200]
    assert_failed_cleanly(buckets, topics, planned.manifest.source, "worker")


def test_source_deleted_during_detection_fails_the_job(
    buckets: Buckets, topics: Topics, planned: Planned, deleted: Callable[[], None]
) -> None:
    def delete_then_detect(step: StepInput) -> bytes:
        deleted()
        return WorkerEngine().detect(step)

    detect_and_announce(
        planned.segment_task(0), "1", with_operations(WorkerEngine(), detect=delete_then_detect)
    )
    assert_failed_cleanly(buckets, topics, planned.manifest.source, "worker")


def test_source_deleted_between_the_steps_fails_the_job(
    buckets: Buckets, topics: Topics, planned: Planned, deleted: Callable[[], None], merge: Post, worker: Post
) -> None:
    find_all_segments(buckets, planned)
    assert merge(planned.done(1)) == 200
    deleted()
    for push in topics.all(topics.segments):
        assert worker(push) == 200
    assert_failed_cleanly(buckets, topics, planned.manifest.source, "worker")


def test_source_deleted_during_redaction_fails_the_job(
    buckets: Buckets, topics: Topics, linked: Planned, deleted: Callable[[], None], worker: Post
) -> None:
    assert worker(linked.task(1)) == 200

    def too_late(step: StepInput, faces: bytes, out: Path) -> RedactedSegment:
        deleted()
        return WorkerEngine().redact(step, faces, out)

    redact_and_announce(linked.segment_task(0), "1", with_operations(WorkerEngine(), redact=too_late))
    assert_failed_cleanly(buckets, topics, linked.manifest.source, "worker")


@pytest.mark.parametrize("when", ["before", "while"])
def test_source_deleted_before_or_during_join_fails_the_job(
    when: str, buckets: Buckets, topics: Topics, linked: Planned, deleted: Callable[[], None]
) -> None:
    do_all_segments(buckets, linked)
    if when == "before":
        deleted()

    def joined(parts: JoinInput) -> JoinedVideo:
        if when == "while":
            deleted()
        return MergeEngine().join(parts)

    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=joined))
    assert_failed_cleanly(buckets, topics, linked.manifest.source, "merge")


def test_source_deleted_after_join_does_not_fail_the_job(
    buckets: Buckets, topics: Topics, linked: Planned, deleted: Callable[[], None]
) -> None:
    do_all_segments(buckets, linked)

    def joined(parts: JoinInput) -> JoinedVideo:
        made = MergeEngine().join(parts)
        deleted()
        return made

    join_and_publish(linked.segment_done(0), "1", with_operations(MergeEngine(), join=joined))
    assert buckets.names(buckets.output) == [RESULT, REPORT]
    assert [event["type"] for event in topics.events()] == ["job.completed"]
