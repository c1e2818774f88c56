"""The step "redact": its output, and the faces that it redacts."""

from pathlib import Path

import av
import pytest

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy, TimeRange
from defacer.pipeline.storage import object_names
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.tracks import Decision, Reason, TrackRecord
from tests.clips import frame_seconds, frame_times
from tests.cloud import Buckets, Post, Topics
from tests.functions.records import failure_of
from tests.functions.working import made, report_of
from tests.planned import Planned, faces_of, link_job, plan_job

BOX = (100.0, 50.0, 160.0, 120.0)


def test_segment_is_redacted_and_reported(
    buckets: Buckets, topics: Topics, linked: Planned, worker: Post, tmp_path: Path
) -> None:
    assert worker(linked.task(1)) == 200
    report = report_of(buckets, linked, 1)
    assert (report.job, report.index, list(report.frames)) == (linked.job, 1, linked.frames(1))
    assert made(buckets, linked) == sorted([report.video.name, object_names.segment_report(linked.job, 1)])
    video = tmp_path / "segment.nut"
    video.write_bytes(buckets.get(buckets.work, report.video.name))
    assert frame_seconds(video) == frame_seconds(linked.clip)[-len(report.frames) :]


def test_segments_cover_every_frame_once(
    buckets: Buckets, topics: Topics, linked: Planned, worker: Post
) -> None:
    assert [worker(linked.task(index)) for index in (0, 1)] == [200, 200]
    covered = [pts for index in (0, 1) for pts in report_of(buckets, linked, index).frames]
    assert covered == frame_times(linked.clip)


@pytest.mark.parametrize("decision", ["hide", "keep"])
def test_only_hidden_tracks_are_redacted(
    decision: Decision, buckets: Buckets, topics: Topics, clip: Path, worker: Post, tmp_path: Path
) -> None:
    planned = plan_job(buckets, clip, policy=Policy(mode="solid", color="#ffffff"))
    times = frame_times(clip)
    track = TrackRecord(
        id=0,
        start=times[0],
        end=times[-1],
        decision=decision,
        person=None,
        reason=Reason.NO_MATCH,
        distance=None,
        margin=None,
        continues=None,
        detections=CompactBoxes((pts, BOX) for pts in times[::5]),
    )
    linked = link_job(buckets, planned, faces_of(planned, track))
    assert worker(linked.task(0)) == 200
    video = tmp_path / "segment.nut"
    video.write_bytes(buckets.get(buckets.work, report_of(buckets, linked, 0).video.name))
    with av.open(str(video)) as container:
        middles = [frame.to_ndarray(format="rgb24")[85, 130].min() for frame in container.decode(video=0)]
    assert {bool(middle > 250) for middle in middles} == {decision == "hide"}


def test_missing_faces_fail_the_job(buckets: Buckets, topics: Topics, linked: Planned, worker: Post) -> None:
    buckets.put(buckets.work, object_names.faces(linked.job), b"another version")
    assert worker(linked.task(0)) == 200
    assert failure_of(buckets, linked.job).code == "object-gone"
    assert made(buckets, linked) == []


def test_task_with_foreign_faces_is_acknowledged(
    buckets: Buckets, topics: Topics, linked: Planned, clip: Path, worker: Post
) -> None:
    other = link_job(buckets, plan_job(buckets, clip, name="channels/street/videos/other.mp4"))
    mixed = Planned(clip, linked.manifest, linked.ref, other.faces)
    assert worker(mixed.task(0)) == 200
    elsewhere = ObjectRef(bucket=buckets.intake, name=object_names.faces(linked.job), generation=1)
    assert worker(Planned(clip, linked.manifest, linked.ref, elsewhere).task(0)) == 200
    assert made(buckets, linked) == []
    assert object_names.failed(linked.job) not in buckets.names(buckets.work)


def test_middle_segment_has_exactly_its_frames(
    buckets: Buckets, topics: Topics, clip: Path, worker: Post, tmp_path: Path
) -> None:
    times = frame_times(clip)
    cuts = [times[13], times[14]]
    parts = (
        TimeRange(start=None, end=cuts[0]),
        TimeRange(start=cuts[0], end=cuts[1]),
        TimeRange(start=cuts[1], end=None),
    )
    linked = link_job(buckets, plan_job(buckets, clip, segments=parts))
    assert worker(linked.task(1)) == 200
    report = report_of(buckets, linked, 1)
    assert list(report.frames) == [times[13]]
    video = tmp_path / "segment.nut"
    video.write_bytes(buckets.get(buckets.work, report.video.name))
    assert frame_seconds(video) == frame_seconds(clip)[13:14]
