"""Each kind of error leads to its HTTP status and log line."""

import json
from collections.abc import Callable

import pytest
from google.api_core.exceptions import Forbidden
from google.auth.exceptions import DefaultCredentialsError
from werkzeug.exceptions import ServiceUnavailable

from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import MalformedMessageError, PermanentError, RetryableError
from defacer.pipeline.messaging.http_status import http_status_of


@pytest.fixture(autouse=True)
def default_settings(environment: Callable[..., None]) -> None:
    pass


@pytest.mark.parametrize("error", [PermanentError(ErrorCode.POISON_SEGMENT, "x"), MalformedMessageError("x")])
def test_permanent_error_is_acknowledged(error: Exception) -> None:
    with http_status_of("worker"):
        raise error


@pytest.mark.parametrize("error", [RetryableError("x"), ValueError("a bug"), MemoryError()])
def test_any_other_error_leads_to_a_redelivery(error: Exception) -> None:
    with pytest.raises(ServiceUnavailable) as caught, http_status_of("worker"):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("a person's name"), "internal error: this is a bug"),
        (NotImplementedError("a person's name"), "internal error: this is a bug"),
        (MemoryError("a person's name"), "unexpected error, the message will be redelivered"),
        (Forbidden("a person's name"), "unexpected error, the message will be redelivered"),
        (DefaultCredentialsError("a person's name"), "unexpected error, the message will be redelivered"),
    ],
)
def test_bug_is_logged_with_its_class_and_place(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ServiceUnavailable), http_status_of("worker"):
        raise error
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["severity"], line["message"], line["error"]) == ("ERROR", message, type(error).__name__)
    assert line["stack"][-1].startswith("test_http_status.py:")
    assert "person" not in json.dumps(line)
