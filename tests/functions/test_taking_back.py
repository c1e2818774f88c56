"""A job that can't be published after all, and one that has lost its manifest: each still ends, once."""

from dataclasses import replace
from pathlib import Path

import pytest

from defacer.ingest.engine_adapter import IngestEngine
from defacer.ingest.plan_job import plan
from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.join_step import join_and_publish
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.lifecycle import failure, finalize, job_state, verdict
from defacer.pipeline.media_engine import TargetGallery
from defacer.pipeline.storage import object_names, objects
from tests.cloud import Buckets, Post, Topics
from tests.functions.merging import REPORT, RESULT, assert_published, failure_of, published_of
from tests.functions.test_dead_letter import given_up
from tests.functions.test_ending import ERROR, copy_result, crash_when_decided, never
from tests.media_engines import with_operations
from tests.planned import Planned, do_all_segments, link_job, plan_job

TARGET = "channels/street/targets/Eileen.png"
ENGINE = with_operations(
    IngestEngine(),
    embed_targets=lambda pictures, recognizer: TargetGallery((), b""),
    require_replacement=lambda ref: None,
)


def assert_failed_once(buckets: Buckets, topics: Topics, planned: Planned, code: str) -> None:
    assert failure_of(buckets, planned).code == code
    assert object_names.published(planned.job) not in buckets.names(buckets.work)
    # Told again, it is known by its id.
    assert {(event["type"], event["id"]) for event in topics.events()} == {
        ("job.failed", f"{planned.job}-failed")
    }
    assert buckets.names(buckets.work, object_names.merge_prefix(planned.job)) == []


@pytest.mark.parametrize("who", ["merge", "dead_letter"])
def test_a_foreign_report_that_came_after_the_result_was_out_fails_the_job_and_takes_the_result_back(
    who: str, buckets: Buckets, topics: Topics, linked: Planned, merge: Post, dead_letter: Post
) -> None:
    crash_when_decided(buckets, linked)
    copy_result(linked)
    buckets.put(buckets.output, REPORT, b"somebody else's")
    assert merge(linked.done(0)) == 200 if who == "merge" else dead_letter(given_up(linked.done(0))) == 200
    assert_failed_once(buckets, topics, linked, "result-exists")
    assert buckets.names(buckets.output) == [REPORT]
    assert buckets.get(buckets.output, REPORT) == b"somebody else's"
    assert {merge(linked.done(1)), dead_letter(given_up(linked.done(1)))} == {200}
    assert_failed_once(buckets, topics, linked, "result-exists")


def test_a_merger_that_stands_still_before_it_copies_the_report_can_t_publish_what_was_taken_back(
    buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    crash_when_decided(buckets, linked)
    copies = 0

    def taken_back() -> None:
        """Called by each copy when it has looked at everything; in the second, another fails the job."""
        nonlocal copies
        copies += 1
        if copies == 2:
            buckets.put(buckets.output, REPORT, b"somebody else's")
            assert finalize.apply_verdict(linked.manifest, lambda: None) is None
            buckets.client.bucket(buckets.output).blob(REPORT).delete()

    assert finalize.apply_verdict(linked.manifest, taken_back) is None
    assert copies == 2
    assert buckets.names(buckets.output) == []
    assert_failed_once(buckets, topics, linked, "result-exists")


def test_what_is_out_stays_out(buckets: Buckets, topics: Topics, linked: Planned, dead_letter: Post) -> None:
    """Once the verdict says so: whatever is put over the report then is like what is put there a day later."""
    crash_when_decided(buckets, linked)
    copy_result(linked)
    said = verdict.find(linked.job)
    assert said is not None
    result = objects.reference(buckets.blob(buckets.output, RESULT))
    verdict.change(*said, state="published_pending", result=result)
    buckets.put(buckets.output, REPORT, b"somebody else's")
    assert dead_letter(given_up(linked.done(0))) == 200
    assert_published(buckets, topics, linked)


@pytest.mark.parametrize("left", ["rolling_back", "failing"])
def test_a_taking_back_that_was_left_half_done_is_done_by_the_next(
    left: str, buckets: Buckets, topics: Topics, linked: Planned
) -> None:
    crash_when_decided(buckets, linked)
    if left == "rolling_back":
        copy_result(linked)
    said = verdict.find(linked.job)
    assert said is not None
    failed = failure.failure_record(linked.job, linked.manifest.source, ERROR)
    verdict.change(*said, state=left, failed=failed)
    join_and_publish(linked.segment_done(1), "second", with_operations(MergeEngine(), join=never))
    assert_failed_once(buckets, topics, linked, "code")
    assert buckets.names(buckets.output) == []


@pytest.mark.parametrize("out", [False, True])
def test_a_decided_job_that_lost_its_manifest_still_ends(
    out: bool, buckets: Buckets, topics: Topics, linked: Planned, merge: Post, dead_letter: Post
) -> None:
    """As when the bucket's lifecycle rule took it from a job of weeks."""
    crash_when_decided(buckets, linked)
    if out:
        copy_result(linked)
    buckets.client.bucket(buckets.work).blob(linked.ref.name).delete()
    assert merge(linked.done(0)) == 503
    assert dead_letter(given_up(linked.done(0))) == 200
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
        assert failure_of(buckets, linked).source == linked.manifest.source
        assert buckets.names(buckets.output) == []
    left = {
        object_names.verdict(linked.job),
        (object_names.published if out else object_names.failed)(linked.job),
    }
    assert set(buckets.names(buckets.work)) == left
    assert dead_letter(given_up(linked.done(0))) == 200


def test_a_verdict_that_names_the_video_of_another_job_is_not_followed(
    buckets: Buckets, topics: Topics, linked: Planned, dead_letter: Post
) -> None:
    crash_when_decided(buckets, linked)
    said = verdict.find(linked.job)
    assert said is not None
    other = linked.manifest.source.model_copy(update={"name": "channels/other/videos/walk.mp4"})
    verdict.change(*said, source=other)
    buckets.client.bucket(buckets.work).blob(linked.ref.name).delete()
    assert dead_letter(given_up(linked.done(0))) == 503


def test_an_upload_that_comes_again_takes_no_manifest_from_a_job_that_is_being_published(
    buckets: Buckets, topics: Topics, clip: Path, merge: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its target's picture went, and it saw the job before it was linked."""
    buckets.put(buckets.intake, TARGET, b"a picture")
    planned = plan_job(buckets, clip, targets=("Eileen",))
    linked = link_job(buckets, planned)
    do_all_segments(buckets, linked)
    crash_when_decided(buckets, linked)
    buckets.client.bucket(buckets.intake).blob(TARGET).delete()
    with monkeypatch.context() as patch:
        read_job = job_state.read_job
        patch.setattr(job_state, "read_job", lambda job: replace(read_job(job), faces=None))
        with pytest.raises(Exception, match="being published"):
            plan(planned.manifest.source, ENGINE)
    assert merge(linked.done(1)) == 200
    assert_published(buckets, topics, linked)


def test_a_manifest_that_keeps_somebody_whose_pictures_are_gone_goes_with_the_job(
    buckets: Buckets, topics: Topics, clip: Path
) -> None:
    """Whoever writes it again after that cleans it up, too."""
    planned = plan_job(buckets, clip, targets=("Eileen",))
    for _ in range(2):
        plan(planned.manifest.source, ENGINE)
        assert_failed_once(buckets, topics, planned, "target-gone")
        assert set(buckets.names(buckets.work)) == {
            object_names.verdict(planned.job),
            object_names.failed(planned.job),
        }
        buckets.put(buckets.work, planned.ref.name, planned.manifest.model_dump_json().encode())


def test_a_copy_that_lands_after_the_job_failed_is_taken_back_by_who_made_it(
    buckets: Buckets, topics: Topics, linked: Planned, monkeypatch: pytest.MonkeyPatch, dead_letter: Post
) -> None:
    crash_when_decided(buckets, linked)
    said = verdict.find(linked.job)
    assert said is not None
    made = [ref for ref in (said[0].result, said[0].report) if ref is not None]
    copied = {ref.name: buckets.get(ref.bucket, ref.name) for ref in made}

    def late(ref: ObjectRef, bucket: str, name: str, metadata: dict[str, str], **_: object) -> ObjectRef:
        """The copy was begun; before it is there, the job is given up."""
        if object_names.failed(linked.job) not in buckets.names(buckets.work):
            assert dead_letter(given_up(linked.done(0))) == 200
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
def test_a_copy_that_landed_late_is_taken_back_by_the_next_message_if_its_maker_died(
    who: str, buckets: Buckets, topics: Topics, linked: Planned, merge: Post, dead_letter: Post
) -> None:
    crash_when_decided(buckets, linked)
    copy_result(linked)
    landed = buckets.blob(buckets.output, RESULT)
    data, metadata = landed.download_as_bytes(), landed.metadata
    landed.delete()
    assert dead_letter(given_up(linked.done(0))) == 200
    late = buckets.client.bucket(buckets.output).blob(RESULT)
    late.metadata = metadata
    late.upload_from_string(data)
    push = linked.done(1) if who == "merge" else given_up(linked.done(1))
    assert (merge if who == "merge" else dead_letter)(push) == 200
    assert buckets.names(buckets.output) == []
