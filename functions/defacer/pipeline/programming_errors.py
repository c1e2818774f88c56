"""Programming errors: exceptions that no caller expects, such as a TypeError.

Retrying does not help against a bug, and neither does uploading the video again. So each bug is logged with its class
and its place in the code, and recorded in the job's folder. After MAX_ATTEMPTS records about the same work
the job fails. The records are counted, not the message's deliveries: waiting for a free worker costs deliveries too,
and not every Pub/Sub counts them.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from defacer.pipeline import log
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import SettingsError, settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.transient_errors import TRANSIENT

MAX_ATTEMPTS = 3
# Errors that are handled, and errors of the machine or of its configuration, which can be repaired while messages wait.
EXPECTED = (
    PermanentError,
    RetryableError,
    SettingsError,
    OSError,
    MemoryError,
    GoogleAPIError,
    GoogleAuthError,
    *TRANSIENT,
)


class BugError(RetryableError):
    """A programming error was recorded, and the work is tried again."""


def is_bug(error: BaseException) -> bool:
    """Return whether an exception is a programming error."""
    return isinstance(error, Exception) and not isinstance(error, EXPECTED)


def report(error: BaseException) -> None:
    """Log a programming error by its class and its place in the code, without its message."""
    log.error("internal error: this is a bug", error)


@contextmanager
def record_bugs(job: str, stage: str, work_key: str = "") -> Iterator[None]:
    """Report and record a programming error in the block.

    `work_key` names the part of the stage's work in the block, such as the step of one segment. Raises BugError, or
    PermanentError after MAX_ATTEMPTS records about the same work.
    """
    try:
        yield
    except Exception as error:
        if not is_bug(error):
            raise
        report(error)
        records = object_names.bugs_prefix(job, stage, work_key)
        objects.write_once(settings().work_bucket, f"{records}{uuid.uuid4().hex}.json", b"{}")
        if len(objects.list_all(settings().work_bucket, records)) < MAX_ATTEMPTS:
            raise BugError(f"internal error, {type(error).__name__}") from error
        raise internal_error(job, stage) from error


def has_bugs(job: str, stage: str, work_key: str = "") -> bool:
    """Return whether a programming error was recorded about this part of the stage's work."""
    return bool(objects.list_all(settings().work_bucket, object_names.bugs_prefix(job, stage, work_key)))


def internal_error(job: str, stage: str) -> PermanentError:
    """Return the error of a job that fails because of a bug."""
    return PermanentError(
        ErrorCode.INTERNAL_ERROR,
        f"The video was not published: internal error, see the log of {stage} for job {job}. This is a bug in "
        "De-facer, not a fault of the video. Report it to the operator of De-facer.",
    )
