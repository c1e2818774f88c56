"""Transient errors of Google's clients, which become RetryableError here."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from defacer.pipeline.errors import RetryableError

# The errors to retry by https://cloud.google.com/storage/docs/retry-strategy, and the errors that gRPC (Pub/Sub), the
# clients' own libraries and a client with exhausted retries raise instead.
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
    InvalidResponse,  # the server ended a resumable upload: a retry starts a new one
)
REQUEST_TIMEOUT = 408


@contextmanager
def transient_errors_as_retryable(operation: str) -> Iterator[None]:
    """Raise RetryableError for a transient error inside the block.

    `operation` is a noun phrase without names, such as "reading an object".
    """
    try:
        yield
    except TRANSIENT as error:
        raise RetryableError(_describe(operation, error)) from error
    except api.GoogleAPICallError as error:
        if error.code == REQUEST_TIMEOUT:
            raise RetryableError(_describe(operation, error)) from error
        raise


def _describe(operation: str, error: Exception) -> str:
    return f"{operation} failed with {type(error).__name__}, a transient error"
