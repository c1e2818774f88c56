"""The identity of a job, and the objects that belong to it.

A message or a document names objects. Each of these names is checked before it is used: otherwise everyone with the
right to publish a message could make the functions read, replace or delete any object that the functions can reach.
"""

from dataclasses import dataclass
from typing import Protocol, Self

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentReport
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import MalformedMessageError, PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.report.faces import load_head
from defacer.report.json_lines import ReportError, split_report
from defacer.report.tracks import FacesHead


class JobIdentity(Protocol):
    """A job's name, its inputs and its outputs. A manifest has them all.

    `request` is the re-render request that started the job; None if an upload did.
    """

    @property
    def job(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def source(self) -> ObjectRef: ...
    @property
    def request(self) -> ObjectRef | None: ...
    @property
    def result(self) -> str: ...
    @property
    def report(self) -> str: ...


@dataclass(frozen=True)
class DerivedJobIdentity:
    """The identity of a job without a manifest, derived from its video and its request."""

    job: str
    channel: str
    source: ObjectRef
    request: ObjectRef | None
    result: str
    report: str

    @classmethod
    def from_source(cls, job: str, source: ObjectRef, request: ObjectRef | None) -> Self | None:
        """Return None if neither this video nor this request started the job."""
        video = object_names.parse_video(source.name)
        if video is None or not is_job_of(job, source, request):
            return None
        return cls(job, video.channel, source, request, video.result, video.report)


def load_verified_manifest(job: str, index: int, ref: ObjectRef) -> Manifest:
    """Return the manifest that a message names.

    Raises MalformedMessageError if it is not the manifest of this job with this segment, and PermanentError if it is
    gone or not a valid manifest.
    """
    require_job_object(job, ref, object_names.manifest(job))
    manifest = objects.read_json(ref, Manifest)
    if manifest.job != job or index >= len(manifest.segments):
        raise MalformedMessageError(
            f"a message for segment {index} of job {job} names the manifest {ref}, which has "
            f"{len(manifest.segments)} segments of job {manifest.job}"
        )
    require_job_objects(manifest)
    return manifest


def read_faces_document(job: str, ref: ObjectRef | None) -> tuple[bytes, FacesHead]:
    """Return the faces document that a message names, as stored, and its head. All faces parsed would fill the memory.

    Raises MalformedMessageError if the document is not this job's, and PermanentError if it is gone or not valid.
    """
    ref = require_job_object(job, ref, object_names.faces(job))
    data = objects.read(ref)
    try:
        return data, load_head(split_report(data)[0])
    except ReportError as error:
        raise objects.unreadable_error(ref, str(error)) from error


def require_job_object(job: str, ref: ObjectRef | None, name: str) -> ObjectRef:
    """Return the object that a message names. Raise MalformedMessageError unless it is `name` in the work bucket."""
    if ref is None or (ref.bucket, ref.name) != (settings().work_bucket, name):
        raise MalformedMessageError(f"a message of job {job} names {ref}: expected {name} in the work bucket")
    return ref


def require_job_objects(manifest: Manifest) -> None:
    """Raise PermanentError if the manifest names an object that does not belong to its job."""
    source, gallery, replacement = manifest.source, manifest.gallery, manifest.replacement
    rerender = manifest.rerender
    video = object_names.parse_video(source.name)
    own = (
        video is not None
        and is_job_of(manifest.job, source, manifest.request)
        and (rerender is None or _is_own_report(rerender.report, manifest))
        and source.bucket == settings().intake_bucket
        and (manifest.channel, manifest.result, manifest.report)
        == (video.channel, video.result, video.report)
        and (gallery is None or _is_in_work_bucket(gallery, object_names.gallery_prefix(manifest.job)))
        and (
            replacement is None
            or (replacement.bucket, replacement.name)
            == (source.bucket, object_names.replacement(video.channel))
        )
    )
    if not own:
        raise PermanentError(
            ErrorCode.BAD_OBJECT,
            "The plan of this job can't be used: it is about another job. Upload the video again.",
            detail=f"{object_names.manifest(manifest.job)} names objects of another job",
        )


def is_job_of(job: str, source: ObjectRef, request: ObjectRef | None) -> bool:
    """Return whether this upload started the job or, with a request, whether this request of the upload's video did."""
    if request is None:
        return job == object_names.job_of(source)
    name = object_names.rerender_request(source)
    return (request.bucket, request.name) == (source.bucket, name) and job == object_names.job_of(request)


def is_segment_video(report: SegmentReport) -> bool:
    """Return whether the video that a segment's report names belongs to the report's job."""
    return _is_in_work_bucket(report.video, object_names.segments_prefix(report.job))


def _is_own_report(report: ObjectRef, manifest: Manifest) -> bool:
    return (report.bucket, report.name) == (settings().output_bucket, manifest.report)


def _is_in_work_bucket(ref: ObjectRef, prefix: str) -> bool:
    return ref.bucket == settings().work_bucket and ref.name.startswith(prefix)
