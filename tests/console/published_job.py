"""Publish a job whose result is its source, with any tracks, without running the pipeline."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from defacer.engine.media.joiner import fingerprint_of
from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.documents.report import JobReport, ReportedSegment
from defacer.pipeline.storage import object_names
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.tracks import FacesHead, Reason, TargetWarning, TrackRecord
from tests.clips import frame_times, write_clip
from tests.cloud import Buckets
from tests.planned import DEFAULTS, Planned, plan_job

MATCH_THRESHOLD = 0.72


def make_track(
    number: int, decision: str, margin: float | None, start: int = 0, end: int = 10, **more: object
) -> TrackRecord:
    """Return a track between two times, whose two detections are 4 pixels wide."""
    values: dict[str, object] = {
        "id": number,
        "group": number,
        "start": start,
        "end": end,
        "decision": decision,
        "person": "Ada <i>" if decision == "keep" else None,
        "reason": Reason.MATCHED if decision == "keep" else Reason.NO_MATCH,
        "distance": 0.5,
        "margin": margin,
        "continues": None,
        "detections": CompactBoxes([(start, (1, 2, 3, 4)), (end, (5, 6, 7, 8))]),
        **more,
    }
    return TrackRecord(**values)  # type: ignore[arg-type]


# Unsure: 2 and 3. Kept: 1 and 3.
TRACKS = (
    make_track(0, "hide", -0.5, strangers_per_10000=120),
    make_track(1, "keep", 0.3, strangers_per_10000=0),
    make_track(2, "hide", -0.02),
    make_track(3, "keep", 0.01, start=5),
    make_track(4, "hide", None),
    make_track(5, "hide", 0.03, reason=Reason.MANUAL),
)
BO_IS_MISSING = TargetWarning(code="no-track-kept", person="Bo <i>", message="No track of Bo <i>.", track=4)


def publish_example(buckets: Buckets, folder: Path) -> Planned:
    """Publish a clip with TRACKS, whose times are the numbers of frames, a warning and a target picture of Ada."""
    clip = write_clip(folder / "walk.mp4")
    times = frame_times(clip)
    tracks = [
        replace(
            track,
            start=times[track.start],
            end=times[track.end],
            detections=CompactBoxes((times[item.pts], item.box) for item in track.detections),
        )
        for track in TRACKS
    ]
    buckets.put(buckets.intake, "channels/street/targets/Ada <i>/1.jpg", b"a picture")
    return publish(buckets, clip, tracks, (BO_IS_MISSING,))


def publish(
    buckets: Buckets,
    clip: Path,
    tracks: Iterable[TrackRecord],
    warnings: tuple[TargetWarning, ...] = (),
    targets: tuple[str, ...] = ("Ada <i>",),
    match_threshold: float = MATCH_THRESHOLD,
    policy: Policy = DEFAULTS,
    suggested_merges: tuple[tuple[int, int], ...] = (),
) -> Planned:
    """Upload the clip as a video and as its result, with a report of these tracks."""
    planned = plan_job(buckets, clip, policy=policy)
    manifest, frames = planned.manifest, len(frame_times(planned.clip))
    report = JobReport(
        job=manifest.job,
        source=manifest.source,
        result=manifest.result,
        policy=manifest.policy,
        targets=targets,
        frames=frames,
        audio_packets=0,
        fingerprint=fingerprint_of(str(clip)),
        dropped=(),
        segments=(ReportedSegment(index=0, frames=frames),),
        faces=FacesHead(
            detector="centerface",
            recognizer="sface",
            match_threshold=match_threshold,
            width=manifest.video.width,
            height=manifest.video.height,
            time_base=manifest.video.time_base,
            frames=frames,
            sampled_frames=frames,
            cuts=(),
            warnings=warnings,
            suggested_merges=suggested_merges,
        ),
        tracks=tuple(tracks),
    )
    metadata = {
        object_names.OF_JOB: manifest.job,
        object_names.OF_SOURCE: manifest.source.name,
        object_names.OF_SOURCE_GENERATION: str(manifest.source.generation),
    }
    for name, data in (
        (manifest.result, planned.clip.read_bytes()),
        (manifest.report, report.to_bytes()),
    ):
        blob = buckets.client.bucket(buckets.output).blob(name)
        blob.metadata = metadata
        blob.upload_from_string(data)
    done = Published(job=manifest.job, result=manifest.source, report=manifest.report)
    buckets.put(buckets.work, object_names.published(manifest.job), done.model_dump_json().encode())
    return planned
