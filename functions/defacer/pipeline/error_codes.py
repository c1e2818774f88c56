"""The codes of all errors that a channel's owner can meet, and whether trying again can help.

`ERROR_CODES.md` in this folder explains each code. The codes of the engine's errors (`defacer.engine.errors`) are among
them, with the same values.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """The code of a `PermanentError`. It is the field `code` in `failed.json` and in `job.failed` events."""

    # The video
    NOT_A_VIDEO = "not-a-video"
    BAD_NAME = "bad-name"
    TOO_LARGE = "too-large"
    TOO_LONG = "too-long"
    TOO_MANY_FACES = "too-many-faces"
    TOO_SLOW = "too-slow"
    SOURCE_GONE = "source-gone"
    # The channel's inputs beside the video
    BAD_POLICY = "bad-policy"
    MISSING_PACKAGE = "missing-package"
    BAD_PICTURE = "bad-picture"
    BAD_TARGET = "bad-target"
    BAD_REPLACEMENT = "bad-replacement"
    NO_REPLACEMENT = "no-replacement"
    TOO_MANY_TARGETS = "too-many-targets"
    TARGET_GONE = "target-gone"
    PERSON_FORGOTTEN = "person-forgotten"
    QUARANTINED = "quarantined"
    # Requests for re-renders
    BAD_REQUEST = "bad-request"
    BAD_DECISIONS = "bad-decisions"
    REQUEST_GONE = "request-gone"
    NOT_PUBLISHED = "not-published"
    RESULT_CHANGED = "result-changed"
    REPORT_GONE = "report-gone"
    # The pipeline
    EXHAUSTED = "exhausted"
    POISON_SEGMENT = "poison-segment"
    OBJECT_GONE = "object-gone"
    BAD_OBJECT = "bad-object"
    CHECK_FAILED = "check-failed"
    ENGINE = "engine"
    OUTPUT = "output"
    WEIGHTS = "weights"
    UNREADABLE = "unreadable"
    GPU = "gpu"
    RESULT_EXISTS = "result-exists"
    INTERNAL_ERROR = "internal-error"
    ERASED = "erased"
    # Commands and pages: these fail no job
    MALFORMED_MESSAGE = "malformed-message"
    NO_JOB = "no-job"
    NOT_QUIET = "not-quiet"
    RESULT_GONE = "result-gone"
    REPORT_TOO_LARGE = "report-too-large"
    TOO_MANY_STREAMS = "too-many-streams"

    @property
    def can_try_again(self) -> bool:
        """Whether processing the same video again can succeed."""
        return self in CAN_TRY_AGAIN


# The cause is transient, or is another input of the channel, which its owner can correct.
CAN_TRY_AGAIN = frozenset(
    {
        ErrorCode.BAD_POLICY,
        ErrorCode.MISSING_PACKAGE,
        ErrorCode.BAD_PICTURE,
        ErrorCode.BAD_TARGET,
        ErrorCode.BAD_REPLACEMENT,
        ErrorCode.NO_REPLACEMENT,
        ErrorCode.TOO_MANY_TARGETS,
        ErrorCode.TARGET_GONE,
        ErrorCode.PERSON_FORGOTTEN,
        ErrorCode.QUARANTINED,
        ErrorCode.REPORT_GONE,
        ErrorCode.EXHAUSTED,
        ErrorCode.POISON_SEGMENT,
        ErrorCode.OBJECT_GONE,
        ErrorCode.BAD_OBJECT,
        ErrorCode.CHECK_FAILED,
        ErrorCode.ENGINE,
        ErrorCode.OUTPUT,
        ErrorCode.WEIGHTS,
        ErrorCode.UNREADABLE,
    }
)
