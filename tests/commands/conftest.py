"""Run a command of `defacer` in this process, because an interpreter and its imports take seconds. Build the wheel."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from defacer.commands.app import main
from defacer.engine import manual_corrections, redact_file
from defacer.engine.engine import Engine
from tests.servers import ROOT, UV


class Shown(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Shown]
# The fields of a result as JSON, for files and for jobs.
RESULT_FIELDS = {
    "frames",
    "black_frames",
    "copied_frames",
    "kept",
    "hidden",
    "people",
    "dropped",
    "changes",
    "checked",
    "warnings",
}


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    """All commands of a module use one engine, because each new one compiles its networks again."""
    engine = Engine()
    with pytest.MonkeyPatch.context() as patch:
        for module in (manual_corrections, redact_file):
            patch.setattr(module, "Engine", lambda: engine)
        yield


@pytest.fixture
def defacer(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> Shown:
        code = main([str(argument) for argument in arguments])
        shown = capfd.readouterr()
        assert "Traceback" not in shown.err
        return Shown(code, shown.out, shown.err)

    return run


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", str(folder), str(ROOT)], check=True)
    return folder
