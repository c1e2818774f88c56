"""Run a command of `defacer` in this process, because an interpreter and its imports take seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from defacer.commands.app import main


class Shown(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Shown]


@pytest.fixture
def defacer(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> Shown:
        code = main([str(argument) for argument in arguments])
        shown = capfd.readouterr()
        assert "Traceback" not in shown.err
        return Shown(code, shown.out, shown.err)

    return run
