"""Fail the jobs that have waited too long for the turn of their channel."""

from defacer.pipeline import admission
from defacer.pipeline.documents.job_records import Turn
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure, rerender_request
from defacer.pipeline.storage import object_names


def fail_expired_jobs() -> None:
    """Fail the jobs whose turns expired, before the work bucket deletes the turns."""
    for turn in admission.list_expired_turns():
        _fail_job(turn)


def _fail_job(turn: Turn) -> None:
    source = rerender_request.video_of(turn.source) or turn.source
    with failure.fail_job_on_permanent_error(turn.job, "ingest", source):
        if not failure.finish_if_over(turn.job):
            raise PermanentError(
                ErrorCode.TOO_MANY_JOBS,
                f"{object_names.owner_name(source.name)} was not processed: it has waited "
                f"{admission.MAX_WAIT.days} days for earlier videos of this channel, longer waits are not allowed. Try "
                "again when fewer videos wait.",
            )
