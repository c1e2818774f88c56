"""The last steps of a job: when all segments are there, join them, publish, tell, clean up.

Every finished segment brings a message here; the one that finds all segments there claims the job. The
claim's object goes last. So after a crash at any point it is still there, and says that a published job is
not yet finished with: the next delivery goes on from there, and no step minds being done twice.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from functions.merge.publish import Standing, publish, standing, unpublish
from functions.pipeline import belonging, jobs, layout, log, store
from functions.pipeline.claim import Hold, delivery_terms, hold
from functions.pipeline.contracts import (
    Manifest,
    ObjectRef,
    Published,
    ReportedSegment,
    ReportHead,
    SegmentDone,
    SegmentReport,
)
from functions.pipeline.errors import PermanentError, RetryableError
from functions.pipeline.parts import all_made
from functions.pipeline.settings import settings

MP4 = "video/mp4"


@dataclass(frozen=True)
class Parts:
    """What to join: the source, and the segments by their reports; `samples` takes the result but for its head."""

    manifest: Manifest
    reports: tuple[SegmentReport, ...]
    samples: BinaryIO
    keep_claim: Callable[[], None]


class Joined(Protocol):
    """What merge needs to know of the joined video: `functions.engine.join.Joined` has it.

    `head` comes before the samples.
    """

    @property
    def head(self) -> bytes: ...
    @property
    def frames(self) -> int: ...
    @property
    def audio_packets(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dropped(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Hands:
    """What merge needs of the engine. Both raise PermanentError if anything does not add up."""

    join: Callable[[Parts], Joined]
    check: Callable[[Manifest, ObjectRef, Joined, Callable[[], None]], None]


def finish(done: SegmentDone, message_id: str, hands: Hands) -> None:
    """Finish the job if this was its last segment, or if somebody died while finishing it.

    Raises ClaimedElsewhereError if another message's holder is at it, RetryableError if it has to come back.
    """
    with jobs.failing(done.job, "merge"):
        if jobs.has_failed(done.job):
            jobs.clean_up(done.job)
            return
        claim = layout.merge_claim(done.job)
        if jobs.is_published(done.job) and store.find(settings().work_bucket, claim) is None:
            return
        manifest = jobs.open_manifest(done.job, done.index, done.manifest)
        if not jobs.is_published(done.job) and all_made(manifest, "hide", done.index) is None:
            return
        with hold(settings().work_bucket, claim, delivery_terms(message_id)) as held:
            published = _published(manifest, done.faces, held, hands)
            if published is not None:
                _wind_up(manifest, published)


def _published(manifest: Manifest, faces_ref: ObjectRef | None, held: Hold, hands: Hands) -> Published | None:
    """The job's marker: as it is there, or after publishing. None if the job has failed meanwhile."""
    found = store.find_json(settings().work_bucket, layout.published(manifest.job), Published)
    if found is not None:
        return found[0]
    # Before the work: a result that can't be published need not be made.
    newer = Standing.NEWER in {standing(manifest, name)[0] for name in (manifest.result, manifest.report)}
    if newer:
        return _mark(Published(job=manifest.job, result=None, report=manifest.report, superseded=True))
    faces, head = jobs.read_faces(manifest.job, faces_ref)
    reports = _reports(manifest, head.frames, held)
    try:
        made, joined = _joined(manifest, reports, held, hands.join)
        hands.check(manifest, made, joined, held.keep)
        if jobs.has_failed(manifest.job):
            return None
        held.keep()
        result = publish(manifest, manifest.result, made, held.keep)
    finally:
        with suppress(RetryableError):  # what went wrong first is what counts
            store.delete_all(settings().work_bucket, layout.merge_part(manifest.job, held.token, ""))
    if result is not None:
        data = _report(manifest, reports, joined).with_faces(faces)
        publish(manifest, manifest.report, data, held.keep)
    if jobs.has_failed(manifest.job):  # or it was erased, while this one was publishing
        unpublish(manifest)
        jobs.clean_up(manifest.job)
        return None
    log.info("published", frames=joined.frames, superseded=result is None)
    return _mark(
        Published(job=manifest.job, result=result, report=manifest.report, superseded=result is None)
    )


def _joined(
    manifest: Manifest, reports: tuple[SegmentReport, ...], held: Hold, join: Callable[[Parts], Joined]
) -> tuple[ObjectRef, Joined]:
    """The result as an object of the work bucket: the samples as they come, then the head, then both as one.

    So nothing of it is ever on this machine.
    """
    bucket = settings().work_bucket
    head, samples, whole = (
        layout.merge_part(manifest.job, held.token, part) for part in ("head", "samples", "mp4")
    )
    with store.writing(bucket, samples, MP4, held.keep) as file:
        joined = join(Parts(manifest, reports, file, held.keep))
    store.write_once(bucket, head, joined.head, MP4, progress=held.keep)
    return store.compose([head, samples], bucket, whole, MP4), joined


def _mark(published: Published) -> Published:
    name = layout.published(published.job)
    try:
        store.write_once(settings().work_bucket, name, published.model_dump_json(indent=2).encode())
    except store.AlreadyWrittenError as error:
        return store.read_json(error.existing, Published)
    return published


def _wind_up(manifest: Manifest, published: Published) -> None:
    """Tell, delete the source if the policy says so, and what was made on the way."""
    jobs.announce_completed(manifest, published)
    if manifest.policy.source == "delete":
        store.delete(manifest.source)
    jobs.clean_up(manifest.job)


def _reports(manifest: Manifest, frames_searched: int, held: Hold) -> tuple[SegmentReport, ...]:
    """All segments' reports, in order. Raises PermanentError if they do not fit the job or its faces."""
    refs = all_made(manifest, "hide", 0)
    if refs is None:
        raise _mismatch(manifest, "the report of a segment is gone")
    reports = []
    for ref in refs:
        held.keep()
        report = store.read_json(ref, SegmentReport)
        if (
            ref.name != layout.segment_report(manifest.job, report.index, report.part)
            or report.job != manifest.job
            or not belonging.is_segment_video(report)
        ):
            raise _mismatch(manifest, f"{ref.name} is the report of another segment")
        reports.append(report)
    frames = sum(len(report.frames) for report in reports)
    if frames != frames_searched:
        raise _mismatch(
            manifest, f"faces were looked for in {frames_searched} frames, and hidden in {frames} frames"
        )
    return tuple(reports)


def _mismatch(manifest: Manifest, what: str) -> PermanentError:
    source = manifest.source
    return PermanentError(
        "check-failed",
        f"gs://{source.bucket}/{source.name} was not published: {what}. Upload the video again.",
    )


def _report(manifest: Manifest, reports: Sequence[SegmentReport], joined: Joined) -> ReportHead:
    frames: Counter[int] = Counter()
    for report in reports:  # of a segment that was split there are several
        frames[report.index] += len(report.frames)
    return ReportHead(
        job=manifest.job,
        source=manifest.source,
        result=manifest.result,
        policy=manifest.policy,
        targets=manifest.targets,
        frames=joined.frames,
        black_frames=sum(report.black_frames for report in reports),
        audio_packets=joined.audio_packets,
        fingerprint=joined.fingerprint,
        dropped=joined.dropped,
        segments=tuple(ReportedSegment(index=index, frames=frames[index]) for index in sorted(frames)),
    )
