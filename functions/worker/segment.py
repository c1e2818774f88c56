"""One segment: claim it, have it concealed, commit it. Knows no faces: `main.py` brings the engine along.

A segment is finished when its report is there: that write is the commit. The video is written before, under
a name made of its own hash, so two workers at once never write over each other, and the report says which
counts.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from functions.pipeline import jobs, layout, log, messages, store
from functions.pipeline.claim import Hold, Terms, hold
from functions.pipeline.contracts import (
    Manifest,
    ObjectRef,
    SegmentDone,
    SegmentReport,
    SegmentTask,
    TimeRange,
    Track,
)
from functions.pipeline.errors import PermanentError
from functions.pipeline.settings import settings

NUT = "video/x-nut"


@dataclass(frozen=True)
class Assignment:
    """What to conceal, and where the result goes. `keep_claim` must be called often; it may raise to stop."""

    manifest: Manifest
    segment: TimeRange
    out: Path
    keep_claim: Callable[[], None]


@dataclass(frozen=True)
class Concealed:
    """What was done: the presentation times concealed, the detector's looks, the means, the tracks."""

    frames: tuple[int, ...]
    looks: int
    detector: str
    recognizer: str
    keep_distance: float
    tracks: tuple[Track, ...]


Conceal = Callable[[Assignment], Concealed]


def work(task: SegmentTask, message_id: str, conceal: Conceal) -> None:
    """Do this segment unless it is done, and say that it is done.

    Raises ClaimedElsewhereError if another message's worker is at it, RetryableError if it has to come back.
    """
    with jobs.failing(task.job, "worker"), log.bound(segment=task.index):
        if jobs.is_over(task.job):
            return
        manifest = jobs.open_manifest(task.job, task.index, task.manifest)
        if not _is_done(task):
            terms = Terms(message_id, settings().lease_seconds, settings().deadline_seconds)
            with hold(settings().work_bucket, layout.segment_claim(task.job, task.index), terms) as held:
                _stop_poison(task, manifest, held)
                if not _is_done(task):
                    _do(task, manifest, held, conceal)
        done = SegmentDone(job=task.job, index=task.index, manifest=task.manifest)
        messages.publish(settings().segments_done_topic, messages.SEGMENT_DONE, [done])


def _is_done(task: SegmentTask) -> bool:
    return store.find(settings().work_bucket, layout.segment_report(task.job, task.index)) is not None


def _stop_poison(task: SegmentTask, manifest: Manifest, held: Hold) -> None:
    """End a job that kills, or outlasts, one worker after another.

    The claim's attempts say that, not the message's deliveries: of those the subscription allows many,
    because a message that finds every worker busy uses one up each time.
    """
    allowed = settings().max_segment_attempts
    if held.attempts > allowed:
        source = manifest.source
        raise PermanentError(
            "poison-segment",
            f"gs://{source.bucket}/{source.name} can't be processed: {allowed} workers in a row did not "
            f"finish segment {task.index + 1} of {len(manifest.segments)}. Upload it again; if that ends the "
            "same way, export the video with another program.",
        )


def _do(task: SegmentTask, manifest: Manifest, held: Hold, conceal: Conceal) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="defacer-segment-") as folder:
        out = Path(folder) / "segment.nut"
        concealed = conceal(Assignment(manifest, manifest.segments[task.index], out, held.keep))
        with out.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        video = store.write_once(
            settings().work_bucket,
            layout.segment_video(task.job, task.index, digest),
            out,
            NUT,
            progress=held.keep,
        )
    report = SegmentReport(
        job=task.job,
        index=task.index,
        video=video,
        frames=concealed.frames,
        looks=concealed.looks,
        detector=concealed.detector,
        recognizer=concealed.recognizer,
        keep_distance=concealed.keep_distance,
        tracks=concealed.tracks,
        seconds=round(time.monotonic() - started, 3),
    )
    _commit(report, video)
    log.info("segment done", frames=len(report.frames), looks=report.looks, seconds=report.seconds)


def _commit(report: SegmentReport, video: ObjectRef) -> None:
    """Write the report; if somebody committed this segment before, theirs counts and our video goes."""
    name = layout.segment_report(report.job, report.index)
    try:
        store.write_once(settings().work_bucket, name, report.model_dump_json().encode())
    except store.AlreadyWrittenError as error:
        committed = store.read_json(error.existing, SegmentReport)
        if committed.video.name != video.name:
            store.delete(video)
