"""Request a re-render of a published video with other decisions. Faces are not detected again.

The request is one small object in the intake bucket. It triggers ingest as an upload does.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from google.cloud.storage import Blob
from pydantic import ValidationError

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import RerenderRequest
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import job_state
from defacer.pipeline.lifecycle.lease import utc_now
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.report.tracks import Decision

MAX_BYTES = 1024 * 1024  # of a request: decisions for some 50,000 tracks
# The records of a job's end are kept for at least this time (infra/variables.tf). Older requests can be over or not.
PENDING = timedelta(days=56)


def request_rerender(job: str, decisions: Mapping[int, Decision]) -> str:
    """Request a re-render of this job's video with these decisions, and return the new job's id.

    `job` is any job of that upload, also a re-render. All other tracks keep their published decisions. Decisions of a
    pending request are included, so the newest job applies all of them and replaces the others.

    Raises PermanentError if no published report exists, and RetryableError for a transient error.
    """
    source = _source_of(job)
    published_report(source)
    if objects.find_blob(source.bucket, source.name, source.generation) is None:
        raise source_gone(source)
    name = object_names.rerender_request(source)
    before = objects.find_blob(settings().intake_bucket, name)
    request = _request(source, {**_decisions(before), **decisions})
    try:
        ref = objects.replace(
            settings().intake_bucket,
            name,
            request.model_dump_json().encode(),
            generation=int(before.generation) if before else 0,
        )
    except objects.AlreadyWrittenError as error:
        raise RetryableError("another request for the same video arrived at the same moment") from error
    return object_names.job_of(ref)


def report_of(job: str) -> JobReport:
    """Return the published report of this job's video. Raise PermanentError, with a sentence, if none is published."""
    return objects.read_report(published_report(_source_of(job)))


def parse_request(data: bytes, ref: ObjectRef) -> RerenderRequest:
    """Return the request in this object. Raise PermanentError unless it is a valid request for this upload's video."""
    try:
        request = objects.parse_object(data, ref, RerenderRequest)
    except PermanentError as error:
        raise PermanentError(
            ErrorCode.BAD_REQUEST,
            "The re-render request can't be read. Ask for it again.",
            detail="not a valid RerenderRequest",
        ) from error
    source = request.source
    is_video = source.bucket == ref.bucket and object_names.parse_video(source.name) is not None
    if not is_video or ref.name != object_names.rerender_request(source):
        raise PermanentError(
            ErrorCode.BAD_REQUEST,
            "The re-render request is about another video than its name says. Ask for it again.",
        )
    return request


def video_of(request: ObjectRef) -> ObjectRef | None:
    """Return the video that a request asks for. It can be gone or unreadable if its upload's job is known.

    Return None if it is unknown, or if the object is not a request.
    """
    asked = object_names.parse_rerender(request.name)
    if asked is None:
        return None
    blob = objects.find_blob(request.bucket, request.name, request.generation)
    if blob is not None and blob.size <= MAX_BYTES:
        with suppress(PermanentError):
            return parse_request(objects.read(request), request).source
    source = job_state.source_of_job(asked.upload)
    # Not a video of another channel, whose folder this one's owner may not see.
    return source if source is not None and object_names.rerender_request(source) == request.name else None


def published_report(source: ObjectRef) -> ObjectRef:
    """Return the published report of this upload.

    Raises PermanentError if the report belongs to another upload or does not exist.
    """
    video = object_names.parse_video(source.name)
    blob = objects.find_blob(settings().output_bucket, video.report) if video else None
    if blob is None:
        raise PermanentError(
            ErrorCode.NOT_PUBLISHED,
            f"{object_names.owner_name(source.name)} has no report to render it again from: it is not "
            "published yet, it "
            "failed, or its result was deleted. Upload the video again.",
        )
    if _source_in(blob) != source:
        raise PermanentError(
            ErrorCode.RESULT_CHANGED,
            f"{object_names.owner_name(source.name)} can't be re-rendered: the published result of "
            "this name is "
            f"of another upload, by job {(blob.metadata or {}).get(object_names.OF_JOB, '(unknown)')}. "
            "Change that one's decisions.",
        )
    return objects.reference(blob)


def source_gone(source: ObjectRef) -> PermanentError:
    """Return the error for a re-render of a video that was deleted or replaced."""
    return PermanentError(
        ErrorCode.SOURCE_GONE,
        f"{object_names.owner_name(source.name)} can't be re-rendered: it was deleted or replaced after its upload. "
        "Upload the video again.",
    )


def _source_of(job: str) -> ObjectRef:
    """Return the job's video, by its manifest or, without one, by the job's published objects."""
    source = job_state.source_of_job(job) if object_names.is_job_id(job) else None
    if source is None and object_names.is_job_id(job):
        for blob in objects.list_blobs(settings().output_bucket, object_names.CHANNELS):
            if (blob.metadata or {}).get(object_names.OF_JOB) == job:
                source = _source_in(blob)
    if source is None:
        raise PermanentError(
            ErrorCode.NO_JOB, f"There is no job {job!r} that was published: look for it in the list of jobs."
        )
    return source


def _source_in(blob: Blob) -> ObjectRef | None:
    """Return the upload that a published object names as its source."""
    metadata = blob.metadata or {}
    name, generation = (
        metadata.get(object_names.OF_SOURCE, ""),
        metadata.get(object_names.OF_SOURCE_GENERATION, ""),
    )
    if object_names.parse_video(name) is None or not generation.isdecimal():
        return None
    return ObjectRef(bucket=settings().intake_bucket, name=name, generation=int(generation))


def pending(source: ObjectRef) -> dict[int, Decision]:
    """Return the requested decisions that are not in a report yet. The next request for this upload includes them."""
    return _decisions(objects.find_blob(settings().intake_bucket, object_names.rerender_request(source)))


def _decisions(before: Blob | None) -> dict[int, Decision]:
    """Return the decisions of the earlier request if its job is not over, because no report has them yet.

    If the request is so old that its job can be over or not, return only its decisions to hide a face.
    """
    if before is None:
        return {}
    ref = objects.reference(before)
    job = object_names.job_of(ref)
    if job_state.is_over(job):
        return {}
    try:
        decisions = parse_request(objects.read(ref), ref).decisions
    except PermanentError:  # it is none, or was replaced in this moment: then writing fails, too
        return {}
    if before.updated < utc_now() - PENDING:
        return {track: decision for track, decision in decisions.items() if decision == "hide"}
    return decisions


def _request(source: ObjectRef, decisions: Mapping[int, Decision]) -> RerenderRequest:
    try:
        request = RerenderRequest(source=source, decisions=dict(decisions))
    except ValidationError as error:
        what = error.errors(include_url=False)[0]["msg"]
        raise PermanentError(
            ErrorCode.BAD_DECISIONS, f"Say for each track by its number whether to keep or hide it: {what}."
        ) from error
    if len(request.model_dump_json()) > MAX_BYTES:
        raise PermanentError(
            ErrorCode.BAD_DECISIONS,
            f"{len(request.decisions)} decisions at once are too many: ask for some first.",
        )
    return request
