"""From an upload to a planned job: read the inputs, write the manifest once, publish one task a segment."""

import hashlib
from collections.abc import Sequence

from defacer.ingest import limits
from defacer.pipeline import channel, log
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest, Policy, TimeRange, Video
from defacer.pipeline.documents.segment_messages import SegmentTask
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import events, failure, job_state
from defacer.pipeline.media_engine import MediaEngine, VideoHeader
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.segmentation import choose_segment_seconds, plan_segments
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import VideoName

NUMPY_ARCHIVE = "application/octet-stream"


def plan(source: ObjectRef, engine: MediaEngine) -> None:
    """Plan the job of this upload, or, if it was planned already, publish its tasks again.

    Anything that is not a video in the intake bucket is ignored. Twice at once is fine: both plan, the first
    manifest counts, and the tasks of either are the same.
    """
    video = object_names.parse_video(source.name)
    if source.bucket != settings().intake_bucket or video is None:
        log.info("ignored an object that is no video of the intake bucket")
        return
    job = object_names.job_id(source.bucket, source.name, source.generation)
    with failure.fail_job_on_permanent_error(job, "ingest", source):
        record = job_state.read_job(job)
        if record.is_over:
            failure.finish_ended_job(record)  # of a planning that died and came too late
            return
        found = job_state.find_manifest(job)
        manifest, ref = found or write_manifest(_draft(job, source, video, engine))
        record = job_state.read_job(job)
        if record.is_over:  # it was given up meanwhile, and its clean-up may have come too early
            failure.finish_ended_job(record)
            return
        if found and record.is_linked:  # it has gone on from here: an earlier delivery has announced it all
            return
        if found:
            log.info("planned before: its tasks are published again")
        check_still_wanted(manifest)
        announce(manifest, ref)


def announce(manifest: Manifest, ref: ObjectRef, faces: ObjectRef | None = None) -> None:
    """First the event, then the tasks: so nobody hears of a job's end before its beginning.

    With `faces` there is nobody to find: they are to be hidden.
    """
    events.announce_planned(manifest)
    tasks = [
        SegmentTask(
            job=manifest.job, index=index, step="redact" if faces else "detect", manifest=ref, faces=faces
        )
        for index in range(len(manifest.segments))
    ]
    pubsub.publish(settings().segments_topic, pubsub.SEGMENT_TASK, tasks)


def _draft(job: str, source: ObjectRef, video: VideoName, engine: MediaEngine) -> Manifest:
    """Read everything that can be wrong first; write the gallery last."""
    limits.require_name(source, video)
    blob = objects.find(source.bucket, source.name, source.generation)
    if blob is None:
        raise objects.object_missing_error(source, ErrorCode.SOURCE_GONE)
    limits.require_size(source, blob.size)
    policy = channel.read_policy(source.bucket, video.channel)
    image = channel.find_replacement(source.bucket, video.channel) if policy.mode == "image" else None
    if image is not None:
        engine.require_replacement(image)
    pictures = channel.list_targets(source.bucket, video.channel)
    header = engine.probe(source)
    limits.require_header(source, header)
    people, gallery = _gallery(job, pictures, policy, engine)
    return Manifest(
        job=job,
        channel=video.channel,
        source=source,
        source_size=blob.size,
        result=video.result,
        report=video.report,
        policy=policy,
        targets=people,
        gallery=gallery,
        replacement=image,
        video=describe_video(header),
        segments=segments_of(header),
    )


def describe_video(header: VideoHeader) -> Video:
    """Return the part of the header that a manifest stores."""
    return Video(
        width=header.width,
        height=header.height,
        codec=header.codec,
        duration_seconds=header.duration_seconds,
        time_base=f"{header.time_base.numerator}/{header.time_base.denominator}",
        start_pts=header.start_pts,
    )


def segments_of(header: VideoHeader) -> tuple[TimeRange, ...]:
    """Return the segments of the video, by the settings."""
    return plan_segments(header, choose_segment_seconds(header, settings()))


def check_still_wanted(manifest: Manifest) -> None:
    """Raise PermanentError if somebody is to be kept of whom no picture is there any more.

    Whoever withdraws a picture looks for the jobs that keep the person, and does not find one without a manifest. It
    goes when the job has failed (`jobs.clean_up`), not sooner: others may be past this, and need it.
    """
    source = manifest.source
    people = {picture.person for picture in channel.list_targets(source.bucket, manifest.channel)}
    if not people.issuperset(manifest.targets):
        raise PermanentError(
            job_state.TARGET_GONE,
            f"{object_names.owner_name(source.name)} was not processed: target pictures were removed while it was "
            f"being planned. {manifest.advice}.",
        )


def _gallery(
    job: str, pictures: Sequence[TargetPicture], policy: Policy, engine: MediaEngine
) -> tuple[tuple[str, ...], ObjectRef | None]:
    if not pictures:
        return (), None
    embeddings = engine.embed_targets(pictures, policy.recognizer)
    name = object_names.gallery(job, hashlib.sha256(embeddings.archive).hexdigest())
    ref = objects.write_once(settings().work_bucket, name, embeddings.archive, NUMPY_ARCHIVE)
    return embeddings.people, ref


def write_manifest(draft: Manifest) -> objects.Stored[Manifest]:
    """Write the manifest and return it, or the manifest of a planning that was faster. Then delete this gallery."""
    data = draft.model_dump_json(indent=2).encode()
    try:
        ref = objects.write_once(settings().work_bucket, object_names.manifest(draft.job), data)
    except objects.AlreadyWrittenError as error:
        manifest = objects.read_json(error.existing, Manifest)
        if draft.gallery is not None and draft.gallery != manifest.gallery:
            objects.delete(draft.gallery)
        return objects.Stored(manifest, error.existing)
    # Here, where one of them can write it: the dashboard counts this line.
    log.info("planned", segments=len(draft.segments), people=len(draft.targets))
    return objects.Stored(draft, ref)
