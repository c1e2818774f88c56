"""Continue the jobs that wait for a person: one that was confirmed, or all whose time is over.

The wait ends when the faces are replaced by faces without the mark. That is one conditional write, so a confirmation
and the end of the time can't both succeed. Every action can be repeated.
"""

import random
import time
from collections.abc import Callable, Mapping
from functools import partial

from defacer.ingest.hopeless_jobs import fail_job_of_turn, fail_job_without_record
from defacer.pipeline import admission, awaiting_review, log
from defacer.pipeline.channel import list_kept_people
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Manifest
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure, job_state
from defacer.pipeline.lifecycle.job_state import JobRecord, StoredFaces
from defacer.pipeline.lifecycle.lease import utc_now
from defacer.pipeline.lifecycle.ownership import read_faces_document
from defacer.pipeline.lifecycle.segments import publish_first_tasks
from defacer.pipeline.media_engine import MediaEngine
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.report.faces import hide_unconfirmed
from defacer.report.json_lines import load_track, split_report

# Of a tick of the clock, for the jobs that wait for a person, and for those that wait for their turn. The repair of the
# turns needs about 90 s at most, and the deadline of the delivery is 600 s.
MAX_SECONDS = 180.0


def apply_confirmation(ref: ObjectRef, engine: MediaEngine) -> None:
    """Replace the faces of the job by the confirmed ones, and dispatch the redaction.

    Repeats the dispatch only while the job is in the list of waiting jobs, which it leaves at the end. Ignores any
    object that does not confirm a job of its channel.
    """
    name = object_names.parse_confirmation(ref.name)
    found = job_state.try_read_manifest(name.job) if name else None
    if (
        name is None
        or found is None
        or ref.bucket != settings().intake_bucket
        or found.document.channel != name.channel
    ):
        log.info("ignored an object that does not confirm a job of its channel")
        return
    manifest = found.document
    with failure.fail_job_on_permanent_error(
        manifest.job, "ingest", stage_already_passed=lambda record: not _is_waiting(record)
    ):
        if _finish_if_over(manifest.job):
            return
        faces = job_state.find_stored_faces(manifest.job)
        if faces is None:
            log.info(
                "a confirmation came before the job is linked: it is applied when the waiting jobs are checked"
            )
            return
        if faces.review_end is not None:
            _replace_faces(faces, _confirmed_faces(manifest, faces, ref, engine))
        elif not awaiting_review.list_waiting_jobs(manifest.job):
            log.info("ignored a confirmation of a job that was dispatched before")
            return
    _continue(found)


def end_waits(engine: MediaEngine, only_job: str = "") -> None:
    """End the waits whose time is over, and finish what an interrupted end has left. Then repair the channels' turns.

    With `only_job` check only this job. Raises RetryableError if that failed for some jobs, after it was done for the
    others.
    """
    waiting = awaiting_review.list_waiting_jobs(only_job)
    problem = _act_in_time({job: partial(_end_wait, job, engine) for job in waiting})
    if not only_job:
        hopeless = admission.repair_turns()
        problem = _act_in_time({turn.job: partial(fail_job_of_turn, turn) for turn in hopeless}) or problem
    if problem is not None:
        raise problem


def _act_in_time(actions: Mapping[str, Callable[[], None]]) -> RetryableError | None:
    """Act on as many jobs as the time allows, and return the last transient error.

    The order is random, so that each job is reached at some tick of the clock.
    """
    jobs = list(actions)
    random.shuffle(jobs)
    end, problem = time.monotonic() + MAX_SECONDS, None
    for job in jobs:
        if time.monotonic() > end:
            log.info("some jobs are checked at a later tick of the clock", jobs=len(jobs))
            break
        try:
            actions[job]()
        except RetryableError as error:
            log.warning("a job that waits was not checked", error, job=job)
            problem = error
    return problem


def _end_wait(job: str, engine: MediaEngine) -> None:
    with failure.fail_job_on_permanent_error(
        job, "ingest", stage_already_passed=lambda record: not _is_waiting(record)
    ):
        if _finish_if_over(job):
            return
        found, faces = job_state.try_read_manifest(job), job_state.find_stored_faces(job)
        if found is None or faces is None:  # the bucket's lifecycle rule deleted them, or they can't be read
            fail_job_without_record(job)
            awaiting_review.delete_entry(job)
            return
        manifest = found.document
        if faces.review_end is not None:
            confirmed = objects.find_blob(
                settings().intake_bucket,
                object_names.ConfirmationName(manifest.channel, job).object_name,
            )
            if confirmed is not None:  # its message is late
                apply_confirmation(objects.reference(confirmed), engine)
                return
            if utc_now() < faces.review_end + awaiting_review.GRACE:
                return
            if manifest.policy.on_timeout == "fail":
                raise _timeout_error(manifest)
            document, _ = read_faces_document(job, faces.ref)
            _replace_faces(faces, hide_unconfirmed(document))
    _continue(found)


def _finish_if_over(job: str) -> bool:
    """Return whether the job is over. In that case finish it, and remove it from the list."""
    is_over = failure.finish_if_over(job)
    if is_over:
        awaiting_review.delete_entry(job)
    return is_over


def _is_waiting(record: JobRecord) -> bool:
    return not record.is_over and record.review_end is not None


def _confirmed_faces(manifest: Manifest, faces: StoredFaces, ref: ObjectRef, engine: MediaEngine) -> bytes:
    """Return the faces of the job with the decisions of the confirmation."""
    name = object_names.owner_name(manifest.source.name)
    confirmation = awaiting_review.read_confirmation(ref)
    if confirmation is None:
        raise PermanentError(
            ErrorCode.BAD_REQUEST,
            f"{name} was not published: its confirmation can't be read. {manifest.advice}.",
        )
    document, _ = read_faces_document(manifest.job, faces.ref)
    known = set(list_kept_people(manifest.channel))
    try:
        edited = engine.edit_faces(document, confirmation.edits, known)
    except PermanentError as error:
        raise PermanentError(error.code, f"{name} can't be published as it was confirmed: {error}") from error
    if edited.unconsented_tracks:
        raise _consent_error(manifest)
    return edited.document


def _replace_faces(faces: StoredFaces, document: bytes) -> None:
    """End the wait. Do nothing if another process ended it: then its faces count."""
    try:
        objects.replace(
            faces.ref.bucket, faces.ref.name, document, objects.JSON_LINES, generation=faces.ref.generation
        )
    except objects.AlreadyWrittenError:
        log.info("the wait of the job was ended by another process")


def _continue(found: objects.Stored[Manifest]) -> None:
    """Dispatch the redaction of a job whose wait has ended, and remove the job from the list.

    If the job has to wait for its turn it stays in the list, so that the check that calls it finds it.
    """
    manifest = found.document
    with failure.fail_job_on_permanent_error(
        manifest.job, "ingest", stage_already_passed=lambda record: record.is_over
    ):
        if _finish_if_over(manifest.job):  # its cleanup can have run before the faces were written
            return
        faces = job_state.find_stored_faces(manifest.job)
        if faces is None or faces.review_end is not None:
            raise RetryableError("the job ended, or still waits for a person")
        if not admission.take_turn(manifest, is_urgent=True):
            log.info("the confirmed job waits for its turn")
            return
        _require_consent(manifest, faces)
        publish_first_tasks(manifest, found.ref, faces.ref)
        awaiting_review.delete_entry(manifest.job)


def _require_consent(manifest: Manifest, faces: StoredFaces) -> None:
    """Raise PermanentError if the job keeps a person whose pictures were deleted.

    `forget` deletes the pictures and then lists the jobs that keep the person. This check comes after the faces were
    written, so at least one of the two detects the other.
    """
    document, _ = read_faces_document(manifest.job, faces.ref)
    tracks = map(load_track, split_report(document)[1])
    kept = {track.person for track in tracks if track.decision == "keep" and track.person}
    if kept and not kept.issubset(list_kept_people(manifest.channel)):
        raise _consent_error(manifest)


def _consent_error(manifest: Manifest) -> PermanentError:
    return PermanentError(
        job_state.TARGET_GONE,
        f"{object_names.owner_name(manifest.source.name)} was not published: it keeps people whose target pictures "
        f"were deleted. {manifest.advice}.",
    )


def _timeout_error(manifest: Manifest) -> PermanentError:
    return PermanentError(
        ErrorCode.REVIEW_TIMEOUT,
        f"{object_names.owner_name(manifest.source.name)} was not published: no person confirmed it within "
        f"{manifest.policy.confirm_hours:g} h. Upload the video again, and confirm it in time.",
    )
