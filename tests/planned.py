"""Create planned and linked jobs, and finished segments, without running the functions."""

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.probe import probe
from defacer.engine.media.reader import read_frames
from defacer.engine.media.segment_writer import write_segment
from defacer.engine.options import Options
from defacer.engine.tracking.segment_detections import SegmentDetections
from defacer.ingest.plan_job import describe_video
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest, Policy, TimeRange
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentReport, SegmentTask
from defacer.pipeline.lifecycle import step_marks
from defacer.pipeline.media_engine import LinkedFaces, VideoHeader
from defacer.pipeline.segmentation import plan_segments
from defacer.pipeline.storage import object_names
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Reason, TrackRecord
from tests.clips import frame_times
from tests.cloud import Buckets, Push, push_body

DEFAULTS = Policy()
VIDEO = "channels/street/videos/walk.mp4"


@dataclass(frozen=True)
class Planned:
    """A job whose manifest is stored. `clip` is the source on this machine.

    Its messages are those of the step "detect", or, once it has `faces`, of the step "redact".
    """

    clip: Path
    manifest: Manifest
    ref: ObjectRef
    faces: ObjectRef | None = None

    @property
    def job(self) -> str:
        return self.manifest.job

    def frames(self, index: int) -> list[int]:
        """Return the presentation times in a segment."""
        part = self.manifest.segments[index]
        return [
            pts
            for pts in frame_times(self.clip)
            if (part.start is None or pts >= part.start) and (part.end is None or pts < part.end)
        ]

    def segment_task(self, index: int) -> SegmentTask:
        step: Literal["detect", "redact"] = "redact" if self.faces else "detect"
        return SegmentTask(job=self.job, index=index, step=step, manifest=self.ref, faces=self.faces)

    def segment_done(self, index: int) -> SegmentDone:
        return SegmentDone.model_validate(self.segment_task(index).model_dump())

    def task(self, index: int, message_id: str = "1") -> Push:
        data = self.segment_task(index).model_dump_json().encode()
        return push_body(data, {"type": "segment-task"}, message_id)

    def done(self, index: int, message_id: str = "1") -> Push:
        data = self.segment_done(index).model_dump_json().encode()
        return push_body(data, {"type": "segment-done"}, message_id)


def read_header(clip: Path, options: Options | None = None) -> VideoHeader:
    """Return the header as ingest reads it."""
    info = probe(str(clip), options or Options()).info
    return VideoHeader(**{item.name: getattr(info, item.name) for item in fields(VideoHeader)})


def plan_job(
    buckets: Buckets,
    clip: Path,
    name: str = VIDEO,
    policy: Policy = DEFAULTS,
    source: ObjectRef | None = None,
    segments: tuple[TimeRange, ...] | None = None,
    gallery: bytes | None = None,
    seconds: float = 1,
    targets: tuple[str, ...] = (),
) -> Planned:
    """Upload the clip (unless `source` is given) and store its manifest and optional gallery."""
    source = source or buckets.put(buckets.intake, name, clip)
    header = read_header(clip)
    video = object_names.parse_video(source.name)
    assert video is not None
    job = object_names.job_of(source)
    manifest = Manifest(
        job=job,
        channel=video.channel,
        source=source,
        source_size=clip.stat().st_size,
        result=video.result,
        report=video.report,
        policy=policy,
        targets=targets,
        gallery=buckets.put(buckets.work, object_names.gallery(job, "ab" * 32), gallery) if gallery else None,
        replacement=None,
        video=describe_video(header),
        segments=segments or plan_segments(header, seconds),
    )
    ref = buckets.put(
        buckets.work,
        object_names.manifest(manifest.job),
        manifest.model_dump_json().encode(),
        metadata={object_names.OF_SEGMENTS: str(len(manifest.segments))},
    )
    return Planned(clip, manifest, ref)


def with_window(buckets: Buckets, planned: Planned, window: int) -> Planned:
    """Let the job have only this many segments in the queue."""
    manifest = planned.manifest.model_copy(update={"window": window})
    ref = buckets.put(buckets.work, planned.ref.name, manifest.model_dump_json().encode())
    return Planned(planned.clip, manifest, ref)


def faces_of(planned: Planned, *tracks: TrackRecord, looks: int = 1) -> Faces:
    """Return the clip's faces as the engine links them, by default without tracks."""
    video, times = planned.manifest.video, frame_times(planned.clip)
    return Faces(
        detector="centerface",
        recognizer=None,
        match_threshold=0.61,
        width=video.width,
        height=video.height,
        time_base=video.time_base,
        frames=len(times),
        start=times[0],
        end=times[-1],
        sampled_frames=looks,
        segments=tuple(len(planned.frames(index)) for index in range(len(planned.manifest.segments))),
        cuts=(),
        tracks=tracks,
    )


def track_of(
    planned: Planned, person: str | None, number: int, box: tuple[float, float, float, float]
) -> TrackRecord:
    """Return a track in one place from the first to the last frame, which is kept if it has a person."""
    times = frame_times(planned.clip)
    return TrackRecord(
        id=number,
        start=times[0],
        end=times[-1],
        decision="keep" if person else "hide",
        person=person,
        reason=Reason.MATCHED if person else Reason.NO_MATCH,
        distance=0.3,
        margin=0.4,
        continues=None,
        detections=CompactBoxes((pts, box) for pts in times[::5]),
    )


def linked_of(planned: Planned, looks: int = 1) -> LinkedFaces:
    """Return the result of linking a clip without faces."""
    faces = faces_of(planned, looks=looks)
    return LinkedFaces(faces.frames, faces.sampled_frames, len(faces.tracks), faces.to_bytes())


def find_segment(buckets: Buckets, planned: Planned, index: int) -> ObjectRef:
    """Store a segment's detections as a worker does that detected no face."""
    video = planned.manifest.video
    findings = SegmentDetections(
        detector="centerface",
        confident_score=0.5,
        recognizer=None,
        width=video.width,
        height=video.height,
        time_base=Fraction(video.time_base),
        frames=len(planned.frames(index)),
        samples=(),
    )
    return buckets.put(buckets.work, object_names.segment_detections(planned.job, index), findings.to_bytes())


def find_all_segments(buckets: Buckets, planned: Planned) -> None:
    for index in range(len(planned.manifest.segments)):
        find_segment(buckets, planned, index)


def link_job(buckets: Buckets, planned: Planned, faces: Faces | None = None) -> Planned:
    """Store the face report (by default without tracks), and return the linked job."""
    data = (faces or faces_of(planned)).to_bytes()
    ref = buckets.put(buckets.work, object_names.faces(planned.job), data)
    step_marks.mark_steps_over(planned.job, "detect")
    return replace(planned, faces=ref)


def do_segment(buckets: Buckets, planned: Planned, index: int, **changes: object) -> SegmentReport:
    """Store a segment and its report as a worker does, but without masks. `changes` replace fields of the report."""
    part = planned.manifest.segments[index]
    file = planned.clip.parent / f"{planned.job}-{index}.nut"
    with write_segment(str(file), encoding_of(str(planned.clip)), 18) as writer:
        for frame in read_frames(str(planned.clip), part.start, part.end):
            writer.write(frame)
    written = writer.result()
    digest = f"{index:064x}"
    report = SegmentReport(
        job=planned.job,
        index=index,
        video=buckets.put(buckets.work, object_names.segment_video(planned.job, index, digest), file),
        frames=written.frames,
        reorder_depth=written.reorder_depth,
        seconds=0.1,
    ).model_copy(update=changes)
    buckets.put(
        buckets.work, object_names.segment_report(planned.job, index), report.model_dump_json().encode()
    )
    return report


def do_all_segments(buckets: Buckets, planned: Planned) -> None:
    for index in range(len(planned.manifest.segments)):
        do_segment(buckets, planned, index)
