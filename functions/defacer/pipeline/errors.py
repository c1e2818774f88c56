"""What can go wrong, and what each kind answers to the caller.

A function is called by Pub/Sub. An answer of 200 takes the message off the queue, anything else brings it
back. So there are two kinds: a PermanentError fails the job once and is acknowledged, a RetryableError is
answered with 503 and tried again by Pub/Sub, with back-off, until it is dead-lettered.
"""


class PermanentError(Exception):
    """Trying again can't help: a bad input, or a job whose parts are gone.

    The message is one sentence for the video's owner: it names the file as its owner knows it, the fault, and
    the remedy. It has no bucket in it, and no words of a library. `code` is a short constant for programs,
    such as "not-a-video". `detail` is for the log: it must not name a channel, a person or a file of theirs.
    """

    def __init__(self, code: str, message: str, detail: str | None = None):
        super().__init__(message)
        self.code = code
        self.detail = detail


class RetryableError(Exception):
    """Trying again may help: a passing fault of storage or messaging, or somebody else's live claim."""


class MalformedMessageError(PermanentError):
    """A message that no version of this product sends. There is no job to fail: logged and acknowledged."""

    def __init__(self, message: str):
        super().__init__("malformed-message", message)
