"""Plan the job of an upload: read its inputs, write the manifest once, and publish a task for each segment."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from defacer.ingest import job_limits
from defacer.pipeline import admission, channel, log
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest, Policy, TimeRange, Video
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import events, failure, job_state
from defacer.pipeline.lifecycle.segments import publish_first_tasks
from defacer.pipeline.media_engine import MediaEngine, VideoHeader
from defacer.pipeline.segmentation import (
    MAX_SEGMENT_SECONDS,
    choose_segment_seconds,
    plan_segments,
    seconds_in_time,
)
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import VideoName

NUMPY_ARCHIVE = "application/octet-stream"


def plan_upload_job(source: ObjectRef, engine: MediaEngine, *, is_empty: bool = False) -> None:
    """Plan the job of this upload. If it was planned before, publish its tasks again.

    Ignores any object that is not a video of the intake bucket, and an empty object, which gcsfuse writes before each
    file. Two plannings of one upload can run at the same time: the first manifest counts, and both publish the same
    tasks.
    """
    video = object_names.parse_video(source.name)
    if source.bucket != settings().intake_bucket or video is None:
        log.info("ignored an object that is not a video of the intake bucket")
        return
    if is_empty:
        log.info("ignored an empty object")
        return
    job = object_names.job_of(source)
    with failure.fail_job_on_permanent_error(job, "ingest", source):
        if failure.finish_if_over(job):  # a planning can have died after it wrote too late
            return
        found = job_state.find_manifest(job)
        planned = found or _plan(source, video, engine)
        if planned is None:
            return
        manifest, ref = planned
        if failure.finish_if_over(job):  # its cleanup can have run before the writes
            return
        if found and job_state.is_detection_over(
            job
        ):  # an earlier delivery published the event and all tasks
            return
        if found:
            log.info("planned before, publishing its tasks again")
        require_targets(manifest)
        announce_and_dispatch(manifest, ref)


def announce_and_dispatch(manifest: Manifest, ref: ObjectRef, faces: ObjectRef | None = None) -> None:
    """Publish the event, then the tasks, so that no receiver gets the end of a job before its beginning.

    With `faces` the step "detect" is skipped.
    """
    events.announce_planned(manifest)
    publish_first_tasks(manifest, ref, faces)


def _plan(source: ObjectRef, video: VideoName, engine: MediaEngine) -> objects.Stored[Manifest] | None:
    """Write the manifest. Return None for an empty object, and for a job that waits for its turn."""
    job_limits.require_name(source, video)
    blob = objects.find_blob(source.bucket, source.name, source.generation)
    if blob is None:
        raise objects.object_missing_error(source, ErrorCode.SOURCE_GONE)
    if not blob.size:
        log.info("ignored an empty object")
        return None
    job_limits.require_no_compression(source, blob.content_encoding)
    job_limits.require_size(source, blob.size)
    draft = _draft_manifest(source, blob.size, video, engine)
    if not admission.take_turn(draft):
        log.info("the job waits for its turn")
        return None
    return write_manifest(_with_gallery(draft, engine))


def _draft_manifest(source: ObjectRef, size: int, video: VideoName, engine: MediaEngine) -> Manifest:
    """Validate the policy and the video. The targets are read when the job's turn has come."""
    job = object_names.job_of(source)
    policy = channel.read_policy(source.bucket, video.channel)
    image = channel.find_replacement(source.bucket, video.channel) if policy.mode == "image" else None
    if image is not None:
        engine.require_replacement(image)
    header = engine.probe(source, policy)
    job_limits.require_header(source, header)
    segments = cut_segments(header)
    job_limits.require_key_frames(source, header, segments)
    return Manifest(
        job=job,
        channel=video.channel,
        source=source,
        source_size=size,
        result=video.result,
        report=video.report,
        policy=policy,
        targets=(),
        gallery=None,
        replacement=image,
        video=describe_video(header),
        segments=segments,
        window=settings().job_segments,
    )


def _with_gallery(draft: Manifest, engine: MediaEngine) -> Manifest:
    pictures = channel.list_targets(draft.source.bucket, draft.channel)
    gallery = _store_gallery(draft.job, pictures, draft.policy, engine)
    return draft.model_copy(update={"targets": gallery.people, "gallery": gallery.ref})


def describe_video(header: VideoHeader) -> Video:
    """Return the part of the header that a manifest stores."""
    return Video(
        width=header.width,
        height=header.height,
        codec=header.codec,
        duration_seconds=header.duration_seconds,
        time_base=f"{header.time_base.numerator}/{header.time_base.denominator}",
        start_pts=header.start_pts,
        clock=header.clock,
    )


def cut_segments(header: VideoHeader) -> tuple[TimeRange, ...]:
    """Plan the segments of the video by the settings."""
    longest = min(MAX_SEGMENT_SECONDS, seconds_in_time(header, settings()))
    return plan_segments(header, choose_segment_seconds(header, settings()), longest)


def require_targets(manifest: Manifest) -> None:
    """Raise PermanentError if a target's pictures were deleted during the planning.

    `forget` finds the jobs that keep a person by their manifests, so it does not find a job that has none yet. The
    manifest is deleted when the job fails, not here, because another planning might need it.
    """
    source = manifest.source
    if not set(channel.list_kept_people(manifest.channel)).issuperset(manifest.targets):
        raise PermanentError(
            job_state.TARGET_GONE,
            f"{object_names.owner_name(source.name)} was not processed: target pictures were removed while it was "
            f"being planned. {manifest.advice}.",
        )


class _StoredGallery(NamedTuple):
    people: tuple[str, ...]
    ref: ObjectRef | None


def _store_gallery(
    job: str, pictures: Sequence[TargetPicture], policy: Policy, engine: MediaEngine
) -> _StoredGallery:
    if not pictures:
        return _StoredGallery((), None)
    gallery = engine.embed_targets(pictures, policy.recognizer)
    name = object_names.gallery(job, hashlib.sha256(gallery.archive).hexdigest())
    ref = objects.write_once(settings().work_bucket, name, gallery.archive, NUMPY_ARCHIVE)
    return _StoredGallery(gallery.people, ref)


def write_manifest(draft: Manifest) -> objects.Stored[Manifest]:
    """Write the manifest and return it, or the manifest of a planning that was faster. Then delete this gallery."""
    data = draft.model_dump_json(indent=2).encode()
    try:
        ref = objects.write_once(
            settings().work_bucket,
            object_names.manifest(draft.job),
            data,
            metadata={object_names.OF_SEGMENTS: str(len(draft.segments))},
        )
    except objects.AlreadyWrittenError as error:
        manifest = objects.read_json(error.existing, Manifest)
        if draft.gallery is not None and draft.gallery != manifest.gallery:
            objects.delete(draft.gallery)
        return objects.Stored(manifest, error.existing)
    # Only the planning that wrote the manifest logs this line, which the dashboard counts.
    log.info("planned", segments=len(draft.segments), people=len(draft.targets))
    return objects.Stored(draft, ref)
