"""The codes of all errors that a channel's owner can meet, and whether trying again can help.

The text below each code is its row in ERROR_CODES.md: the meaning and, after "|", what its reader can do
(`make reference`). The codes of the engine's errors (`defacer.engine.errors`) are among them, with the same values.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """The code of a `PermanentError`. It is the field `code` in `failed.json` and in `job.failed` events."""

    # The video
    NOT_A_VIDEO = "not-a-video"
    """The upload is another kind of file, is truncated, or has no pictures. | Export the video again and upload it."""
    UNSUPPORTED_SOUND = "unsupported-sound"
    """The sound can't be decoded, or must be converted although the policy's `sound` forbids it. |
    Convert the sound to AAC, or set `sound` to `convert`, and upload the video again."""
    BAD_NAME = "bad-name"
    """The object name is too long or contains characters that are not allowed. | Rename the video and upload it."""
    TOO_LARGE = "too-large"
    """The file, the frame size, the frame rate or the pixels of all frames exceed a limit. |
    Cut the video into parts, or export it in a smaller size."""
    TOO_LONG = "too-long"
    """The video is longer than the limit. | Cut the video into parts."""
    TOO_FEW_KEY_FRAMES = "too-few-key-frames"
    """The video has so few key frames that workers would decode it too often. |
    Export it with a key frame at least every 10 s and upload it."""
    TOO_MANY_FACES = "too-many-faces"
    """The video has more detections than the merge can hold in memory. | Cut the video into parts."""
    TOO_SLOW = "too-slow"
    """Linking or joining exceeded the deadline of every attempt. | Cut the video into parts."""
    SOURCE_GONE = "source-gone"
    """The video was deleted or replaced before its job ended. | Upload the video again."""
    TOO_MANY_JOBS = "too-many-jobs"
    """The channel has as many videos in work and waiting as allowed, or the video has waited 25 days for them. |
    Upload the video again when some of them are published."""
    DAILY_LIMIT = "daily-limit"
    """The channel's minutes of video for this day are used. | Upload the video again after midnight UTC."""
    # The channel's inputs beside the video
    BAD_POLICY = "bad-policy"
    """`policy.json` is not valid. | Correct it and upload the video again."""
    MISSING_PACKAGE = "missing-package"
    """The policy needs a package that the worker's image does not contain. |
    Change the policy, or install the package."""
    BAD_PICTURE = "bad-picture"
    """A target picture shows no usable face, or not the person of the other pictures. |
    Upload another picture and the video."""
    BAD_TARGET = "bad-target"
    """A target picture is too large, or a file below `targets/` is not in the folder of a person. |
    Upload a smaller picture, or move or delete the file. Then upload the video again."""
    BAD_REPLACEMENT = "bad-replacement"
    """The replacement picture can't be used. | Upload another `replacement.png` and the video."""
    NO_REPLACEMENT = "no-replacement"
    """The policy says `mode: image`, but the channel has no replacement picture. |
    Upload `replacement.png` and the video."""
    TOO_MANY_TARGETS = "too-many-targets"
    """The channel has too many target pictures, or they are too large together. |
    Remove some and upload the video again."""
    TARGET_GONE = "target-gone"
    """A person to keep no longer has a target picture. | Upload the picture again, or hide the person's tracks."""
    PERSON_FORGOTTEN = "person-forgotten"
    """A person to keep was forgotten while the job ran. | Upload the video again."""
    REVIEW_TIMEOUT = "review-timeout"
    """No person confirmed the video within the policy's `confirm_hours`. |
    Upload the video again and confirm it in time, or change the policy."""
    QUARANTINED = "quarantined"
    """A face is still visible after the check masked it. |
    Watch the named times. Cut them out, or set `verify` to `off`."""
    # Requests for re-renders
    BAD_REQUEST = "bad-request"
    """A request for a re-render can't be read. | Request the re-render again."""
    BAD_DECISIONS = "bad-decisions"
    """The edits of a request for a re-render do not fit the report, or are too many. | Correct the edits."""
    REQUEST_GONE = "request-gone"
    """A request for a re-render was deleted or replaced before it was read. |
    Wait for the later request, or send the request again."""
    NOT_PUBLISHED = "not-published"
    """The video has no published report. | Upload the video again."""
    RESULT_CHANGED = "result-changed"
    """Another upload was published under the same name. | Change the decisions of that upload."""
    REPORT_GONE = "report-gone"
    """The report was deleted or replaced while the re-render was planned. | Request the re-render again."""
    # The pipeline
    EXHAUSTED = "exhausted"
    """A message failed on every delivery attempt. | Read the log of the named stage, then upload the video again."""
    POISON_SEGMENT = "poison-segment"
    """Several workers stopped without finishing the same segment. |
    Upload the video again. If it recurs, cut out the named segment."""
    OBJECT_GONE = "object-gone"
    """An intermediate object of the job, or its turn, was deleted or can't be read. | Upload the video again."""
    BAD_OBJECT = "bad-object"
    """An object of the job can't be read. | Upload the video again."""
    CHECK_FAILED = "check-failed"
    """The result does not match its source frame for frame. | Upload the video again."""
    ENGINE = "engine"
    """The engine failed for another reason. | Follow the message, then upload the video again."""
    OUTPUT = "output"
    """The result could not be encoded or written. | Upload the video again."""
    WEIGHTS = "weights"
    """A model's weights could not be fetched, or are not the pinned ones. |
    Check the image of the worker, then upload the video again."""
    UNREADABLE = "unreadable"
    """The job's documents are of another version, or damaged. | Upload the video again."""
    GPU = "gpu"
    """The settings require a GPU, and the worker can't use one. | Deploy a worker with a GPU, or change the setting."""
    RESULT_EXISTS = "result-exists"
    """An object that De-facer did not write has the name of the result. | Rename the video, or delete that object."""
    INTERNAL_ERROR = "internal-error"
    """A bug in De-facer. | Report it to the operator, with the stage and the job."""
    ERASED = "erased"
    """The job was erased on request. | Upload the video again if you still need it."""
    # Commands and pages: these fail no job
    MALFORMED_MESSAGE = "malformed-message"
    """A message is not one that De-facer sends. | Check which other program publishes to the topic."""
    NO_JOB = "no-job"
    """No published job has this id. | Look the job up in the list of jobs."""
    NOT_WAITING = "not-waiting"
    """The job does not wait for a review, or another person has confirmed it. | Look the job up in the list of jobs."""
    NOT_QUIET = "not-quiet"
    """New uploads arrive while a channel is erased. | Stop the uploads and run the command again."""
    RESULT_GONE = "result-gone"
    """The result was deleted. | Upload the video again."""
    REPORT_TOO_LARGE = "report-too-large"
    """The report has too many tracks for a page. | Use `defacer job rerender JOB --hide TRACK`."""
    TOO_MANY_STREAMS = "too-many-streams"
    """The live page runs as many streams as it can. | Try again later."""

    @property
    def can_try_again(self) -> bool:
        """Whether processing the same video again can succeed."""
        return self in CAN_TRY_AGAIN


# The cause is transient, or is another input of the channel, which its owner can correct.
CAN_TRY_AGAIN = frozenset(
    {
        ErrorCode.TOO_MANY_JOBS,
        ErrorCode.DAILY_LIMIT,
        ErrorCode.BAD_POLICY,
        ErrorCode.MISSING_PACKAGE,
        ErrorCode.BAD_PICTURE,
        ErrorCode.BAD_TARGET,
        ErrorCode.BAD_REPLACEMENT,
        ErrorCode.NO_REPLACEMENT,
        ErrorCode.TOO_MANY_TARGETS,
        ErrorCode.TARGET_GONE,
        ErrorCode.PERSON_FORGOTTEN,
        ErrorCode.REVIEW_TIMEOUT,
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
