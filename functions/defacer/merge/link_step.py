"""Between the two steps: when the findings of all segments are there, link the faces, hand them on, forget.

Every segment that was looked through brings a message here; the one that finds all findings there claims the
link. `faces.jsonl` is written once: that write is the commit, and after it nobody needs an embedding any more.
The claim's object goes last. So after a crash at any point it is still there, and says that the faces are not
yet handed on: the next delivery goes on from there, and no step minds being done twice.
"""

from collections.abc import Iterator

from defacer.merge.timeouts import fail_if_timeouts_exhausted
from defacer.pipeline import log
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentDone, SegmentTask
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import cleanup, failure, job_state
from defacer.pipeline.lifecycle.lease import HeldLease, LeaseLostError, acquire_lease, lease_options_for
from defacer.pipeline.lifecycle.ownership import load_verified_manifest
from defacer.pipeline.lifecycle.segments import list_outputs_if_complete
from defacer.pipeline.media_engine import LinkedFaces, LinkInput, MediaEngine, StoredDetections
from defacer.pipeline.messaging import pubsub
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


def link(done: SegmentDone, message_id: str, engine: MediaEngine) -> None:
    """Link the job if this was its last segment to look through, or if somebody died while linking it.

    Raises RetryableError if the message has to come back: somebody else is at it, or a fault that may pass.
    """
    with failure.fail_job_on_permanent_error(done.job, "merge"):
        record = job_state.read_job(done.job)
        if record.is_over:
            failure.finish_ended_job(record)
            return
        if record.redaction_dispatched:
            return
        manifest = load_verified_manifest(done.job, done.index, done.manifest)
        if not record.is_linked and list_outputs_if_complete(manifest, "detect", done.index) is None:
            return
        with acquire_lease(
            settings().work_bucket, object_names.link_lease(done.job), lease_options_for(message_id)
        ) as held:
            faces = _faces(manifest, held, engine)
            if faces is not None:
                dispatch_redaction(manifest, done.manifest, faces)


def _faces(manifest: Manifest, held: HeldLease, engine: MediaEngine) -> ObjectRef | None:
    """The job's faces: as they are there, or after linking. None if the job has failed meanwhile."""
    name = object_names.faces(manifest.job)
    found = objects.find(settings().work_bucket, name)
    if found is not None:
        return objects.reference(found)
    fail_if_timeouts_exhausted(manifest, held, "linking its faces")
    try:
        outputs = _list_detections(manifest)
        faces = _link(manifest, outputs, held, engine)
    except PermanentError as error:
        if job_state.read_job(manifest.job).is_linked:
            raise LeaseLostError("another has linked, and deleted what this one was reading") from error
        raise
    if _finish_if_failed(manifest.job):
        return None
    held.renew()
    try:
        ref = objects.write_once(
            settings().work_bucket, name, faces.document, objects.JSON_LINES, progress=held.renew
        )
        # Each line "faces found" is counted off by this one (infra/observability.tf).
        log.info(
            "linked",
            segments=len(outputs),
            frames=faces.frames,
            detections=faces.detections,
            tracks=faces.tracks,
        )
    except objects.AlreadyWrittenError as error:
        ref = error.existing
    if _finish_if_failed(manifest.job):  # its clean-up may have come before these were there
        return None
    return ref


def _finish_if_failed(job: str) -> bool:
    """Finish the job if it has failed meanwhile, and return whether it has."""
    record = job_state.read_job(job)
    if record.has_failed:
        failure.finish_ended_job(record)
    return record.has_failed


def _list_detections(manifest: Manifest) -> tuple[ObjectRef, ...]:
    outputs = list_outputs_if_complete(manifest, "detect", 0)
    if outputs is None:
        raise _gone(manifest)
    return outputs


def _link(
    manifest: Manifest, outputs: tuple[ObjectRef, ...], held: HeldLease, engine: MediaEngine
) -> LinkedFaces:
    gallery = objects.read(manifest.gallery) if manifest.gallery else None
    return engine.link(LinkInput(manifest, gallery, _read(outputs, held), held.renew))


def _read(outputs: tuple[ObjectRef, ...], held: HeldLease) -> Iterator[StoredDetections]:
    for ref in outputs:
        piece = object_names.parse_subsegment(ref.name)
        held.renew()
        if piece is not None:
            yield StoredDetections(piece.index, objects.read(ref))


def dispatch_redaction(manifest: Manifest, manifest_ref: ObjectRef, faces: ObjectRef) -> None:
    tasks = [
        SegmentTask(job=manifest.job, index=index, step="redact", manifest=manifest_ref, faces=faces)
        for index in range(len(manifest.segments))
    ]
    pubsub.publish(settings().segments_topic, pubsub.SEGMENT_TASK, tasks)
    cleanup.forget_embeddings(manifest.job)


def _gone(manifest: Manifest) -> PermanentError:
    source = manifest.source
    return PermanentError(
        ErrorCode.OBJECT_GONE,
        f"{object_names.owner_name(source.name)} was not published: the detections of its segments were deleted. "
        "Upload the video again.",
    )
