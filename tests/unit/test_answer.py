from collections.abc import Callable

import pytest
from werkzeug.exceptions import ServiceUnavailable

from functions.pipeline.answer import answering
from functions.pipeline.errors import MalformedMessageError, PermanentError, RetryableError


@pytest.fixture(autouse=True)
def settings_are_there(environment: Callable[..., None]) -> None:
    pass


@pytest.mark.parametrize("error", [PermanentError("c", "x"), MalformedMessageError("x")])
def test_what_no_further_try_can_change_is_acknowledged(error: Exception) -> None:
    with answering("worker"):
        raise error


@pytest.mark.parametrize("error", [RetryableError("x"), ValueError("a fault of this code"), MemoryError()])
def test_everything_else_comes_back(error: Exception) -> None:
    with pytest.raises(ServiceUnavailable) as caught, answering("worker"):
        raise error
    assert caught.value.__cause__ is error
