"""Merge after the step "redact" through its HTTP interface, with the real engine."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.storage import object_names
from defacer.report.faces import Faces
from tests.clips import Clip, frame_seconds, write_clip
from tests.cloud import Buckets, Post, Topics, push_body
from tests.functions.merging import (
    REPORT,
    RESULT,
    assert_failed,
    assert_published,
    change_report,
    published_of,
)
from tests.functions.records import failure_of, put_failure
from tests.planned import VIDEO, Planned, do_all_segments, do_segment, faces_of, link_job, plan_job


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "walk.mp4", Clip(seconds=3))


def test_last_segment_publishes_the_result(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post, tmp_path: Path
) -> None:
    assert len(linked.manifest.segments) == 3
    # Left by late processes that died:
    buckets.put(buckets.work, object_names.gallery(linked.job, "ab" * 32), b"embeddings")
    buckets.put(buckets.work, object_names.segment_detections(linked.job, 1), b"embeddings")
    for index in range(3):
        do_segment(buckets, linked, index)
        assert merge(linked.done(index, str(index))) == 200
        assert (buckets.names(buckets.output) != []) == (index == 2)
    assert_published(buckets, topics, linked)
    assert buckets.names(buckets.intake) == [VIDEO]
    result = buckets.blob(buckets.output, RESULT)
    assert result.content_type == "video/mp4"
    assert result.metadata == {
        "defacer-job": linked.job,
        "defacer-source": VIDEO,
        "defacer-source-generation": str(linked.manifest.source.generation),
    }
    video = tmp_path / "result.mp4"
    video.write_bytes(buckets.get(buckets.output, RESULT))
    assert frame_seconds(video) == frame_seconds(linked.clip)
    report = JobReport.from_bytes(buckets.get(buckets.output, REPORT))
    assert (report.job, report.result, report.frames) == (linked.job, RESULT, 75)
    assert report.audio_packets > 100
    assert sum(segment.frames for segment in report.segments) == 75
    assert Faces.from_head(report.faces, report.tracks) == faces_of(linked)
    (event,) = topics.events()
    assert event["data"]["report"] == REPORT
    assert topics.all(topics.job_events)[0]["message"]["attributes"]["type"] == "job.completed"


def test_missing_segment_delays_publishing(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    for index in (0, 2):
        do_segment(buckets, linked, index)
        assert merge(linked.done(index)) == 200
    assert buckets.names(buckets.output) == []
    assert topics.events() == []


def test_segment_video_without_report_is_not_done(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    buckets.client.bucket(buckets.work).blob(object_names.segment_report(linked.job, 1)).delete()
    assert merge(linked.done(2)) == 200
    assert buckets.names(buckets.output) == []


def test_redelivery_after_publishing_changes_nothing(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    assert merge(linked.done(2)) == 200
    generation = buckets.blob(buckets.output, RESULT).generation
    assert {merge(linked.done(index, str(index))) for index in (0, 1, 2, 2)} == {200}
    assert buckets.blob(buckets.output, RESULT).generation == generation
    assert len(topics.events()) == 1
    assert_published(buckets, topics, linked)


@pytest.mark.parametrize("fault", ["missing", "doubled", "moved", "all"])
def test_unredacted_frame_fails_the_job(
    fault: str, buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    times = planned.frames(1)
    changed = {
        "missing": times[:5] + times[6:],
        "doubled": [*times, times[-1]],
        "moved": [times[0] + 1, *times[1:]],
        "all": [],
    }[fault]
    faces = faces_of(planned)
    frames = faces.frames - len(times) + len(changed)  # otherwise the error is detected before the join
    segments = (faces.segments[0], len(changed), faces.segments[2])
    linked = link_job(buckets, planned, replace(faces, frames=frames, segments=segments))
    do_all_segments(buckets, linked)
    change_report(buckets, linked, 1, frames=tuple(changed))
    assert merge(linked.done(2)) == 200
    failed = assert_failed(buckets, topics, linked, "check-failed")
    assert failed.message.startswith("walk.mp4: ")


@pytest.mark.parametrize("more", [1, -1])
def test_frames_without_detection_fail_the_job(
    more: int, buckets: Buckets, topics: Topics, planned: Planned, merge: Post
) -> None:
    """Compared per segment: one frame more in one segment does not make up for one less in another."""
    faces = faces_of(planned)
    first, second, third = faces.segments
    linked = link_job(buckets, planned, replace(faces, segments=(first, second + more, third - more)))
    do_all_segments(buckets, linked)
    assert merge(linked.done(2)) == 200
    failed = assert_failed(buckets, topics, linked, "check-failed")
    assert f"detected in {second + more} frames and redacted in {second}" in failed.message


@pytest.mark.parametrize("change", [{"job": "0" * 20}, {"index": 0}])
def test_mismatched_segments_fail_the_job(
    change: dict[str, Any], buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    change_report(buckets, linked, 1, **change)
    assert merge(linked.done(2)) == 200
    assert_failed(buckets, topics, linked, "check-failed")


def test_missing_segment_video_fails_the_job(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    buckets.client.bucket(buckets.work).blob(object_names.segment_video(linked.job, 1, f"{1:064x}")).delete()
    assert merge(linked.done(2)) == 200
    assert_failed(buckets, topics, linked, "object-gone")


def test_missing_faces_fail_the_job(buckets: Buckets, topics: Topics, linked: Planned, merge: Post) -> None:
    do_all_segments(buckets, linked)
    buckets.put(buckets.work, object_names.faces(linked.job), b"another version")
    assert merge(linked.done(2)) == 200
    assert_failed(buckets, topics, linked, "object-gone")


def test_missing_source_fails_the_job(buckets: Buckets, topics: Topics, linked: Planned, merge: Post) -> None:
    do_all_segments(buckets, linked)
    buckets.put(buckets.intake, VIDEO, b"a newer upload")
    assert merge(linked.done(2)) == 200
    assert_failed(buckets, topics, linked, "source-gone")


def test_failed_job_is_not_published(buckets: Buckets, topics: Topics, linked: Planned, merge: Post) -> None:
    do_all_segments(buckets, linked)
    put_failure(buckets, linked)
    assert merge(linked.done(2)) == 200
    assert buckets.names(buckets.output) == []


@pytest.mark.parametrize("source", ["keep", "delete"])
def test_source_retention_decides_about_the_source(
    source: Any, buckets: Buckets, topics: Topics, clip: Path, merge: Post
) -> None:
    linked = link_job(buckets, plan_job(buckets, clip, policy=Policy(source_retention=source)))
    do_all_segments(buckets, linked)
    assert merge(linked.done(2)) == 200
    assert_published(buckets, topics, linked)
    assert buckets.names(buckets.intake) == ([VIDEO] if source == "keep" else [])


def test_newer_result_replaces_the_older_one(
    buckets: Buckets, topics: Topics, linked: Planned, clip: Path, merge: Post
) -> None:
    do_all_segments(buckets, linked)
    assert merge(linked.done(2)) == 200
    newer = link_job(buckets, plan_job(buckets, clip))
    do_all_segments(buckets, newer)
    assert merge(newer.done(2)) == 200
    result = buckets.blob(buckets.output, RESULT)
    assert result.metadata["defacer-job"] == newer.job
    assert published_of(buckets, newer).result == ObjectRef(
        bucket=buckets.output, name=RESULT, generation=result.generation
    )
    assert JobReport.from_bytes(buckets.get(buckets.output, REPORT)).job == newer.job


@pytest.mark.parametrize("name", [RESULT, REPORT])
@pytest.mark.parametrize("metadata", [None, {"defacer-job": "x"}, {"defacer-source-generation": "1"}])
def test_foreign_object_is_never_replaced(
    name: str,
    metadata: dict[str, str] | None,
    buckets: Buckets,
    topics: Topics,
    linked: Planned,
    merge: Post,
) -> None:
    do_all_segments(buckets, linked)
    blob = buckets.client.bucket(buckets.output).blob(name)
    blob.metadata = metadata
    blob.upload_from_string(b"precious")
    assert merge(linked.done(2)) == 200
    failed = failure_of(buckets, linked.job)
    assert failed.code == "result-exists"
    assert f"a result named {object_names.owner_name(name)} is there already" in failed.message
    assert buckets.get(buckets.output, name) == b"precious"
    assert buckets.names(buckets.output) == [name]


def test_similar_video_names_have_separate_results(
    buckets: Buckets, topics: Topics, clip: Path, merge: Post
) -> None:
    first = link_job(buckets, plan_job(buckets, clip, name="channels/street/videos/walk.mov.mp4"))
    second = link_job(buckets, plan_job(buckets, clip, name="channels/street/videos/walk.mov"))
    assert first.manifest.result == second.manifest.result
    for linked in (first, second):
        do_all_segments(buckets, linked)
        assert merge(linked.done(2)) == 200
    assert published_of(buckets, first).result is not None
    assert failure_of(buckets, second.job).code == "result-exists"


@pytest.mark.parametrize("data", [b"", b"no json", b"{}"])
def test_malformed_message_is_acknowledged(
    data: bytes, buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    assert merge(push_body(data or b" ", {"type": "segment-done"})) == 200
    assert buckets.names(buckets.work) == [object_names.faces(linked.job), linked.ref.name]


def test_message_of_a_newer_version_is_retried(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post
) -> None:
    body = linked.segment_done(0).model_dump() | {"version": 5}
    assert merge(push_body(json.dumps(body).encode(), {"type": "segment-done"})) == 503
