"""Which errors count as transient and become a `RetryableError`."""

import concurrent.futures

import pytest
import requests
from google.api_core import exceptions as api
from google.auth.exceptions import TransportError

from defacer.pipeline.errors import RetryableError
from defacer.pipeline.storage.transient_errors import transient_errors_as_retryable


@pytest.mark.parametrize(
    "error",
    [
        api.TooManyRequests("429"),
        api.ResourceExhausted("429 of gRPC"),
        api.from_http_status(408, "request timeout"),
        api.InternalServerError("500"),
        api.BadGateway("502"),
        api.ServiceUnavailable("503"),
        api.GatewayTimeout("504"),
        api.DeadlineExceeded("504 of gRPC"),
        api.RetryError("retries used up", cause=None),
        requests.ConnectionError(),
        requests.ReadTimeout(),
        requests.exceptions.ChunkedEncodingError(),
        ConnectionResetError(),
        concurrent.futures.TimeoutError(),
        TransportError("no token"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_transient_error_becomes_retryable(error: Exception) -> None:
    with (
        pytest.raises(RetryableError, match=type(error).__name__) as caught,
        transient_errors_as_retryable("a call"),
    ):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        api.NotFound("404"),
        api.Forbidden("403"),
        api.PreconditionFailed("412"),
        api.BadRequest("400"),
        ValueError("a bug"),
        requests.exceptions.InvalidURL(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_error_passes_through_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, transient_errors_as_retryable("a call"):
        raise error
    assert caught.value is error
