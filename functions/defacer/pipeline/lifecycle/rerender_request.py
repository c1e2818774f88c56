"""Request a re-render of a published video after a person's edits. Faces are not detected again.

The request is one small object in the intake bucket. It triggers ingest as an upload does.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
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
from defacer.report.edits import Edits

MAX_BYTES = 16 * 1024 * 1024  # of a request: some 300,000 boxes
# The records of a job's end are kept for at least this time (infra/variables.tf). Older requests can be over or not.
PENDING = timedelta(days=56)


@dataclass(frozen=True)
class RequestedRerender:
    """The job of a request, and the ids of the tracks that the request adds."""

    job: str
    added: range


def request_rerender(job: str, edits: Edits) -> RequestedRerender:
    """Request a re-render of this job's video after these edits.

    `job` is any job of that upload, also a re-render. All other tracks stay as they are published. Edits of a pending
    request are included, so the newest job applies all of them and replaces the others. The added tracks get the ids
    after those of the published tracks and of the pending ones.

    Raises PermanentError if no published report exists, and RetryableError for a transient error.
    """
    source = _source_of(job)
    report = published_report(source)
    if objects.find_blob(source.bucket, source.name, source.generation) is None:
        raise source_gone(source)
    name = object_names.rerender_request(source)
    before = objects.find_blob(settings().intake_bucket, name)
    merged = _merge(_pending_edits(before), edits, report)
    request = _request(source, merged)
    try:
        ref = objects.replace(
            settings().intake_bucket,
            name,
            request.model_dump_json().encode(),
            generation=int(before.generation) if before else 0,
        )
    except objects.AlreadyWrittenError as error:
        raise RetryableError("another request for the same video arrived at the same moment") from error
    end = (merged.first_id or 0) + len(merged.added)
    return RequestedRerender(object_names.job_of(ref), range(end - len(edits.added), end))


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
    if blob is None and _waits_for_review(source):
        raise PermanentError(
            ErrorCode.NOT_PUBLISHED,
            f"{object_names.owner_name(source.name)} is not published yet: its job waits until a person confirms who "
            f"stays visible. Open its page in the console, or run defacer job confirm {object_names.job_of(source)}.",
        )
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


def _waits_for_review(source: ObjectRef) -> bool:
    job = object_names.job_of(source)
    stored = job_state.find_stored_faces(job)
    return stored is not None and stored.review_end is not None and not job_state.is_over(job)


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
            ErrorCode.NO_JOB, f"There is no job {job!r} that was published. Choose one in the list of jobs."
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


def pending(source: ObjectRef) -> Edits:
    """Return the requested edits that are not in a report yet. The next request for this upload includes them."""
    return _pending_edits(objects.find_blob(settings().intake_bucket, object_names.rerender_request(source)))


def _pending_edits(before: Blob | None) -> Edits:
    """Return the edits of the earlier request if its job is not over, because no report has them yet.

    If the request is so old that its job can be over or not, return only its edits that hide a face.
    """
    if before is None:
        return Edits()
    ref = objects.reference(before)
    job = object_names.job_of(ref)
    if job_state.is_over(job):
        return Edits()
    try:
        edits = parse_request(objects.read(ref), ref).edits
    except PermanentError:  # it is none, or was replaced in this moment: then writing fails, too
        return Edits()
    return edits.only_hiding() if before.updated < utc_now() - PENDING else edits


def _merge(before: Edits, edits: Edits, report: ObjectRef) -> Edits:
    """Return both edits. Raise RetryableError if the report was replaced between them, and has other tracks."""
    if edits.added and edits.first_id is None:
        _, lines = objects.split_stored_report(objects.read(report), report)
        edits = replace(edits, first_id=sum(1 for _ in lines) + len(before.added))
    try:
        return before.merge(edits)
    except ValueError as error:
        raise RetryableError("the report was replaced in this moment") from error


def _request(source: ObjectRef, edits: Edits) -> RerenderRequest:
    if not edits:
        raise PermanentError(
            ErrorCode.BAD_DECISIONS, "The request changes nothing. Change a track, or add one."
        )
    try:
        request = RerenderRequest(source=source, edits=edits)
    except ValidationError as error:
        what = error.errors(include_url=False)[0]["msg"]
        raise PermanentError(
            ErrorCode.BAD_DECISIONS, f"Say for each track by its number how to change it: {what}."
        ) from error
    if len(request.model_dump_json()) > MAX_BYTES:
        raise PermanentError(
            ErrorCode.BAD_DECISIONS,
            f"{len(edits.track_ids) + len(edits.added)} tracks at once are too many: change some first.",
        )
    return request
