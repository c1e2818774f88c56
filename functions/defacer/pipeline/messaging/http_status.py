"""From what a function met to what it answers: 200 takes the message off the queue, 503 brings it back."""

from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.exceptions import ServiceUnavailable

from defacer.pipeline import log, programming_errors
from defacer.pipeline.errors import PermanentError, RetryableError

TRY_AGAIN = "not done yet, deliver it again"


@contextmanager
def http_status_of(function: str) -> Iterator[None]:
    """Wrap a function's work: set up logging, and turn every error into an answer, logged.

    A PermanentError that comes as far as here has no job to fail. An unexpected error is a fault of the machine or
    of its configuration, or a bug outside of any job. Its message is redelivered until it becomes a dead letter.
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
            if programming_errors.is_bug(error):
                programming_errors.report(error)
            else:
                log.error("an unexpected error, the message will come back", error)
            raise ServiceUnavailable(TRY_AGAIN) from error
