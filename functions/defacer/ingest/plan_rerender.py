"""Plan the job of a re-render request from the published report.

The job starts with the step "redact". Its faces are those of the report with the request's edits. It needs neither
a gallery nor segment detections, so it has no embeddings.
"""

from typing import NamedTuple

from defacer.ingest import plan_job
from defacer.pipeline import admission, log
from defacer.pipeline.channel import find_replacement, list_kept_people
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest, Rerender, RerenderRequest
from defacer.pipeline.documents.report import ReportHead
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure, job_state, rerender_request
from defacer.pipeline.media_engine import EditedFaces, MediaEngine
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.report.edits import Edits
from defacer.report.faces import dump_head
from defacer.report.json_lines import join_report


class _Draft(NamedTuple):
    manifest: Manifest
    faces: EditedFaces


def plan_rerender_job(request: ObjectRef, engine: MediaEngine) -> None:
    """Plan the job of this request. If it was planned before, publish its tasks again.

    Two plannings of one request can run at the same time: the first manifest counts and names the report, and both
    publish the same faces and tasks.
    """
    if request.bucket != settings().intake_bucket or object_names.parse_rerender(request.name) is None:
        log.info("ignored an object that is not a request of the intake bucket")
        return
    job = object_names.job_of(request)
    announced = rerender_request.video_of(request) or request  # the event of a failure names it
    with failure.fail_job_on_permanent_error(
        job, "ingest", announced, stage_already_passed=lambda record: record.is_detection_over
    ):
        if failure.finish_if_over(job):  # a planning can have died after it wrote too late
            return
        planned, edited = job_state.find_manifest(job), None
        if planned is None:
            draft = _draft_job(job, request, engine)
            if not admission.take_turn(draft.manifest, is_urgent=True):
                log.info("the job waits for its turn")
                return
            planned = plan_job.write_manifest(draft.manifest)
            # Otherwise another planning was faster, perhaps from another report.
            edited = draft.faces if planned.document == draft.manifest else None
        manifest, ref = planned
        faces = objects.find_blob(settings().work_bucket, object_names.faces(job))
        if faces is None:
            plan_job.require_targets(manifest)
            faces_ref = _write_faces(job, edited or _edit_as_planned(manifest, engine))
        else:
            faces_ref = objects.reference(faces)
        if job_state.is_erased(object_names.job_of(manifest.source)):
            # `erase` finds a replaced request by its job's manifest, which it can have missed.
            failure.mark_erased(job)
        if failure.finish_if_over(job):  # its cleanup can have run before the writes
            return
        plan_job.announce_and_dispatch(manifest, ref, faces_ref)


def _draft_job(job: str, ref: ObjectRef, engine: MediaEngine) -> _Draft:
    request = _read(ref)
    source = request.source
    video = object_names.parse_video(source.name)
    blob = objects.find_blob(source.bucket, source.name, source.generation)
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
    edited = _edit_faces(source, faces, request.edits, engine)
    policy = head.policy
    image = find_replacement(source.bucket, video.channel) if policy.mode == "image" else None
    if image is not None:
        engine.require_replacement(image)
    header = engine.probe(source, policy)
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
        segments=plan_job.cut_segments(header),
        window=settings().job_segments,
        rerender=Rerender(
            of=head.job,
            edits=request.edits,
            added=edited.added,
            request=ref,
            report=report,
            fingerprint=head.fingerprint,
        ),
    )
    return _Draft(manifest, edited)


def _read(ref: ObjectRef) -> RerenderRequest:
    blob = objects.find_blob(ref.bucket, ref.name, ref.generation)
    if blob is None:
        raise _request_gone()
    if blob.size > rerender_request.MAX_BYTES:
        raise PermanentError(
            ErrorCode.BAD_REQUEST,
            f"The re-render request has {blob.size} bytes, at most "
            f"{rerender_request.MAX_BYTES} are allowed. "
            "Ask for fewer changes at once.",
        )
    try:
        data = objects.read(ref)
    except PermanentError as error:
        raise _request_gone() from error
    return rerender_request.parse_request(data, ref)


def _request_gone() -> PermanentError:
    return PermanentError(
        ErrorCode.REQUEST_GONE,
        "The re-render request was deleted or replaced by a later one before it was read. "
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


def _edit_faces(source: ObjectRef, faces: bytes, edits: Edits, engine: MediaEngine) -> EditedFaces:
    """Apply the edits to the faces of the report. Raises PermanentError for edits that do not fit it.

    A person who is kept by name needs a target picture. Without one, the person might have withdrawn their consent.
    """
    name = object_names.owner_name(source.name)
    channel = object_names.channel_of_input(source.name) or ""
    known = set(list_kept_people(channel))
    try:
        edited = engine.edit_faces(faces, edits, known)
    except PermanentError as error:
        raise PermanentError(error.code, f"{name} can't be re-rendered: {error}") from error
    if edited.unconsented_tracks:
        tracks = ", ".join(map(str, edited.unconsented_tracks))
        raise PermanentError(
            job_state.TARGET_GONE,
            f"{name} was not re-rendered: it keeps people whose target pictures were deleted (tracks {tracks}). "
            "Hide these tracks too, or upload the pictures again.",
        )
    return edited


def _edit_as_planned(manifest: Manifest, engine: MediaEngine) -> EditedFaces:
    """Apply the edits of the manifest to the report that it names, as the planning that wrote it did."""
    planned = manifest.rerender
    if planned is None:
        raise PermanentError(ErrorCode.BAD_OBJECT, "The plan of this job can't be used. Ask for it again.")
    try:
        _, faces = _read_report(planned.report)
    except PermanentError as error:
        raise PermanentError(
            ErrorCode.REPORT_GONE,
            f"{object_names.owner_name(manifest.source.name)} was not re-rendered: its report was deleted or "
            "replaced during the planning. Ask for it again.",
        ) from error
    return _edit_faces(manifest.source, faces, planned.edits, engine)


def _write_faces(job: str, edited: EditedFaces) -> ObjectRef:
    """Write the faces, which commits the step that linking is for an upload."""
    try:
        return objects.write_once(
            settings().work_bucket, object_names.faces(job), edited.document, objects.JSON_LINES
        )
    except objects.AlreadyWrittenError as error:
        return error.existing
