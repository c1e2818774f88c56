"""A segment that always reaches the deadline is split, and each half is fast enough."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from defacer.pipeline.documents.job_records import Lease
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.lifecycle.segments import range_of
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.storage import object_names
from defacer.report.faces import Faces
from tests.clips import Clip, admiral, frame_seconds, frame_times, write_clip
from tests.cloud import Buckets, Environment, Post, Push, Topics, push_body
from tests.engine.test_engine import GONE, gray, likeness
from tests.functions.merging import REPORT, RESULT, assert_published
from tests.functions.records import failure_of, put_lease
from tests.functions.working import do_step, lease_name, work
from tests.inbox import document
from tests.planned import Planned, plan_job, with_window

CLIP = Clip(seconds=5)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A longer clip than in other tests, because half of a segment has at least one second."""
    return write_clip(tmp_path / "walk.mp4", CLIP)


@pytest.fixture
def planned(buckets: Buckets, topics: Topics, clip: Path) -> Planned:
    return plan_job(buckets, clip, seconds=2.5)


def too_late(buckets: Buckets, planned: Planned, index: int) -> None:
    """Store the lease of a segment whose worker reached its deadline three times."""
    put_lease(buckets, lease_name(planned, index), attempts=3, timeouts=3)


def tasks(topics: Topics, step: str) -> list[SegmentTask]:
    found = [SegmentTask.model_validate(document(push)) for push in topics.all(topics.segments)]
    return [task for task in found if task.step == step]


def push_of(message: SegmentTask | SegmentDone) -> Push:
    kind = "segment-task" if isinstance(message, SegmentTask) else "segment-done"
    return push_body(
        message.model_dump_json().encode(), {"type": kind}, f"{message.index}{message.subsegment}"
    )


def done_of(task: SegmentTask) -> SegmentDone:
    return SegmentDone.model_validate(task.model_dump())


def news(topics: Topics) -> list[SegmentDone]:
    return [SegmentDone.model_validate(document(push)) for push in topics.all(topics.segments_done)]


def split(buckets: Buckets, topics: Topics, job: Planned, worker: Post) -> list[SegmentTask]:
    """Let segment 1 be split, and return the tasks of its halves."""
    too_late(buckets, job, 1)
    assert worker(job.task(1)) == 200
    halves = [task for task in tasks(topics, job.segment_task(1).step) if task.subsegment]
    assert [(task.index, task.subsegment) for task in halves] == [(1, "0"), (1, "1")]
    return halves


def assert_continued(buckets: Buckets, topics: Topics, job: Planned) -> None:
    """Return the messages that follow the job's step."""
    if job.faces is None:
        assert sorted(task.index for task in tasks(topics, "redact")) == [0, 1]
        faces = Faces.from_bytes(buckets.get(buckets.work, object_names.faces(job.job)))
        assert faces.segments == tuple(len(job.frames(index)) for index in range(2))
    else:
        assert_published(buckets, topics, job)


def test_timeouts_are_counted_apart_from_attempts(
    buckets: Buckets, topics: Topics, job: Planned, environment: Environment
) -> None:
    environment(deadline_seconds=1)

    def endless(keep: object) -> None:
        while callable(keep):
            keep()

    def broken(keep: object) -> None:
        raise MemoryError

    for stage, expected in ((endless, (1, 1)), (broken, (2, 1)), (endless, (3, 2))):
        with pytest.raises((RetryableError, MemoryError)):
            work(job, 0, "mine", stage)
        lease = Lease.model_validate_json(buckets.get(buckets.work, lease_name(job, 0)))
        assert (lease.attempts, lease.timeouts) == expected


def test_segment_is_split_after_three_timeouts(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post, merge: Post, clip: Path
) -> None:
    """Both steps use the real engine."""
    too_late(buckets, planned, 1)
    assert {worker(planned.task(index)) for index in (0, 1)} == {200}
    halves = tasks(topics, "detect")
    assert [(task.index, task.subsegment) for task in halves] == [(1, "0"), (1, "1")]
    assert {worker(push_of(half)) for half in halves} == {200}
    done = [SegmentDone.model_validate(document(push)) for push in topics.all(topics.segments_done)]
    assert [(message.index, message.subsegment) for message in done] == [(0, ""), (1, "0"), (1, "1")]
    assert merge(push_of(done[1])) == 200

    first, second = tasks(topics, "redact")
    linked = Planned(clip, planned.manifest, planned.ref, first.faces)
    too_late(buckets, linked, 1)
    assert {worker(push_of(task)) for task in (first, second)} == {200}
    halves = [task for task in tasks(topics, "redact") if task.subsegment]
    assert [task.subsegment for task in halves] == ["0", "1"]
    assert worker(push_of(halves[0])) == 200
    assert merge(push_of(SegmentDone.model_validate(halves[0].model_dump()))) == 200  # one half is missing
    assert buckets.names(buckets.output) == []
    assert worker(push_of(halves[1])) == 200
    assert merge(push_of(SegmentDone.model_validate(halves[1].model_dump()))) == 200
    assert_published(buckets, topics, planned)
    result = clip.with_name("result.mp4")
    result.write_bytes(buckets.get(buckets.output, RESULT))
    assert frame_seconds(result) == frame_seconds(clip)
    report = JobReport.from_bytes(buckets.get(buckets.output, REPORT))
    assert [segment.index for segment in report.segments] == [0, 1]
    assert sum(segment.frames for segment in report.segments) == CLIP.frames


def test_split_segment_publishes_the_next_task(
    buckets: Buckets, topics: Topics, clip: Path, worker: Post
) -> None:
    """Its halves publish none, so a segment that is split has one successor too."""
    planned = with_window(buckets, plan_job(buckets, clip, seconds=2.5), 1)
    too_late(buckets, planned, 0)
    assert worker(planned.task(0)) == 200
    found = [(task.index, task.subsegment) for task in tasks(topics, "detect")]
    assert found == [(0, "0"), (0, "1"), (1, "")]
    assert {worker(push_of(half)) for half in tasks(topics, "detect")[:2]} == {200}
    assert len(tasks(topics, "detect")) == 3


def test_duplicate_messages_split_a_segment_once(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    too_late(buckets, job, 0)
    assert {worker(job.task(0)) for _ in range(3)} == {200}
    halves = [task for task in tasks(topics, job.segment_task(0).step) if task.subsegment]
    assert {task.subsegment for task in halves} == {"0", "1"}
    step = job.segment_task(0).step
    assert buckets.names(buckets.work, object_names.split_mark(job.job, step, 0, "")) != []
    assert topics.all(topics.segments_done) == []


def test_first_finished_output_counts_whole_or_split(
    buckets: Buckets, topics: Topics, linked: Planned, worker: Post, merge: Post
) -> None:
    """A slow worker finishes after the split, beside one of the halves."""
    too_late(buckets, linked, 1)
    assert {worker(linked.task(index)) for index in (0, 1)} == {200}
    halves = tasks(topics, "redact")
    do_step(buckets, linked, 1)
    assert worker(push_of(halves[0])) == 200
    assert merge(linked.done(1)) == 200
    assert_published(buckets, topics, linked)


def test_segment_too_short_to_split_fails_the_job(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    quarter = job.segment_task(0).model_copy(update={"subsegment": "0"})
    name = object_names.segment_lease(job.job, quarter.step, 0, "0")
    expired = datetime.now(UTC) - timedelta(seconds=1)
    lease = Lease(holder="h", token="t", expires_at=expired, attempts=5, timeouts=5)  # noqa: S106 - no secret
    buckets.put(buckets.work, name, lease.model_dump_json().encode())
    assert worker(push_of(quarter)) == 200
    assert failure_of(buckets, job.job).code == "poison-segment"
    assert [task for task in tasks(topics, quarter.step) if task.subsegment] == []


def test_impossible_subsegment_is_acknowledged(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post
) -> None:
    task = job.segment_task(0).model_copy(update={"subsegment": "0110"})
    assert worker(push_of(task)) == 200
    assert object_names.failed(job.job) not in buckets.names(buckets.work)
    assert topics.all(topics.segments_done) == []


def test_halves_cover_their_segment_without_gap(planned: Planned) -> None:
    for index in range(2):
        whole = planned.manifest.segments[index]
        first, second = (range_of(planned.manifest, index, half) for half in "01")
        assert (first.start, second.end) == (whole.start, whole.end)
        assert first.end == second.start


def test_redelivery_announces_a_finished_half(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post, merge: Post
) -> None:
    """Its worker died after it wrote its output. The message of the other half did not find it."""
    halves = split(buckets, topics, job, worker)
    assert worker(job.task(0)) == 200
    assert worker(push_of(halves[0])) == 200
    assert merge(push_of(done_of(halves[0]))) == 200
    with pytest.MonkeyPatch.context() as patch:

        def away(*_: object, **__: object) -> None:
            raise RetryableError("messaging is away")

        patch.setattr(pubsub, "publish", away)
        assert worker(push_of(halves[1])) == 503
    step = object_names.step_prefix(job.job, job.segment_task(1).step)
    made = [
        piece for name in buckets.names(buckets.work, step) if (piece := object_names.parse_subsegment(name))
    ]
    assert [(piece.index, piece.subsegment, piece.is_split) for piece in made] == [
        (0, "", False), (1, "0", False), (1, "1", False), (1, "", True),
    ]  # fmt: skip
    assert [done.subsegment for done in news(topics)] == ["", "0"]
    assert worker(push_of(halves[1])) == 200
    assert [done.subsegment for done in news(topics)] == ["", "0", "1"]
    assert merge(push_of(news(topics)[-1])) == 200
    assert_continued(buckets, topics, job)


def test_late_duplicates_of_halves_change_nothing(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post, merge: Post
) -> None:
    halves = split(buckets, topics, job, worker)
    assert worker(job.task(0)) == 200
    for half in reversed(halves):
        assert worker(push_of(half)) == 200
    step = object_names.step_prefix(job.job, job.segment_task(1).step)
    before = {name: buckets.blob(buckets.work, name).generation for name in buckets.names(buckets.work, step)}
    for half in reversed(halves):
        assert worker(push_of(half)) == 200
    assert worker(job.task(1)) == 200  # splits again, which does no harm
    after = {name: buckets.blob(buckets.work, name).generation for name in buckets.names(buckets.work, step)}
    assert after == before
    told = news(topics)
    assert sorted(done.subsegment for done in told) == ["", "0", "0", "1", "1"]
    for done in told:
        assert merge(push_of(done)) == 200
    assert_continued(buckets, topics, job)
    for half in halves:
        assert worker(push_of(half)) == 200
        assert merge(push_of(done_of(half))) == 200
    assert_continued(buckets, topics, job)


def test_face_across_a_split_stays_hidden(
    buckets: Buckets, topics: Topics, worker: Post, merge: Post, tmp_path: Path
) -> None:
    """Uses the real engine. Both steps are split, so detection and redaction have the seam."""
    clip = write_clip(tmp_path / "walk.mp4", Clip(seconds=6, size=(480, 360), portrait=admiral()))
    planned = plan_job(buckets, clip, seconds=6)
    too_late(buckets, planned, 0)
    assert worker(planned.task(0)) == 200
    halves = tasks(topics, "detect")
    assert [worker(push_of(half)) for half in halves] == [200, 200]
    assert merge(push_of(done_of(halves[1]))) == 200
    (whole,) = tasks(topics, "redact")
    too_late(buckets, Planned(clip, planned.manifest, planned.ref, whole.faces), 0)
    assert worker(push_of(whole)) == 200
    halves = [task for task in tasks(topics, "redact") if task.subsegment]
    assert [worker(push_of(half)) for half in halves] == [200, 200]
    assert merge(push_of(done_of(halves[0]))) == 200
    result = tmp_path / "result.mp4"
    result.write_bytes(buckets.get(buckets.output, RESULT))
    report = JobReport.from_bytes(buckets.get(buckets.output, REPORT))
    seam = range_of(planned.manifest, 0, "0").end
    assert seam is not None
    (track,) = report.tracks  # one track across the seam
    assert track.decision == "hide"
    assert track.start < seam < track.end
    before, after, times = gray(clip), gray(result), frame_times(clip)
    around = [number for number, time in enumerate(times) if abs(time - seam) <= (times[1] - times[0]) * 8]
    assert {times[number] < seam for number in around} == {True, False}
    for number in around:
        look = min(track.detections, key=lambda look: abs(look.pts - times[number]))
        x1, y1, x2, y2 = (max(0, round(edge)) for edge in look.box)
        box = np.s_[y1:y2, x1:x2]
        assert likeness(before[number][box], after[number][box]) < GONE, times[number]
