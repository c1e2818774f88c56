"""From what a function met to what it answers: 200 takes the message off the queue, 503 brings it back."""

from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.exceptions import ServiceUnavailable

from functions.pipeline import log
from functions.pipeline.errors import PermanentError, RetryableError

TRY_AGAIN = "not done yet, deliver it again"


@contextmanager
def answering(function: str) -> Iterator[None]:
    """Wrap a function's work: set up logging, and turn every error into an answer, logged.

    A PermanentError that comes as far as here has no job to fail. An unexpected error may be a fault of this
    code or of its set-up, so its message is not thrown away: it comes back, and gives up in the dead letters.
    """
    with log.bound(function=function):
        try:
            log.configure()
            yield
        except PermanentError as error:
            log.error("dropped a message that nobody can do anything with", error)
        except RetryableError as error:
            log.warning("not done, the message will come back", error)
            raise ServiceUnavailable(TRY_AGAIN) from error
        except Exception as error:
            log.error("an unexpected error, the message will come back", error)
            raise ServiceUnavailable(TRY_AGAIN) from error
