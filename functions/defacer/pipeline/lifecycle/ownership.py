"""What belongs to a job: a message or a document that names something else is not followed there.

Whoever can send a message could otherwise have the functions read, replace or delete what they have a right to.
"""

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentReport
from defacer.pipeline.errors import MalformedMessageError, PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names


def require_job_object(job: str, ref: ObjectRef | None, name: str) -> ObjectRef:
    """Give the object that a message names. Raises MalformedMessageError unless it is `name` in the work bucket."""
    if ref is None or (ref.bucket, ref.name) != (settings().work_bucket, name):
        raise MalformedMessageError(f"a message of job {job} names {ref}: expected {name} in the work bucket")
    return ref


def require_job_objects(manifest: Manifest) -> None:
    """Raise PermanentError if the manifest would have us read, write or delete what is not the job's."""
    source, gallery, replacement = manifest.source, manifest.gallery, manifest.replacement
    again = manifest.again
    video = object_names.parse_video(source.name)
    own = (
        video is not None
        and is_job_of(manifest.job, source, manifest.request)
        and (again is None or _is_own_report(again.report, manifest))
        and source.bucket == settings().intake_bucket
        and (manifest.channel, manifest.result, manifest.report)
        == (video.channel, video.result, video.report)
        and (gallery is None or _is_work(gallery, object_names.gallery_prefix(manifest.job)))
        and (
            replacement is None
            or (replacement.bucket, replacement.name)
            == (source.bucket, object_names.replacement(video.channel))
        )
    )
    if not own:
        raise PermanentError(
            "bad-object",
            "The plan of this job can't be used: it is about another job. Upload the video again.",
            detail=f"{object_names.manifest(manifest.job)} names objects of another job",
        )


def is_job_of(job: str, source: ObjectRef, request: ObjectRef | None) -> bool:
    """Whether the job is that of this video's upload or, with a request, of that one to render the video again."""
    upload = object_names.job_id(source.bucket, source.name, source.generation)
    if request is None:
        return job == upload
    name = object_names.RerenderName(object_names.channel_of_input(source.name) or "", upload).object_name
    return (request.bucket, request.name) == (source.bucket, name) and job == object_names.job_id(
        request.bucket, request.name, request.generation
    )


def _is_own_report(report: ObjectRef, manifest: Manifest) -> bool:
    return (report.bucket, report.name) == (settings().output_bucket, manifest.report)


def is_segment_video(report: SegmentReport) -> bool:
    """Whether the video that a segment's report names is one of its job's."""
    return _is_work(report.video, object_names.segments_prefix(report.job))


def _is_work(ref: ObjectRef, prefix: str) -> bool:
    return ref.bucket == settings().work_bucket and ref.name.startswith(prefix)
