"""Fail the jobs that can't start or continue any more, although no step of them has failed."""

from defacer.pipeline.admission import MAX_WAIT, HopelessTurn
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure, rerender_request
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects


def fail_job_of_turn(turn: HopelessTurn) -> None:
    """Fail the job of a turn that has waited too long or can't be read. Then delete the turn."""
    if turn.source is None:
        fail_job_without_record(turn.job)
    else:
        _fail(
            turn.job,
            turn.source,
            ErrorCode.TOO_MANY_JOBS,
            f"was not processed: it has waited {MAX_WAIT.days} days for earlier videos of this channel, longer waits "
            "are not allowed. Try again when fewer videos wait.",
        )
    # The cleanup does not find it if the channel is unknown.
    objects.delete_any(turn.ref.bucket, turn.ref.name)


def fail_job_without_record(job: str) -> None:
    """Fail a job whose turn can't be read, or whose manifest was deleted.

    Its upload is searched in the intake bucket, so that the channel receives the event.
    """
    _fail(
        job,
        _find_upload(job),
        ErrorCode.OBJECT_GONE,
        "was not published: an object of its job was deleted or can't be read. Upload the video again.",
    )


def _fail(job: str, uploaded: ObjectRef | None, code: ErrorCode, outcome: str) -> None:
    source = (rerender_request.video_of(uploaded) or uploaded) if uploaded else None
    with failure.fail_job_on_permanent_error(job, "ingest", source):
        if not failure.finish_if_over(job):
            name = object_names.owner_name(source.name) if source else "The video"
            raise PermanentError(code, f"{name} {outcome}")


def _find_upload(job: str) -> ObjectRef | None:
    """Return the upload or the re-render request that starts this job; None if it was deleted or replaced."""
    uploads = objects.list_all(settings().intake_bucket, object_names.CHANNELS)
    return next((ref for ref in uploads if object_names.job_of(ref) == job), None)
