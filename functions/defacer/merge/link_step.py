"""After the last segment of the step "detect": link the faces, start the next step, and delete the embeddings.

The next step is the redaction or, with the policy `confirm`, to wait for a person.

Each finished segment sends a message. The message that finds all segment detections acquires the lease. Writing
`faces.jsonl` commits the linking, and no embedding is needed after it. The lease is deleted last. After a crash it
still exists, which means that the next step has not begun, and the next delivery continues. Every action can be
repeated.
"""

from collections.abc import Iterator

from defacer.pipeline import awaiting_review, log
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.documents.segment_messages import SegmentDone
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import cleanup, failure, job_state, step_marks
from defacer.pipeline.lifecycle.lease import (
    HeldLease,
    LeaseLostError,
    acquire_lease,
    fail_if_timeouts_exhausted,
    lease_options_for,
)
from defacer.pipeline.lifecycle.ownership import load_verified_manifest
from defacer.pipeline.lifecycle.segments import (
    is_step_complete,
    list_outputs_if_complete,
    publish_first_tasks,
)
from defacer.pipeline.media_engine import LinkedFaces, LinkInput, MediaEngine, StoredDetections
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


def link_and_dispatch(done: SegmentDone, message_id: str, engine: MediaEngine) -> None:
    """Link the faces if this was the last segment, or if an earlier merge died while it linked them.

    Raises RetryableError if the message has to be redelivered: another merge has the lease, or a transient error.
    """
    with failure.fail_job_on_permanent_error(done.job, "merge"):
        if not is_step_complete(done, step_marks.read_step_marks(done)):
            return
        if failure.finish_if_over(done.job):
            return
        is_linked = job_state.is_linked(done.job)
        if is_linked and not job_state.has_link_lease(done.job):  # the next step has begun
            return
        manifest = load_verified_manifest(done.job, done.index, done.manifest)
        with acquire_lease(
            settings().work_bucket, object_names.link_lease(done.job), lease_options_for(message_id)
        ) as held:
            faces = _find_or_link_faces(manifest, held, engine)
            if faces is not None:
                start_next_step(manifest, done.manifest, faces)


def _find_or_link_faces(manifest: Manifest, held: HeldLease, engine: MediaEngine) -> ObjectRef | None:
    """Return the faces of the job, and link them first if necessary. Return None if the job has failed."""
    name = object_names.faces(manifest.job)
    found = objects.find_blob(settings().work_bucket, name)
    if found is not None:
        return objects.reference(found)
    fail_if_timeouts_exhausted(manifest, held, "linking its faces")
    try:
        outputs = _list_detections(manifest)
        faces = _link(manifest, outputs, held, engine)
    except PermanentError as error:
        if job_state.is_linked(manifest.job):
            raise LeaseLostError("another merge linked the faces and deleted the detections") from error
        raise
    held.renew()
    try:
        ref = objects.write_once(
            settings().work_bucket,
            name,
            faces.document,
            metadata=awaiting_review.mark_of(manifest),
            progress=held.renew,
        )
        # The dashboard subtracts `segments` from the count of "segment detected" lines (infra/observability.tf).
        log.info(
            "linked",
            segments=len(outputs),
            frames=faces.frames,
            sampled_frames=faces.sampled_frames,
            tracks=faces.tracks,
        )
    except objects.AlreadyWrittenError as error:
        ref = error.existing
    return None if failure.finish_if_over(manifest.job) else ref  # its cleanup can have run before this write


def _list_detections(manifest: Manifest) -> tuple[ObjectRef, ...]:
    outputs = list_outputs_if_complete(manifest.job, "detect", len(manifest.segments))
    if outputs is None:
        raise _detections_missing_error(manifest)
    return outputs


def _link(
    manifest: Manifest, outputs: tuple[ObjectRef, ...], held: HeldLease, engine: MediaEngine
) -> LinkedFaces:
    gallery = objects.read(manifest.gallery) if manifest.gallery else None
    return engine.link(LinkInput(manifest, gallery, _read_detections(outputs, held), held.renew))


def _read_detections(outputs: tuple[ObjectRef, ...], held: HeldLease) -> Iterator[StoredDetections]:
    for ref in outputs:
        name = object_names.parse_subsegment(ref.name)
        held.renew()
        if name is not None:
            yield StoredDetections(name.index, objects.read(ref))


def start_next_step(manifest: Manifest, manifest_ref: ObjectRef, faces: ObjectRef) -> None:
    """Dispatch the redaction, or let the job wait for a person first. Then delete all embeddings of the job."""
    if manifest.policy.confirm == "never":
        publish_first_tasks(manifest, manifest_ref, faces)
    else:
        stored = job_state.find_stored_faces(manifest.job)
        if stored is None:
            raise RetryableError("the faces were deleted: the job ended in this moment")
        if stored.review_end is None:  # a person confirmed before this merge
            publish_first_tasks(manifest, manifest_ref, stored.ref)
        else:
            awaiting_review.start_waiting(manifest, stored.review_end)
    cleanup.forget_embeddings(manifest.job)


def _detections_missing_error(manifest: Manifest) -> PermanentError:
    source = manifest.source
    return PermanentError(
        ErrorCode.OBJECT_GONE,
        f"{object_names.owner_name(source.name)} was not published: the detections of its segments were deleted. "
        "Upload the video again.",
    )
