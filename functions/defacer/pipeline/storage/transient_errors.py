"""Which errors of Google's clients pass by themselves: those become RetryableError, in this one place."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from defacer.pipeline.errors import RetryableError

# What https://cloud.google.com/storage/docs/retry-strategy counts as passing, and what the same faults are
# called by gRPC (Pub/Sub), by the libraries below the clients, and by a client that has used up its retries.
TRANSIENT = (
    api.TooManyRequests,
    api.ServerError,
    api.RetryError,
    auth.TransportError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
    DataCorruption,
    InvalidResponse,  # storage ended an upload in pieces: the next try starts a new upload
)
REQUEST_TIMEOUT = 408


@contextmanager
def transient_errors_as_retryable(doing: str) -> Iterator[None]:
    """Raise RetryableError for a passing fault inside the block; anything else goes through as it is.

    `doing` says what was tried, such as "reading an object", without any name.
    """
    try:
        yield
    except TRANSIENT as error:
        raise RetryableError(_sentence(doing, error)) from error
    except api.GoogleAPICallError as error:
        if error.code == REQUEST_TIMEOUT:
            raise RetryableError(_sentence(doing, error)) from error
        raise


def _sentence(doing: str, error: Exception) -> str:
    return f"{doing} failed with {type(error).__name__}, which may pass"
