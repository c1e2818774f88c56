"""Merge after the step "detect" through its HTTP interface, with the real engine."""

from fractions import Fraction
from pathlib import Path

import pytest

from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.merge.engine_adapter import MergeEngine
from defacer.merge.link_step import link_and_dispatch
from defacer.pipeline.lifecycle import step_marks
from defacer.pipeline.media_engine import LinkedFaces, LinkInput
from defacer.pipeline.storage import object_names
from tests.clips import Clip, write_clip
from tests.cloud import Buckets, Post, Topics
from tests.functions.linking import (
    LinkingEngine,
    assert_failed,
    assert_linked,
    embeddings,
    redact_tasks,
    store_inputs_of_link,
)
from tests.functions.records import failure_of, put_failure
from tests.media_engines import with_operations
from tests.planned import Planned, find_all_segments, find_segment, link_job, linked_of, plan_job
from tests.proxy import Proxy


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "walk.mp4", Clip(seconds=3))


def test_last_segment_links_and_dispatches_redaction(
    buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    buckets.put(buckets.work, object_names.gallery(planned.job, "ab" * 32), b"embeddings")
    for index in (2, 0, 1):
        assert redact_tasks(topics) == []
        find_segment(buckets, planned, index)
        assert merge(planned.done(index, str(index))) == 200
    assert_linked(buckets, topics, planned)
    assert len(redact_tasks(topics)) == 3
    assert buckets.names(buckets.output) == []


def test_segment_detections_are_read_in_video_order(
    buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    for index in (2, 0, 1):
        buckets.put(buckets.work, object_names.segment_detections(planned.job, index), str(index).encode())
    stand_in = LinkingEngine(planned)
    link_and_dispatch(planned.segment_done(1), "1", stand_in)
    assert stand_in.read == [b"0", b"1", b"2"]


def test_segment_detections_are_read_one_at_a_time(
    buckets: Buckets, topics: Topics, planned: Planned, proxy: Proxy
) -> None:
    """Otherwise memory would grow with the video."""
    find_all_segments(buckets, planned)

    def reads() -> int:
        return len(
            [path for _, path in proxy.requests if "segment-detections" in path and "alt=media" in path]
        )

    def counting(job: LinkInput) -> LinkedFaces:
        assert [reads() for _ in job.detections] == [1, 2, 3]
        return linked_of(planned)

    link_and_dispatch(planned.segment_done(0), "1", with_operations(MergeEngine(), link=counting))
    assert_linked(buckets, topics, planned)


def test_engine_gets_the_gallery(buckets: Buckets, topics: Topics, clip: Path) -> None:
    planned = plan_job(buckets, clip, gallery=b"embeddings")
    find_all_segments(buckets, planned)
    seen: list[bytes | None] = []

    def keeping(job: LinkInput) -> LinkedFaces:
        seen.append(job.gallery)
        return linked_of(planned)

    link_and_dispatch(planned.segment_done(0), "1", with_operations(MergeEngine(), link=keeping))
    assert seen == [b"embeddings"]
    assert_linked(buckets, topics, planned)


def test_missing_segment_detections_delay_linking(
    buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    for index in (0, 2):
        find_segment(buckets, planned, index)
        assert merge(planned.done(index)) == 200
    assert redact_tasks(topics) == []
    assert object_names.faces(planned.job) not in buckets.names(buckets.work)
    assert len(embeddings(buckets, planned)) == 2


def test_redelivery_after_linking_changes_nothing(
    buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    store_inputs_of_link(buckets, planned)
    assert merge(planned.done(2)) == 200
    assert {merge(planned.done(index, str(index))) for index in (0, 1, 2, 2)} == {200}
    assert_linked(buckets, topics, planned)
    assert len(redact_tasks(topics)) == 3


def test_message_of_a_failed_job_is_acknowledged(
    buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    find_all_segments(buckets, planned)
    put_failure(buckets, planned)
    assert merge(planned.done(2)) == 200
    assert redact_tasks(topics) == []
    assert embeddings(buckets, planned) == []


@pytest.mark.parametrize(("fault", "code"), [("no frame", "not-a-video"), ("another detector", "engine")])
def test_detections_that_do_not_link_fail_the_job(
    fault: str, code: str, buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    store_inputs_of_link(buckets, planned)
    for index in range(3):
        detector = "mtcnn" if fault == "another detector" and index else "centerface"
        found = SegmentDetections(detector, 0.5, None, 320, 180, Fraction(1, 12800), 0, ())
        buckets.put(buckets.work, object_names.segment_detections(planned.job, index), found.to_bytes())
    assert merge(planned.done(2)) == 200
    failed = assert_failed(buckets, topics, planned, code)
    assert failed.message.startswith("walk.mp4: ")


def test_missing_manifest_fails_the_linking(
    buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    store_inputs_of_link(buckets, planned)
    buckets.client.bucket(buckets.work).blob(planned.ref.name).delete()
    assert merge(planned.done(2)) == 200
    failed = failure_of(buckets, planned.job)
    assert failed.code == "object-gone"
    assert embeddings(buckets, planned) == []


def test_detect_message_never_publishes(
    buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    link_job(buckets, planned)
    assert merge(planned.done(2)) == 200
    assert buckets.names(buckets.output) == []
    assert topics.events() == []


def test_outputs_are_listed_only_once_the_last_segment_is_done(
    buckets: Buckets, topics: Topics, planned: Planned, proxy: Proxy
) -> None:
    def count_listings(index: int) -> int:
        before = len(proxy.requests)
        link_and_dispatch(planned.segment_done(index), "1", LinkingEngine(planned))
        return sum("prefix=" in path and "detections" in path for _, path in proxy.requests[before:])

    buckets.put(buckets.work, object_names.segment_detections(planned.job, 0), b"seen")
    assert count_listings(0) == 0
    for part in "01":
        buckets.put(buckets.work, object_names.segment_detections(planned.job, 2, part), b"seen")
    assert count_listings(0) == 0
    buckets.put(buckets.work, object_names.split_mark(planned.job, "detect", 2, ""), b"{}")
    step_marks.mark_step_split(planned.segment_task(2))
    assert count_listings(0) == 1
    assert redact_tasks(topics) == []
    buckets.put(buckets.work, object_names.segment_detections(planned.job, 1), b"seen")
    link_and_dispatch(planned.segment_done(1), "1", LinkingEngine(planned))
    assert len(redact_tasks(topics)) == 3
