"""Map the errors of a function to HTTP statuses. 200 acknowledges the message, 503 has it redelivered."""

from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.exceptions import ServiceUnavailable

from defacer.pipeline import log, programming_errors
from defacer.pipeline.errors import PermanentError, RetryableError

REDELIVER = "not done yet, deliver the message again"


@contextmanager
def http_status_of(function: str) -> Iterator[None]:
    """Configure logging, and turn each error of the block into a log line and an HTTP status.

    A PermanentError that arrives here belongs to no job. Any unexpected error is a fault of the machine or of its
    configuration, or a bug outside of any job. Its message is redelivered until it becomes a dead letter.
    """
    with log.bind_fields(function=function):
        try:
            log.configure()
            yield
        except PermanentError as error:
            log.error("dropped a message that belongs to no job", error)
        except RetryableError as error:
            log.warning("not done, the message will be redelivered", error)
            raise ServiceUnavailable(REDELIVER) from error
        except Exception as error:
            if programming_errors.is_bug(error):
                programming_errors.report(error)
            else:
                log.error("unexpected error, the message will be redelivered", error)
            raise ServiceUnavailable(REDELIVER) from error
