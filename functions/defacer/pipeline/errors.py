"""The two kinds of errors, and how a function answers Pub/Sub about each.

A function is called by Pub/Sub push. A status of 200 acknowledges the message, any other status redelivers it.
A PermanentError fails the job once, and the message is acknowledged. A RetryableError is answered with 503: Pub/Sub
redelivers the message with exponential backoff until its attempts are exhausted.
"""

from defacer.pipeline.error_codes import ErrorCode


class PermanentError(Exception):
    """A retry can't help: the input is bad, or objects of the job were deleted.

    The message is for the video's owner: it names the file as its owner knows it, the fault, and the remedy. It
    contains no bucket and no text of a library. Programs read `code`, and nothing parses the message. `detail` is for
    the log, and must not name a channel, a person or one of their files.

    Raises ValueError for a `code` that is not an ErrorCode.
    """

    def __init__(self, code: str, message: str, detail: str | None = None):
        super().__init__(message)
        self.code = ErrorCode(code)
        self.detail = detail


class RetryableError(Exception):
    """A retry can help: a transient error of storage or messaging, or another worker's lease.

    The message is one sentence without its full stop, for logs and terminals.
    """


class MalformedMessageError(PermanentError):
    """A message that no version of De-facer sends. It belongs to no job, so it is logged and acknowledged."""

    def __init__(self, message: str):
        super().__init__(ErrorCode.MALFORMED_MESSAGE, message)
