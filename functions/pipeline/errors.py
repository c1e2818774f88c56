"""What can go wrong, and what each kind answers to the caller.

A function is called by Pub/Sub. An answer of 200 takes the message off the queue, anything else brings it
back. So there are two kinds: a PermanentError fails the job once and is acknowledged, a RetryableError is
answered with 503 and tried again by Pub/Sub, with back-off, until it is dead-lettered.
"""


class PermanentError(Exception):
    """Trying again can't help: a bad input, or a job whose parts are gone.

    The message is one sentence for the video's owner: it names the object, says what is wrong with it and
    what to do. `code` is a short constant for programs, such as "not-a-video".
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class RetryableError(Exception):
    """Trying again may help: a passing fault of storage or messaging, or somebody else's live claim."""


class MalformedMessageError(PermanentError):
    """A message that no version of this product sends. There is no job to fail: logged and acknowledged."""

    def __init__(self, message: str):
        super().__init__("malformed-message", message)
