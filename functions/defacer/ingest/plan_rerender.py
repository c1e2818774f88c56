"""A request to render a video again: plan its job from the published report, and have it hidden. Nobody is looked for.

The faces of the report, with what was asked for decided anew, are what linking would have written: from there on the
job is like any other. It needs no gallery and no findings, so there are no embeddings.
"""

from collections.abc import Mapping
from typing import NamedTuple

from defacer.ingest import plan_job
from defacer.pipeline import log
from defacer.pipeline.channel import find_replacement, list_targets
from defacer.pipeline.documents.base import Decision, ObjectRef
from defacer.pipeline.documents.manifest import Manifest, Rerender, RerenderRequest
from defacer.pipeline.documents.report import ReportHead
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure, job_state, rerender_request
from defacer.pipeline.media_engine import EditedFaces, MediaEngine
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.report.faces import dump_head
from defacer.report.json_lines import join_report


class _Draft(NamedTuple):
    manifest: Manifest
    faces: EditedFaces


def plan(request: ObjectRef, engine: MediaEngine) -> None:
    """Plan the job of this request, or, if it was planned already, publish its tasks again.

    Twice at once is fine: the first manifest counts, and names the report; the faces and tasks of either are the same.
    """
    if request.bucket != settings().intake_bucket or object_names.parse_rerender(request.name) is None:
        log.info("ignored an object that is no request of the intake bucket")
        return
    job = object_names.job_id(request.bucket, request.name, request.generation)
    named = rerender_request.video_of(request) or request  # in what is told if it fails
    with failure.fail_job_on_permanent_error(
        job, "ingest", named, stage_already_passed=lambda record: record.detection_is_over
    ):
        record = job_state.read_job(job)
        if record.is_over:
            failure.finish_ended_job(record)  # of a planning that died and came too late
            return
        planned, edited = job_state.find_manifest(job), None
        if planned is None:
            draft = _draft(job, request, engine)
            planned = plan_job.write_manifest(draft.manifest)
            if (
                planned.document == draft.manifest
            ):  # else another planning was faster, perhaps from another report
                edited = draft.faces
        manifest, ref = planned
        faces = objects.find(settings().work_bucket, object_names.faces(job))
        if faces is None:
            plan_job.check_still_wanted(manifest)
            faces_ref = _write_faces(job, edited or _edit_as_planned(manifest, engine))
        else:
            faces_ref = objects.reference(faces)
        record = job_state.read_job(job)
        if record.is_over:  # it was given up meanwhile, and its clean-up may have come too early
            failure.finish_ended_job(record)
            return
        plan_job.announce(manifest, ref, faces_ref)


def _draft(job: str, ref: ObjectRef, engine: MediaEngine) -> _Draft:
    request = _read(ref)
    source = request.source
    video = object_names.parse_video(source.name)
    blob = objects.find(source.bucket, source.name, source.generation)
    if blob is None or video is None:
        raise rerender_request.source_gone(source)
    report = rerender_request.published_report(source)
    try:
        head, faces = _read_report(report)
    except PermanentError as error:
        if error.code != ErrorCode.OBJECT_GONE:
            raise
        raise RetryableError("the report was replaced in this moment") from error
    if head.source != source:
        raise _not_a_report(report)
    edited = _edit_faces(source, faces, request.decisions, engine)
    policy = head.policy
    image = find_replacement(source.bucket, video.channel) if policy.mode == "image" else None
    if image is not None:
        engine.require_replacement(image)
    header = engine.probe(source)
    manifest = Manifest(
        job=job,
        channel=video.channel,
        source=source,
        source_size=blob.size,
        result=video.result,
        report=video.report,
        policy=policy,
        targets=edited.people,
        gallery=None,
        replacement=image,
        video=plan_job.describe_video(header),
        segments=plan_job.segments_of(header),
        again=Rerender(
            of=head.job,
            decisions=request.decisions,
            request=ref,
            report=report,
            fingerprint=head.fingerprint,
        ),
    )
    return _Draft(manifest, edited)


def _read(ref: ObjectRef) -> RerenderRequest:
    blob = objects.find(ref.bucket, ref.name, ref.generation)
    if blob is None:
        raise _request_gone()
    if blob.size > rerender_request.MAX_BYTES:
        raise PermanentError(
            ErrorCode.BAD_REQUEST,
            f"The request to render a video again has {blob.size} bytes, at most "
            f"{rerender_request.MAX_BYTES} are allowed. "
            "Ask for fewer decisions at once.",
        )
    try:
        data = objects.read(ref)
    except PermanentError as error:
        raise _request_gone() from error
    return rerender_request.parse(data, ref)


def _request_gone() -> PermanentError:
    return PermanentError(
        ErrorCode.REQUEST_GONE,
        "The request to render a video again was deleted, or a later request took its place, before it was read. "
        "If there is a later request, wait for it. If not, ask again.",
    )


def _read_report(ref: ObjectRef) -> tuple[ReportHead, bytes]:
    """Return the head of a report, and its tracks as a document of faces."""
    head, lines = objects.split_stored_report(objects.read(ref), ref)
    return head, join_report(dump_head(head.faces), lines)


def _not_a_report(report: ObjectRef) -> PermanentError:
    return PermanentError(
        ErrorCode.BAD_OBJECT,
        f"{object_names.owner_name(report.name)} is not the report that was published there. Upload the video again.",
    )


def _edit_faces(
    source: ObjectRef, faces: bytes, decisions: Mapping[int, Decision], engine: MediaEngine
) -> EditedFaces:
    """The report's faces with what was asked for decided anew. Raises PermanentError for a track that is not there.

    Whoever is kept by name needs a target picture: without one, they may have withdrawn their consent.
    """
    name = object_names.owner_name(source.name)
    channel = object_names.channel_of_input(source.name) or ""
    known = {picture.person for picture in list_targets(source.bucket, channel)}
    try:
        edited = engine.edit_faces(faces, decisions, known)
    except PermanentError as error:
        raise PermanentError(error.code, f"{name} can't be rendered again: {error}") from error
    if edited.unconsented_tracks:
        tracks = ", ".join(map(str, edited.unconsented_tracks))
        raise PermanentError(
            job_state.TARGET_GONE,
            f"{name} was not rendered again: it keeps people of whom there is no target picture any more (tracks "
            f"{tracks}). Hide these tracks, too, or upload the pictures again.",
        )
    return edited


def _edit_as_planned(manifest: Manifest, engine: MediaEngine) -> EditedFaces:
    """What a planning that died, or was slower, has decided: the manifest says by which report."""
    planned = manifest.again
    if planned is None:
        raise PermanentError(ErrorCode.BAD_OBJECT, "The plan of this job can't be used. Ask for it again.")
    try:
        _, faces = _read_report(planned.report)
    except PermanentError as error:
        raise PermanentError(
            ErrorCode.REPORT_GONE,
            f"{object_names.owner_name(manifest.source.name)} was not rendered again: its report was deleted or "
            "replaced while that was being planned. Ask for it again.",
        ) from error
    return _edit_faces(manifest.source, faces, planned.decisions, engine)


def _write_faces(job: str, edited: EditedFaces) -> ObjectRef:
    """The commit of what linking would be."""
    try:
        return objects.write_once(
            settings().work_bucket, object_names.faces(job), edited.document, objects.JSON_LINES
        )
    except objects.AlreadyWrittenError as error:
        return error.existing
