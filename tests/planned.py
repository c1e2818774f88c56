"""Jobs that are planned already, and segments that are done already, without the functions that do that."""

from dataclasses import dataclass
from pathlib import Path

from functions.engine.video import probe, read_frames
from functions.engine.write import write_segment
from functions.ingest.plan import plan_segments
from functions.pipeline import layout
from functions.pipeline.contracts import (
    Manifest,
    ObjectRef,
    Policy,
    SegmentDone,
    SegmentReport,
    SegmentTask,
    TimeRange,
    Video,
)
from tests.clips import frame_times
from tests.cloud import Buckets, Push, push_body

DEFAULTS = Policy()
VIDEO = "channels/street/videos/walk.mp4"


@dataclass(frozen=True)
class Planned:
    """A job with its manifest in place; `clip` is the source on this machine."""

    clip: Path
    manifest: Manifest
    ref: ObjectRef

    @property
    def job(self) -> str:
        return self.manifest.job

    def frames(self, index: int) -> list[int]:
        """The presentation times that lie in a segment."""
        part = self.manifest.segments[index]
        return [
            pts
            for pts in frame_times(self.clip)
            if (part.start is None or pts >= part.start) and (part.end is None or pts < part.end)
        ]

    def task(self, index: int, message_id: str = "1") -> Push:
        task = SegmentTask(job=self.job, index=index, manifest=self.ref)
        return push_body(task.model_dump_json().encode(), {"type": "segment-task"}, message_id)

    def done(self, index: int, message_id: str = "1") -> Push:
        done = SegmentDone(job=self.job, index=index, manifest=self.ref)
        return push_body(done.model_dump_json().encode(), {"type": "segment-done"}, message_id)


def plan_job(
    buckets: Buckets,
    clip: Path,
    name: str = VIDEO,
    policy: Policy = DEFAULTS,
    source: ObjectRef | None = None,
    segments: tuple[TimeRange, ...] | None = None,
) -> Planned:
    """Upload the clip (or take `source` for it) and write its manifest."""
    source = source or buckets.put(buckets.intake, name, clip)
    info = probe(str(clip))
    video = layout.parse_video(source.name)
    assert video is not None
    manifest = Manifest(
        job=layout.job_id(source.bucket, source.name, source.generation),
        channel=video.channel,
        source=source,
        source_size=clip.stat().st_size,
        result=video.result,
        report=video.report,
        policy=policy,
        targets=(),
        gallery=None,
        replacement=None,
        video=Video(
            width=info.width,
            height=info.height,
            codec=info.codec,
            duration_seconds=info.duration_seconds,
            time_base=f"{info.time_base.numerator}/{info.time_base.denominator}",
        ),
        segments=segments or plan_segments(info, 1),
    )
    ref = buckets.put(buckets.work, layout.manifest(manifest.job), manifest.model_dump_json().encode())
    return Planned(clip, manifest, ref)


def do_segment(buckets: Buckets, planned: Planned, index: int, **changes: object) -> SegmentReport:
    """Put a segment and its report there as a worker would, but with nothing hidden; `changes` to the report."""
    part = planned.manifest.segments[index]
    file = planned.clip.parent / f"{planned.job}-{index}.nut"
    times = []
    with write_segment(str(file), 18, None) as writer:
        for frame in read_frames(str(planned.clip), part.start, part.end):
            assert frame.pts is not None
            times.append(frame.pts)
            writer.write(frame)
    digest = f"{index:064x}"
    report = SegmentReport(
        job=planned.job,
        index=index,
        video=buckets.put(buckets.work, layout.segment_video(planned.job, index, digest), file),
        frames=tuple(times),
        looks=1,
        detector="centerface",
        recognizer="casia-webface",
        keep_distance=0.6,
        tracks=(),
        seconds=0.1,
    ).model_copy(update=changes)
    buckets.put(buckets.work, layout.segment_report(planned.job, index), report.model_dump_json().encode())
    return report


def do_all_segments(buckets: Buckets, planned: Planned) -> None:
    for index in range(len(planned.manifest.segments)):
        do_segment(buckets, planned, index)
