"""After the last segment of the step "redact": join the segments, check and publish the result, finalize the job.

Each finished segment sends a message. The message that finds all segments acquires the lease, which is deleted last.
After a crash it still exists, which means that a published job is not finalized, and the next delivery continues.
Every action can be repeated.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, zip_longest
from typing import NamedTuple

from defacer.pipeline import log
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Verdict
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.report import ReportedSegment, ReportHead, ResultCheck
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentReport
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure, finalize, job_state, ownership, step_marks, verdict
from defacer.pipeline.lifecycle.lease import (
    HeldLease,
    acquire_lease,
    fail_if_timeouts_exhausted,
    lease_options_for,
)
from defacer.pipeline.lifecycle.ownership import load_verified_manifest, read_faces_document
from defacer.pipeline.lifecycle.publishing import PublishedVersion, compare_with_published
from defacer.pipeline.lifecycle.segments import is_step_complete, list_outputs_if_complete
from defacer.pipeline.media_engine import JoinedVideo, JoinInput, MediaEngine
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.plurals import pluralize
from defacer.report.changes import list_dropped
from defacer.report.json_lines import dump_track, load_track, split_report
from defacer.report.tracks import FacesHead, TrackRecord

MP4 = "video/mp4"


def join_and_publish(done: SegmentDone, message_id: str, engine: MediaEngine) -> None:
    """Finish the job if this was the last segment, or if an earlier merge died while it finished it.

    Raises RetryableError if the message has to be redelivered: another merge has the lease, or a transient error.
    """
    with failure.fail_job_on_permanent_error(done.job, "merge"):
        if not is_step_complete(done, step_marks.read_step_marks(done)):
            return
        is_published = job_state.is_published(done.job)
        is_finalized = is_published and not job_state.has_merge_lease(done.job)
        if is_finalized or job_state.has_failed(done.job):
            finalize.roll_back_late_copy(done.job)  # a merge can have died after the cleanup
            failure.finish_ended_job(done.job)
            return
        manifest = load_verified_manifest(done.job, done.index, done.manifest)
        lease = object_names.merge_lease(done.job)
        with acquire_lease(settings().work_bucket, lease, lease_options_for(message_id)) as held:
            if verdict.find_verdict(done.job) is None:
                fail_if_timeouts_exhausted(manifest, held, "joining it")
                _join_and_decide(manifest, done.faces, held, engine)
            published = finalize.apply_verdict(manifest, held.renew)
            if published is not None:
                finalize.finalize(manifest, published)


def _join_and_decide(
    manifest: Manifest, faces_ref: ObjectRef | None, held: HeldLease, engine: MediaEngine
) -> None:
    """Make the result and write the verdict. Any later merge publishes the result if this one dies."""
    # First, because a result that can't be published is not needed.
    if PublishedVersion.NEWER in {
        compare_with_published(manifest, name).version for name in (manifest.result, manifest.report)
    }:
        verdict.write_verdict_once(_publishing_verdict(manifest))
        return
    parts = object_names.merge_part(manifest.job, held.token, "")
    try:
        ours = _make_result(manifest, faces_ref, held, engine)
        held.renew()
    except Exception:
        with suppress(RetryableError):  # the first error counts
            objects.delete_all(settings().work_bucket, parts)
        raise
    if verdict.write_verdict_once(ours).result != ours.result:
        objects.delete_all(settings().work_bucket, parts)


def _make_result(
    manifest: Manifest, faces_ref: ObjectRef | None, held: HeldLease, engine: MediaEngine
) -> Verdict:
    """Store the checked result and its report in the work bucket, and return the verdict to publish them."""
    faces, head = read_faces_document(manifest.job, faces_ref)
    reports = _read_reports(manifest, head, held)
    result, joined = _join(manifest, reports, held, engine)
    if manifest.rerender and joined.fingerprint != manifest.rerender.fingerprint:
        raise _check_failed(manifest, "it is not the video of the report that it was re-rendered from")
    name = object_names.merge_part(manifest.job, held.token, "report.jsonl")
    found = _found_tracks(faces, reports)
    report_head = _report_head(manifest, reports, joined, head, found)
    _, lines = split_report(faces)
    data = report_head.with_lines(chain(lines, map(dump_track, found)))
    report = objects.write_once(settings().work_bucket, name, data, objects.JSON_LINES, progress=held.renew)
    # The dashboard subtracts `segments` from the count of "segment redacted" lines (infra/observability.tf).
    log.info("joined", segments=len(reports), frames=joined.frames)
    return _publishing_verdict(manifest, result, report)


def _publishing_verdict(
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
    """Store the samples while they are joined, then the head, and compose both. No file is on this machine."""
    bucket = settings().work_bucket
    head, samples, whole = (
        object_names.merge_part(manifest.job, held.token, part) for part in ("head", "samples", "mp4")
    )
    with objects.open_for_writing(bucket, samples, MP4, held.renew) as file:
        job = JoinInput(manifest, reports, file, held.renew)
        joined = engine.join(job)
    objects.write_once(bucket, head, joined.head, MP4, progress=held.renew)
    result = objects.compose([head, samples], bucket, whole, MP4)
    engine.check_result(job, result, joined)
    return _StoredResult(result, joined)


def _read_reports(manifest: Manifest, faces: FacesHead, held: HeldLease) -> tuple[SegmentReport, ...]:
    """Read the reports of all segments in order. Raises PermanentError if they do not match the job or its faces."""
    refs = list_outputs_if_complete(manifest.job, "redact", len(manifest.segments))
    if refs is None:
        raise _check_failed(manifest, "the report of a segment was deleted")
    reports = []
    for ref in refs:
        held.renew()
        report = objects.read_json(ref, SegmentReport)
        if (
            ref.name != object_names.segment_report(manifest.job, report.index, report.subsegment)
            or report.job != manifest.job
            or not ownership.is_segment_video(report)
        ):
            raise _check_failed(manifest, "the report of a segment is not its own")
        reports.append(report)
    _require_same_frames(manifest, faces, _count_frames(reports))
    return tuple(reports)


def _count_frames(reports: Sequence[SegmentReport]) -> list[int]:
    """Return the number of frames of each segment. A segment that was split has several reports."""
    frames: Counter[int] = Counter()
    for report in reports:
        frames[report.index] += len(report.frames)
    return [frames[index] for index in sorted(frames)]


def _require_same_frames(manifest: Manifest, faces: FacesHead, redacted_frames: list[int]) -> None:
    """Raise PermanentError unless both steps processed the same number of frames in each segment.

    For a re-render only the sums are compared, because the faces are of a job that can have other segments.
    """
    if manifest.rerender is not None:
        pairs = [("", faces.frames, sum(redacted_frames))]
    else:
        both = zip_longest(faces.segments, redacted_frames, fillvalue=0)
        pairs = [(f" of segment {number}", *pair) for number, pair in enumerate(both, start=1)]
    for where, detected, redacted in pairs:
        if detected != redacted:
            raise _check_failed(
                manifest,
                f"faces were detected in {pluralize(detected, 'frame')} and redacted in "
                f"{pluralize(redacted, 'frame')}{where}",
            )


def _check_failed(manifest: Manifest, problem: str) -> PermanentError:
    source = manifest.source
    return PermanentError(
        ErrorCode.CHECK_FAILED,
        f"{object_names.owner_name(source.name)} was not published: {problem}. Upload the video again.",
    )


def _found_tracks(faces: bytes, reports: Sequence[SegmentReport]) -> list[TrackRecord]:
    """Return the tracks that the checks of the segments found, numbered on from those of the document of faces.

    Each is a person group of its own.
    """
    found = [track for report in reports if report.checked for track in report.checked.tracks]
    if not found:
        return []
    known = [(track.id, track.group) for track in map(load_track, split_report(faces)[1])]
    first_id, first_group = (max(numbers) + 1 for numbers in zip(*known, strict=True)) if known else (0, 0)
    return [replace(track, id=first_id + n, group=first_group + n) for n, track in enumerate(found)]


def _sum_checks(reports: Sequence[SegmentReport], found: tuple[int, ...]) -> ResultCheck | None:
    """Return the sum of the checks of all segments; None if a segment was not checked."""
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
    found: Sequence[TrackRecord],
) -> ReportHead:
    return ReportHead(
        job=manifest.job,
        source=manifest.source,
        result=manifest.result,
        policy=manifest.policy,
        targets=manifest.targets,
        frames=joined.frames,
        black_frames=sum(report.black_frames for report in reports),
        copied_frames=sum(report.copied_frames for report in reports),
        audio_packets=joined.audio_packets,
        fingerprint=joined.fingerprint,
        dropped=list_dropped(joined.changes),
        changes=joined.changes,
        clock=manifest.video.clock,
        segments=tuple(
            ReportedSegment(index=index, frames=frames) for index, frames in enumerate(_count_frames(reports))
        ),
        rerender=manifest.rerender.to_record() if manifest.rerender else None,
        checked=_sum_checks(reports, tuple(track.id for track in found)),
        faces=faces,
    )
