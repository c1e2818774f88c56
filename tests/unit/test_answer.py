import json
from collections.abc import Callable

import pytest
from google.api_core.exceptions import Forbidden
from google.auth.exceptions import DefaultCredentialsError
from werkzeug.exceptions import ServiceUnavailable

from defacer.pipeline.errors import MalformedMessageError, PermanentError, RetryableError
from defacer.pipeline.messaging.http_status import http_status_of


@pytest.fixture(autouse=True)
def settings_are_there(environment: Callable[..., None]) -> None:
    pass


@pytest.mark.parametrize("error", [PermanentError("c", "x"), MalformedMessageError("x")])
def test_what_no_further_try_can_change_is_acknowledged(error: Exception) -> None:
    with http_status_of("worker"):
        raise error


@pytest.mark.parametrize("error", [RetryableError("x"), ValueError("a fault of this code"), MemoryError()])
def test_everything_else_comes_back(error: Exception) -> None:
    with pytest.raises(ServiceUnavailable) as caught, http_status_of("worker"):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("a person's name"), "internal error: this is a bug"),
        (NotImplementedError("a person's name"), "internal error: this is a bug"),
        (MemoryError("a person's name"), "an unexpected error, the message will come back"),
        (Forbidden("a person's name"), "an unexpected error, the message will come back"),
        (DefaultCredentialsError("a person's name"), "an unexpected error, the message will come back"),
    ],
)
def test_bug_is_logged_as_a_bug_with_its_class_and_place(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ServiceUnavailable), http_status_of("worker"):
        raise error
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["severity"], line["message"], line["error"]) == ("ERROR", message, type(error).__name__)
    assert line["stack"][-1].startswith("test_answer.py:")
    assert "person" not in json.dumps(line)
