"""The worker through its HTTP surface, with the real engine."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from functions.pipeline import layout
from functions.pipeline.contracts import Failed, Published, SegmentReport, SegmentTask, TimeRange
from tests.clips import Clip, admiral, astronaut, encode_picture, frame_seconds, frame_times, write_clip
from tests.cloud import Buckets, Post, Topics, push_body, upload_push
from tests.functions.working import SOURCES, failure_of, report_of, segment_names
from tests.inbox import document
from tests.planned import VIDEO, Planned, do_segment, plan_job


@pytest.fixture
def stageable(planned: Planned) -> Iterator[Planned]:
    """A planned job whose segments `copy` can do."""
    SOURCES[planned.job] = planned.clip.read_bytes()
    yield planned
    del SOURCES[planned.job]


def test_a_segment_is_done_reported_and_announced(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post, tmp_path: Path
) -> None:
    assert worker(planned.task(1)) == 200
    report = report_of(buckets, planned, 1)
    assert list(report.frames) == planned.frames(1)
    assert (report.job, report.index, report.detector) == (planned.job, 1, "centerface")
    assert report.looks > 0
    assert segment_names(buckets, planned) == sorted(
        [report.video.name, layout.segment_report(planned.job, 1)]
    )
    video = tmp_path / "segment.nut"
    video.write_bytes(buckets.get(buckets.work, report.video.name))
    assert frame_seconds(video) == frame_seconds(planned.clip)[-len(report.frames) :]
    assert buckets.names(buckets.work, layout.claims_prefix(planned.job)) == []
    (push,) = topics.all(topics.segments_done)
    assert push["message"]["attributes"] == {"type": "segment-done"}
    assert document(push) == {
        "version": 1,
        "job": planned.job,
        "index": 1,
        "manifest": planned.ref.model_dump(),
    }


def test_together_the_segments_cover_every_frame_once(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    assert [worker(planned.task(index)) for index in (0, 1)] == [200, 200]
    covered = [pts for index in (0, 1) for pts in report_of(buckets, planned, index).frames]
    assert covered == frame_times(planned.clip)


def test_a_target_stays_and_a_stranger_is_hidden(
    buckets: Buckets, topics: Topics, app: Callable[[str], FlaskClient], worker: Post, tmp_path: Path
) -> None:
    buckets.put(buckets.intake, "channels/street/targets/Eileen.png", encode_picture(astronaut()))
    for number, (portrait, decision) in enumerate([(astronaut(), "keep"), (admiral(), "hide")]):
        clip = write_clip(tmp_path / f"{number}.mp4", Clip(seconds=1, size=(480, 360), portrait=portrait))
        ref = buckets.put(buckets.intake, VIDEO, clip)
        assert app("ingest").post("/", json=upload_push(ref)).status_code == 200
        push = topics.wait_for(topics.segments, number + 1)[number]
        assert worker(push) == 200
        job = layout.job_id(ref.bucket, ref.name, ref.generation)
        report = SegmentReport.model_validate_json(buckets.get(buckets.work, layout.segment_report(job, 0)))
        assert {(track.decision, track.person) for track in report.tracks} == {
            (decision, "Eileen" if decision == "keep" else None)
        }


def test_a_task_that_is_done_already_is_announced_again_and_not_done_again(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    do_segment(buckets, planned, 0)
    before = [buckets.blob(buckets.work, name).generation for name in segment_names(buckets, planned)]
    assert worker(planned.task(0)) == 200
    after = [buckets.blob(buckets.work, name).generation for name in segment_names(buckets, planned)]
    assert after == before
    assert len(topics.all(topics.segments_done)) == 1


@pytest.mark.parametrize("end", ["published", "failed"])
def test_a_task_of_a_job_that_is_over_is_acknowledged(
    end: str, buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    if end == "published":
        published = Published(job=planned.job, result=None, report="r")
        data, name = published.model_dump_json().encode(), layout.published(planned.job)
    else:
        failed = Failed(job=planned.job, source=planned.manifest.source, stage="merge", code="c", message="m")
        data, name = failed.model_dump_json().encode(), layout.failed(planned.job)
    buckets.put(buckets.work, name, data)
    assert worker(planned.task(0)) == 200
    assert segment_names(buckets, planned) == []
    assert topics.all(topics.segments_done) == []


def test_a_failure_that_was_never_announced_is_announced_by_the_next_message(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    failed = Failed(job=planned.job, source=planned.manifest.source, stage="worker", code="c", message="m")
    buckets.put(buckets.work, layout.failed(planned.job), failed.model_dump_json().encode())
    assert [worker(planned.task(index)) for index in (0, 1)] == [200, 200]
    (event,) = topics.events()
    assert (event["id"], event["data"]["message"]) == (f"{planned.job}-failed", "m")


@pytest.mark.parametrize(
    "change", [{"job": "no job"}, {"index": -1}, {"manifest": None}, {"more": 1}, {"version": 0}]
)
def test_a_malformed_task_is_acknowledged(
    change: dict[str, object], buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    body = SegmentTask(job=planned.job, index=0, manifest=planned.ref).model_dump() | change
    assert worker(push_body(json.dumps(body).encode(), {"type": "segment-task"})) == 200
    assert segment_names(buckets, planned) == []


@pytest.mark.parametrize("index", [2, 99_999])
def test_a_task_that_does_not_fit_its_manifest_is_acknowledged_and_fails_nobody(
    index: int, buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    assert worker(planned.task(index)) == 200
    assert buckets.names(buckets.work) == [planned.ref.name]


def test_a_source_that_is_gone_fails_the_job(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    buckets.put(buckets.intake, VIDEO, b"a newer upload")
    assert worker(planned.task(0)) == 200
    assert failure_of(buckets, planned).code == "source-gone"


def test_a_manifest_that_is_gone_fails_the_job_without_an_event(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    buckets.client.bucket(buckets.work).blob(planned.ref.name).delete()
    assert worker(planned.task(0)) == 200
    failed = failure_of(buckets, planned)
    assert (failed.code, failed.source) == ("object-gone", None)
    assert topics.events() == []


def test_a_source_that_breaks_off_fails_the_job(
    buckets: Buckets, topics: Topics, clip: Path, worker: Post, tmp_path: Path
) -> None:
    whole = clip.read_bytes()
    start = whole.index(b"mdat") + 4
    broken = whole[:start] + b"\xff" * (len(whole) // 2) + whole[start + len(whole) // 2 :]
    source = buckets.put(buckets.intake, VIDEO, broken)
    planned = plan_job(buckets, clip, source=source)
    assert worker(planned.task(0)) == 200
    failed = failure_of(buckets, planned)
    assert (failed.stage, failed.code) == ("worker", "not-a-video")
    assert failed.message.startswith(f"gs://{buckets.intake}/{VIDEO}: ")


def test_when_a_job_fails_its_embeddings_are_deleted(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post
) -> None:
    buckets.put(buckets.work, layout.gallery(planned.job, "ab" * 32), b"embeddings")
    buckets.put(buckets.intake, VIDEO, b"a newer upload")
    assert worker(planned.task(0)) == 200
    assert buckets.names(buckets.work, layout.gallery_prefix(planned.job)) == []


def test_a_range_in_the_middle_is_done_exactly(
    buckets: Buckets, topics: Topics, clip: Path, worker: Post, tmp_path: Path
) -> None:
    times = frame_times(clip)
    cuts = [times[13], times[14]]
    parts = (
        TimeRange(start=None, end=cuts[0]),
        TimeRange(start=cuts[0], end=cuts[1]),
        TimeRange(start=cuts[1], end=None),
    )
    planned = plan_job(buckets, clip, segments=parts)
    assert worker(planned.task(1)) == 200
    report = report_of(buckets, planned, 1)
    assert report.frames == (times[13],)
    video = tmp_path / "segment.nut"
    video.write_bytes(buckets.get(buckets.work, report.video.name))
    assert frame_seconds(video) == frame_seconds(clip)[13:14]
