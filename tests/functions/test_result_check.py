"""The check of the result in the pipeline: segment reports, reports, and quarantined jobs."""

import io
from dataclasses import replace
from pathlib import Path

import av
import pytest

from defacer.engine.media.reader import Segment
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.verification import check_ahead, release_gate
from defacer.merge import join_step
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.documents.report import SegmentCheck
from defacer.pipeline.storage import object_names
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Reason, TrackRecord
from tests.clips import Clip, astronaut, frame_times, write_clip
from tests.cloud import Buckets, Post, Topics
from tests.functions.merging import REPORT, RESULT, published_of
from tests.functions.records import failure_of
from tests.functions.rendering import Cloud
from tests.functions.working import report_of
from tests.planned import Planned, do_segment, faces_of, link_job, plan_job

WHITE = Policy(mode="solid", color="#ffffff")
FACE = (160, 75)  # inside the portrait's face


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip of two segments with a face in the middle of every frame."""
    return write_clip(tmp_path_factory.mktemp("portrait") / "walk.mp4", Clip(portrait=astronaut()))


def find_masked_frames(video: bytes) -> list[bool]:
    """Return for each frame whether the face is masked."""
    with av.open(io.BytesIO(video)) as container:
        pictures = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return [bool(picture[FACE[1], FACE[0]].min() > 240) for picture in pictures]


def publish(cloud: Cloud, portrait: Path) -> Planned:
    """Redact and publish a job whose face only the check detects."""
    linked = link_job(cloud.buckets, plan_job(cloud.buckets, portrait, policy=WHITE))
    for index in range(2):
        assert cloud.worker(linked.task(index)) == 200
    cloud.deliver(cloud.topics.segments_done, cloud.merge)
    return linked


def track_at(pts: int) -> TrackRecord:
    return TrackRecord(
        id=0,
        start=pts,
        end=pts,
        decision="hide",
        person=None,
        reason=Reason.FOUND_BY_VERIFICATION,
        distance=None,
        margin=None,
        continues=None,
        detections=CompactBoxes([(pts, (1.0, 2.0, 3.0, 4.0))]),
    )


def test_worker_masks_and_records_a_face_without_track(
    buckets: Buckets, topics: Topics, portrait: Path, worker: Post
) -> None:
    linked = link_job(buckets, plan_job(buckets, portrait, policy=WHITE))
    assert worker(linked.task(1)) == 200
    report = report_of(buckets, linked, 1)
    assert report.checked is not None
    (track,) = report.checked.tracks
    assert (report.checked.verify, track.decision, track.reason) == (
        "standard",
        "hide",
        Reason.FOUND_BY_VERIFICATION,
    )
    times = linked.frames(1)
    assert (track.start, track.end) == (times[0], times[-1])
    assert all(find_masked_frames(buckets.get(buckets.work, report.video.name)))


def test_verify_off_skips_the_check(buckets: Buckets, topics: Topics, portrait: Path, worker: Post) -> None:
    linked = link_job(buckets, plan_job(buckets, portrait, policy=Policy(verify="off")))
    assert worker(linked.task(0)) == 200
    assert report_of(buckets, linked, 0).checked is None


def test_report_lists_faces_found_by_the_check(
    buckets: Buckets, topics: Topics, portrait: Path, ingest: Post, worker: Post, merge: Post
) -> None:
    cloud = Cloud(buckets, topics, ingest, worker, merge)
    publish(cloud, portrait)
    report = cloud.report()
    found = [(track.id, track.reason) for track in report.tracks]
    assert found == [(0, Reason.FOUND_BY_VERIFICATION), (1, Reason.FOUND_BY_VERIFICATION)]
    assert report.checked is not None
    assert (report.checked.verify, report.checked.tracks) == ("standard", (0, 1))
    assert report.checked.frames >= 10
    assert all(find_masked_frames(buckets.get(buckets.output, RESULT)))


def test_rerender_keeps_masking_faces_found_by_the_check(
    buckets: Buckets, topics: Topics, portrait: Path, ingest: Post, worker: Post, merge: Post
) -> None:
    cloud = Cloud(buckets, topics, ingest, worker, merge)
    linked = publish(cloud, portrait)
    cloud.run(cloud.write_request(linked.job, {0: "hide"}))
    report = cloud.report()
    assert [track.reason for track in report.tracks] == [Reason.MANUAL, Reason.FOUND_BY_VERIFICATION]
    assert report.checked is not None
    assert report.checked.tracks == ()
    assert all(find_masked_frames(buckets.get(buckets.output, RESULT)))


def test_unmaskable_face_quarantines_the_job_once(
    buckets: Buckets, topics: Topics, portrait: Path, worker: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = link_job(buckets, plan_job(buckets, portrait, policy=WHITE))

    def forgetful(segment: Segment, faces: Faces, *arguments: object) -> object:
        return redact_segment(segment, replace(faces, tracks=()), *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(release_gate, "redact_segment", forgetful)
    monkeypatch.setattr(check_ahead.CheckAhead, "_decide", lambda *_: None)  # too late for a mask
    assert [worker(linked.task(0)), worker(linked.task(0)), worker(linked.task(1))] == [200, 200, 200]
    failed = failure_of(buckets, linked.job)
    assert (failed.stage, failed.code) == ("worker", "quarantined")
    assert "a face is still visible at 0.0 s" in failed.message
    assert "Watch the video there" in failed.message
    assert [event["type"] for event in topics.events()] == ["job.failed"]
    assert buckets.names(buckets.output) == []


@pytest.mark.parametrize("tracks", [0, 2])
def test_found_faces_continue_the_track_numbers(
    tracks: int, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    times = frame_times(planned.clip)
    own = [replace(track_at(pts), id=number * 3) for number, pts in enumerate(times[:tracks])]
    document = faces_of(planned, *own).to_bytes()
    check = SegmentCheck(verify="standard", frames=2, tracks=(track_at(times[5]), track_at(times[9])))
    report = do_segment(buckets, planned, 0, checked=check)
    found = join_step._found_tracks(document, [report])
    first = 3 * tracks - 2 if tracks else 0
    assert [track.id for track in found] == [first, first + 1]
    assert [track.group for track in found] == [first > 0, 1 + (first > 0)]
    assert [track.start for track in found] == [times[5], times[9]]


def test_report_is_unchecked_unless_every_segment_was_checked(
    buckets: Buckets, topics: Topics, clip: Path, ingest: Post, worker: Post, merge: Post
) -> None:
    cloud = Cloud(buckets, topics, ingest, worker, merge)
    linked = link_job(buckets, plan_job(buckets, clip))
    for index in range(2):
        assert worker(linked.task(index)) == 200
    name = object_names.segment_report(linked.job, 1)
    report = report_of(buckets, linked, 1)
    assert report.checked == SegmentCheck(
        verify="standard", frames=report.checked.frames if report.checked else 0
    )
    buckets.put(buckets.work, name, report.model_copy(update={"checked": None}).model_dump_json().encode())
    cloud.deliver(topics.segments_done, merge)
    assert published_of(buckets, linked).report == REPORT
    assert cloud.report().checked is None
