"""Emulators with stand-in functions, which start within a second."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from defacer.pipeline.topology import FUNCTIONS
from defacer_emulator.emulator import Emulator, EmulatorOptions
from defacer_emulator.processes.state import StateFolder
from tests.emulator.up import ANY_PORTS, Up
from tests.servers import DEFACER, ROOT

STAND_IN = """
import functions_framework

@functions_framework.cloud_event
def {name}(event):
    attributes = event.data["message"]["attributes"]
    print("called {name} with", attributes.get("objectId"), flush=True)
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """Return a folder with functions that only print that they were called."""
    return write_stand_ins(tmp_path)


def write_stand_ins(parent: Path) -> Path:
    folder = parent / "stand-ins"
    for function in FUNCTIONS:
        source = folder / function.source
        source.parent.mkdir(parents=True)
        source.write_text(STAND_IN.format(name=function.name))
    return folder


# The two pages take half of the time of a start.
WITHOUT_PAGES = """
import sys
from dataclasses import replace
from defacer.commands import app
from defacer_emulator.commands import up

run_emulator = up.run_emulator
up.run_emulator = lambda options, **how: run_emulator(replace(options, console=False, live=False), **how)
sys.exit(app.main())
"""


@pytest.fixture
def up(tmp_path: Path, stand_ins: Path) -> Iterator[Up]:
    """Start `up` with the stand-in functions and the built-in Pub/Sub, without the console and the live page."""
    with run_up(tmp_path, stand_ins, program=(sys.executable, "-c", WITHOUT_PAGES)) as started:
        yield started


@pytest.fixture
def up_with_pages(tmp_path: Path, stand_ins: Path) -> Iterator[Up]:
    """Start `up` as the fixture `up` does, with the console and the live page."""
    with run_up(tmp_path, stand_ins) as started:
        yield started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulator with stand-in functions for the tests of a module that only read from it or add to it."""
    folder = tmp_path_factory.mktemp("running")
    with Emulator(
        EmulatorOptions(folder / "state", "builtin", workers=3, functions=write_stand_ins(folder))
    ) as started:
        yield started


@pytest.fixture
def up_with_chaos(tmp_path: Path, stand_ins: Path) -> Iterator[Up]:
    """Start `up` as the fixture `up` does, with faults."""
    with run_up(tmp_path, stand_ins, "--chaos", "7") as started:
        yield started


@contextmanager
def run_up(
    tmp_path: Path, stand_ins: Path, *arguments: str, program: tuple[str, ...] = DEFACER
) -> Iterator[Up]:
    """Start `up` with the stand-in functions, the built-in Pub/Sub and these arguments."""
    folder = StateFolder(tmp_path / "state")
    command = [*program, "emulator", "up", "--pubsub", "builtin"]
    command += ["--dir", str(folder.path), "--functions", str(stand_ins), *ANY_PORTS, *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield Up(process, folder)
    finally:
        process.kill()
        process.communicate()
