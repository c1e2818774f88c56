"""The last steps of a job: when all segments are there, join them, publish, tell, clean up.

Every finished segment brings a message here; the one that finds all segments there claims the job. The
claim's object goes last. So after a crash at any point it is still there, and says that a published job is
not yet finished with: the next delivery goes on from there, and no step minds being done twice.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, zip_longest
from typing import NamedTuple

from defacer.merge.timeouts import fail_if_timeouts_exhausted
from defacer.pipeline import log
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Verdict
from defacer.pipeline.documents.manifest import Manifest, RerenderRecord
from defacer.pipeline.documents.report import ReportedSegment, ReportHead, ResultCheck
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentReport
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure, finalize, job_state, ownership, verdict
from defacer.pipeline.lifecycle.lease import HeldLease, acquire_lease, lease_options_for
from defacer.pipeline.lifecycle.ownership import load_verified_manifest, read_faces
from defacer.pipeline.lifecycle.publishing import PublishedVersion, compare_with_published
from defacer.pipeline.lifecycle.segments import list_outputs_if_complete
from defacer.pipeline.media_engine import JoinedVideo, JoinInput, MediaEngine
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.plurals import pluralize
from defacer.report.json_lines import dump_track, load_track, split_report
from defacer.report.tracks import FacesHead, Track

MP4 = "video/mp4"


def join_and_publish(done: SegmentDone, message_id: str, engine: MediaEngine) -> None:
    """Finish the job if this was its last segment, or if somebody died while finishing it.

    Raises RetryableError if the message has to come back: somebody else is at it, or a fault that may pass.
    """
    with failure.fail_job_on_permanent_error(done.job, "merge"):
        record = job_state.read_job(done.job)
        if record.has_failed or record.is_finalized:  # a merge can have died after the others had cleaned up
            finalize.roll_back_late_copy(done.job)
            failure.finish_ended_job(record)
            return
        manifest = load_verified_manifest(done.job, done.index, done.manifest)
        if not record.is_published and list_outputs_if_complete(manifest, "redact", done.index) is None:
            return
        lease = object_names.merge_lease(done.job)
        with acquire_lease(settings().work_bucket, lease, lease_options_for(message_id)) as held:
            record = job_state.read_job(done.job)
            if not record.is_published and record.verdict is None:
                fail_if_timeouts_exhausted(manifest, held, "joining it")
                _decide(manifest, done.faces, held, engine)
            published = finalize.apply_verdict(manifest, held.renew)
            if published is not None:
                finalize.finalize(manifest, published)


def _decide(manifest: Manifest, faces_ref: ObjectRef | None, held: HeldLease, engine: MediaEngine) -> None:
    """Make the result and write the verdict, with which it is published whatever happens to this merge."""
    # Before the work: a result that can't be published need not be made.
    if PublishedVersion.NEWER in {
        compare_with_published(manifest, name).version for name in (manifest.result, manifest.report)
    }:
        verdict.decide(_to_publish(manifest))
        return
    parts = object_names.merge_part(manifest.job, held.token, "")
    try:
        ours = _made(manifest, faces_ref, held, engine)
        held.renew()
    except Exception:
        with suppress(RetryableError):  # what went wrong first is what counts
            objects.delete_all(settings().work_bucket, parts)
        raise
    if verdict.decide(ours).result != ours.result:
        objects.delete_all(settings().work_bucket, parts)


def _made(manifest: Manifest, faces_ref: ObjectRef | None, held: HeldLease, engine: MediaEngine) -> Verdict:
    """The result and its report as objects of the work bucket, checked: what may be published."""
    faces, head = read_faces(manifest.job, faces_ref)
    reports = _reports(manifest, head, held)
    result, joined = _join(manifest, reports, held, engine)
    if manifest.again and joined.fingerprint != manifest.again.fingerprint:
        raise _mismatch(manifest, "it is not the video that the report it was rendered again from is about")
    name = object_names.merge_part(manifest.job, held.token, "report.jsonl")
    found = _found_tracks(faces, reports)
    report_head = _report_head(manifest, reports, joined, head, found)
    _, lines = split_report(faces)
    data = report_head.with_lines(chain(lines, map(dump_track, found)))
    report = objects.write_once(settings().work_bucket, name, data, objects.JSON_LINES, progress=held.renew)
    # Each line "segment done" is counted off by this one (infra/observability.tf).
    log.info("joined", segments=len(reports), frames=joined.frames)
    return _to_publish(manifest, result, report)


def _to_publish(
    manifest: Manifest, result: ObjectRef | None = None, report: ObjectRef | None = None
) -> Verdict:
    return Verdict(
        job=manifest.job,
        state="publishing",
        source=manifest.source,
        request=manifest.request,
        result=result,
        report=report,
    )


class _StoredResult(NamedTuple):
    ref: ObjectRef
    joined: JoinedVideo


def _join(
    manifest: Manifest, reports: tuple[SegmentReport, ...], held: HeldLease, engine: MediaEngine
) -> _StoredResult:
    """The result as an object of the work bucket: the samples as they come, then the head, then both as one.

    So nothing of it is ever on this machine.
    """
    bucket = settings().work_bucket
    head, samples, whole = (
        object_names.merge_part(manifest.job, held.token, part) for part in ("head", "samples", "mp4")
    )
    with objects.writing(bucket, samples, MP4, held.renew) as file:
        job = JoinInput(manifest, reports, file, held.renew)
        joined = engine.join(job)
    objects.write_once(bucket, head, joined.head, MP4, progress=held.renew)
    result = objects.compose([head, samples], bucket, whole, MP4)
    engine.check_result(job, result, joined)
    return _StoredResult(result, joined)


def _reports(manifest: Manifest, faces: FacesHead, held: HeldLease) -> tuple[SegmentReport, ...]:
    """All segments' reports, in order. Raises PermanentError if they do not fit the job or its faces."""
    refs = list_outputs_if_complete(manifest, "redact", 0)
    if refs is None:
        raise _mismatch(manifest, "the report of a segment is gone")
    reports = []
    for ref in refs:
        held.renew()
        report = objects.read_json(ref, SegmentReport)
        if (
            ref.name != object_names.segment_report(manifest.job, report.index, report.part)
            or report.job != manifest.job
            or not ownership.is_segment_video(report)
        ):
            raise _mismatch(manifest, "the report of a segment is about another one")
        reports.append(report)
    _require_same_frames(manifest, faces, _frames_of(reports))
    return tuple(reports)


def _frames_of(reports: Sequence[SegmentReport]) -> list[int]:
    """The frames of each segment; of one that was split there are several reports."""
    frames: Counter[int] = Counter()
    for report in reports:
        frames[report.index] += len(report.frames)
    return [frames[index] for index in sorted(frames)]


def _require_same_frames(manifest: Manifest, faces: FacesHead, hidden: list[int]) -> None:
    """Raise PermanentError unless faces were looked for in every frame in which they were hidden.

    Segment by segment: one too many in one of them does not make up for one too few in another. Only of all together
    where the faces do not say it, or say it of another job's segments: what is rendered again may be cut elsewhere.
    """
    if manifest.again is not None:
        pairs = [("", faces.frames, sum(hidden))]
    else:
        both = zip_longest(faces.segments, hidden, fillvalue=0)
        pairs = [(f" of segment {number}", *pair) for number, pair in enumerate(both, start=1)]
    for where, looked, concealed in pairs:
        if looked != concealed:
            raise _mismatch(
                manifest,
                f"faces were looked for in {pluralize(looked, 'frame')}, and hidden in "
                f"{pluralize(concealed, 'frame')}{where}",
            )


def _mismatch(manifest: Manifest, what: str) -> PermanentError:
    source = manifest.source
    return PermanentError(
        ErrorCode.CHECK_FAILED,
        f"{object_names.owner_name(source.name)} was not published: {what}. Upload the video again.",
    )


def _found_tracks(faces: bytes, reports: Sequence[SegmentReport]) -> list[Track]:
    """Return the tracks that the checks of the segments found, numbered on from those of the document of faces.

    Each is a person group of its own.
    """
    found = [track for report in reports if report.checked for track in report.checked.tracks]
    if not found:
        return []
    known = [(track.id, track.group) for track in map(load_track, split_report(faces)[1])]
    first_id, first_group = (max(numbers) + 1 for numbers in zip(*known, strict=True)) if known else (0, 0)
    return [replace(track, id=first_id + n, group=first_group + n) for n, track in enumerate(found)]


def _checked(reports: Sequence[SegmentReport], found: tuple[int, ...]) -> ResultCheck | None:
    """What the checks of the segments add up to; None if a segment was not checked."""
    checks = [report.checked for report in reports if report.checked]
    if not checks or len(checks) < len(reports):
        return None
    return ResultCheck(
        verify=checks[0].verify,
        frames=sum(check.frames for check in checks),
        passed_as_target=sum(check.passed_as_target for check in checks),
        passed_as_unlikely=sum(check.passed_as_unlikely for check in checks),
        tracks=found,
    )


def _report_head(
    manifest: Manifest,
    reports: Sequence[SegmentReport],
    joined: JoinedVideo,
    faces: FacesHead,
    found: Sequence[Track],
) -> ReportHead:
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
        segments=tuple(
            ReportedSegment(index=index, frames=frames) for index, frames in enumerate(_frames_of(reports))
        ),
        again=_rendered_again(manifest),
        checked=_checked(reports, tuple(track.id for track in found)),
        faces=faces,
    )


def _rendered_again(manifest: Manifest) -> RerenderRecord | None:
    again = manifest.again
    return None if again is None else RerenderRecord(of=again.of, decisions=again.decisions)
