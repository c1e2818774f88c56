"""Jobs that are rolled back, and jobs without their manifest: each ends once."""

from pathlib import Path

import pytest

from defacer.ingest.engine_adapter import IngestEngine
from defacer.ingest.plan_job import plan_upload_job
from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.lifecycle import failure, finalize, job_state, verdict
from defacer.pipeline.media_engine import TargetGallery
from defacer.pipeline.storage import object_names, objects
from tests.cloud import Buckets, Post, Topics
from tests.functions.merging import REPORT, RESULT, assert_published, published_of
from tests.functions.records import failure_of
from tests.functions.test_dead_letter import dead_letter_of
from tests.functions.test_job_end import ERROR, copy_result, crash_after_verdict, never
from tests.media_engines import with_operations
from tests.planned import Planned, do_all_segments, link_job, plan_job

TARGET = "channels/street/targets/Eileen.png"
ENGINE = with_operations(
    IngestEngine(),
    embed_targets=lambda pictures, recognizer: TargetGallery((), b""),
    require_replacement=lambda ref: None,
)


def assert_failed_once(buckets: Buckets, topics: Topics, planned: Planned, code: str) -> None:
    assert failure_of(buckets, planned.job).code == code
    assert object_names.published(planned.job) not in buckets.names(buckets.work)
    # A duplicate event has the same id.
    assert {(event["type"], event["id"]) for event in topics.events()} == {
        ("job.failed", f"{planned.job}-failed")
    }
    assert buckets.names(buckets.work, object_names.merge_prefix(planned.job)) == []


@pytest.mark.parametrize("who", ["merge", "dead_letter"])
def test_foreign_report_rolls_back_the_published_result(
    who: str, buckets: Buckets, topics: Topics, linked: Planned, merge: Post, dead_letter: Post
) -> None:
    crash_after_verdict(buckets, linked)
    copy_result(linked)
    buckets.put(buckets.output, REPORT, b"somebody else's")
    assert (
        merge(linked.done(0)) == 200 if who == "merge" else dead_letter(dead_letter_of(linked.done(0))) == 200
    )
    assert_failed_once(buckets, topics, linked, "result-exists")
    assert buckets.names(buckets.output) == [REPORT]
    assert buckets.get(buckets.output, REPORT) == b"somebody else's"
    assert {merge(linked.done(1)), dead_letter(dead_letter_of(linked.done(1)))} == {200}
    assert_failed_once(buckets, topics, linked, "result-exists")


def test_merge_stalled_before_the_report_cannot_publish(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    crash_after_verdict(buckets, linked)
    copies = 0

    def roll_back() -> None:
        """Called by each copy before it starts. During the second one, another process fails the job."""
        nonlocal copies
        copies += 1
        if copies == 2:
            buckets.put(buckets.output, REPORT, b"somebody else's")
            assert finalize.apply_verdict(linked.manifest, lambda: None) is None
            buckets.client.bucket(buckets.output).blob(REPORT).delete()

    assert finalize.apply_verdict(linked.manifest, roll_back) is None
    assert copies == 2
    assert buckets.names(buckets.output) == []
    assert_failed_once(buckets, topics, linked, "result-exists")


def test_published_job_is_not_rolled_back(
    buckets: Buckets, topics: Topics, linked: Planned, dead_letter: Post
) -> None:
    """After the verdict, an object over the report is like one that is uploaded a day later."""
    crash_after_verdict(buckets, linked)
    copy_result(linked)
    said = verdict.find_verdict(linked.job)
    assert said is not None
    result = objects.reference(buckets.blob(buckets.output, RESULT))
    verdict.change_verdict(*said, state="published_pending", result=result)
    buckets.put(buckets.output, REPORT, b"somebody else's")
    assert dead_letter(dead_letter_of(linked.done(0))) == 200
    assert_published(buckets, topics, linked)


@pytest.mark.parametrize("left", ["rolling_back", "failing"])
def test_interrupted_rollback_is_continued(
    left: str, buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    crash_after_verdict(buckets, linked)
    if left == "rolling_back":
        copy_result(linked)
    said = verdict.find_verdict(linked.job)
    assert said is not None
    failed = failure.failure_record(linked.job, linked.manifest.source, ERROR)
    verdict.change_verdict(*said, state=left, failed=failed)
    join_and_publish(linked.segment_done(1), "second", with_operations(MergeEngine(), join=never))
    assert_failed_once(buckets, topics, linked, "poison-segment")
    assert buckets.names(buckets.output) == []


@pytest.mark.parametrize("out", [False, True])
def test_job_with_verdict_ends_without_manifest(
    out: bool, buckets: Buckets, topics: Topics, linked: Planned, merge: Post, dead_letter: Post
) -> None:
    """The bucket's lifecycle rule deletes the manifest of an old job."""
    crash_after_verdict(buckets, linked)
    if out:
        copy_result(linked)
    buckets.client.bucket(buckets.work).blob(linked.ref.name).delete()
    assert merge(linked.done(0)) == 503
    assert dead_letter(dead_letter_of(linked.done(0))) == 200
    if out:
        assert published_of(buckets, linked).result == objects.reference(buckets.blob(buckets.output, RESULT))
        assert buckets.names(buckets.output) == [RESULT, REPORT]
        (event,) = topics.events()
        assert (event["type"], event["data"]["source"]) == (
            "job.completed",
            linked.manifest.source.model_dump(),
        )
    else:
        assert_failed_once(buckets, topics, linked, "exhausted")
        assert failure_of(buckets, linked.job).source == linked.manifest.source
        assert buckets.names(buckets.output) == []
    left = {
        object_names.verdict(linked.job),
        (object_names.published if out else object_names.failed)(linked.job),
    }
    assert set(buckets.names(buckets.work)) == left
    assert dead_letter(dead_letter_of(linked.done(0))) == 200


def test_verdict_with_foreign_source_is_refused(
    buckets: Buckets, topics: Topics, linked: Planned, dead_letter: Post
) -> None:
    crash_after_verdict(buckets, linked)
    said = verdict.find_verdict(linked.job)
    assert said is not None
    other = linked.manifest.source.model_copy(update={"name": "channels/other/videos/walk.mp4"})
    verdict.change_verdict(*said, source=other)
    buckets.client.bucket(buckets.work).blob(linked.ref.name).delete()
    assert dead_letter(dead_letter_of(linked.done(0))) == 503


def test_late_upload_message_keeps_the_manifest(
    buckets: Buckets, topics: Topics, clip: Path, merge: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target's picture was deleted, and the planning read the state before the job was linked."""
    buckets.put(buckets.intake, TARGET, b"a picture")
    planned = plan_job(buckets, clip, targets=("Eileen",))
    linked = link_job(buckets, planned)
    do_all_segments(buckets, linked)
    crash_after_verdict(buckets, linked)
    buckets.client.bucket(buckets.intake).blob(TARGET).delete()
    with monkeypatch.context() as patch:
        patch.setattr(job_state, "is_detection_over", lambda job: False)
        with pytest.raises(Exception, match="being published"):
            plan_upload_job(planned.manifest.source, ENGINE)
    assert merge(linked.done(1)) == 200
    assert_published(buckets, topics, linked)


def test_manifest_of_a_forgotten_person_is_deleted(buckets: Buckets, topics: Topics, clip: Path) -> None:
    """A planning that writes the manifest again deletes it too."""
    planned = plan_job(buckets, clip, targets=("Eileen",))
    for _ in range(2):
        plan_upload_job(planned.manifest.source, ENGINE)
        assert_failed_once(buckets, topics, planned, "target-gone")
        assert set(buckets.names(buckets.work)) == {
            object_names.verdict(planned.job),
            object_names.failed(planned.job),
        }
        buckets.put(buckets.work, planned.ref.name, planned.manifest.model_dump_json().encode())


def test_late_copy_is_rolled_back_by_its_merge(
    buckets: Buckets, topics: Topics, linked: Planned, monkeypatch: pytest.MonkeyPatch, dead_letter: Post
) -> None:
    crash_after_verdict(buckets, linked)
    said = verdict.find_verdict(linked.job)
    assert said is not None
    made = [ref for ref in (said[0].result, said[0].report) if ref is not None]
    copied = {ref.name: buckets.get(ref.bucket, ref.name) for ref in made}

    def late(ref: ObjectRef, bucket: str, name: str, metadata: dict[str, str], **_: object) -> ObjectRef:
        """The job fails after the copy has started and before it is done."""
        if object_names.failed(linked.job) not in buckets.names(buckets.work):
            assert dead_letter(dead_letter_of(linked.done(0))) == 200
            assert_failed_once(buckets, topics, linked, "exhausted")
        blob = buckets.client.bucket(bucket).blob(name)
        blob.metadata = dict(metadata)
        blob.upload_from_string(copied[ref.name])
        return objects.reference(blob)

    monkeypatch.setattr(objects, "copy", late)
    assert finalize.apply_verdict(linked.manifest, lambda: None) is None
    assert buckets.names(buckets.output) == []
    assert_failed_once(buckets, topics, linked, "exhausted")


@pytest.mark.parametrize("who", ["merge", "dead_letter"])
def test_late_copy_of_a_dead_merge_is_rolled_back(
    who: str, buckets: Buckets, topics: Topics, linked: Planned, merge: Post, dead_letter: Post
) -> None:
    crash_after_verdict(buckets, linked)
    copy_result(linked)
    landed = buckets.blob(buckets.output, RESULT)
    data, metadata = landed.download_as_bytes(), landed.metadata
    landed.delete()
    assert dead_letter(dead_letter_of(linked.done(0))) == 200
    late = buckets.client.bucket(buckets.output).blob(RESULT)
    late.metadata = metadata
    late.upload_from_string(data)
    push = linked.done(1) if who == "merge" else dead_letter_of(linked.done(1))
    assert (merge if who == "merge" else dead_letter)(push) == 200
    assert buckets.names(buckets.output) == []
