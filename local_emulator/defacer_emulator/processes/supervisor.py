"""Processes that are started together, watched, and ended together, whatever happens to the one who started them.

Each runs in a session of its own, so that Ctrl-C reaches only the emulator, which then ends them in order.
The reaper (reaper.py) does the ending: it also works when the emulator is killed and can do nothing any more.
"""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from defacer_emulator.errors import EmulatorError
from defacer_emulator.processes import reaper
from defacer_emulator.processes.logs import tail
from defacer_emulator.processes.state import ROOT, ProcessRecord, StateFolder, mark

HOST = "127.0.0.1"
PROBE_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 0.05
REAPER_GONE = "The process that ends the emulator's others was ended itself: the emulator stops."
REAPER_SECONDS = reaper.STOP_SECONDS + reaper.KILL_SECONDS + 5.0


@dataclass(frozen=True)
class Program:
    """A server to run: it is ready when `answers` says so."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    answers: Callable[[], bool]


class Processes:
    """The running programs of one emulator. Leaving the block ends all of them."""

    def __init__(self, folder: StateFolder, run: str):
        self._folder = folder
        self._mark = mark(run)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._reaper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", reaper.__file__, self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._reaper.stdout is not None  # noqa: S101 - given as PIPE above
        if self._reaper.stdout.readline() != b"ready\n":
            raise EmulatorError(
                "The process that ends the emulator's others did not start: nothing was started."
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the reaper end all, and collect what has ended, so that it sees who is left."""
        if self._reaper is None or self._reaper.stdin is None or self._reaper.stdout is None:
            return
        with suppress(BrokenPipeError):  # it was killed: then all is left to do below
            self._reaper.stdin.close()
        deadline = time.monotonic() + REAPER_SECONDS
        while self._reaper.poll() is None and time.monotonic() < deadline:
            self._collect()
            time.sleep(LOOK_AGAIN_SECONDS)
        self._reaper.stdout.close()
        self._collect()
        groups = {process.pid for process in self._running.values() if process.returncode is None}
        if left := reaper.end(groups | reaper.marked_groups(self._mark), self._collect):
            raise EmulatorError(f"These process groups did not end, end them by hand: {sorted(left)}")

    def start(self, program: Program) -> None:
        """Start a program; its output goes to its log."""
        if self._reaper is None or self._reaper.stdin is None:
            raise RuntimeError("programs start inside the block only")
        with self._folder.log(program.name).open("wb") as log:
            try:
                process = subprocess.Popen(
                    program.command,
                    cwd=ROOT,
                    env={**program.environment, **dict([self._mark.split("=", 1)])},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise EmulatorError(
                    f"{program.name} did not start: {program.command[0]}: {error.strerror}"
                ) from error
        self._running[program.name] = process
        try:
            self._reaper.stdin.write(f"{process.pid}\n".encode())
            self._reaper.stdin.flush()
        except BrokenPipeError as error:
            raise EmulatorError(REAPER_GONE) from error

    def names(self) -> tuple[str, ...]:
        return tuple(self._running)

    def records(self) -> tuple[ProcessRecord, ...]:
        """Who runs, for `state.json`: each leads a process group of the same number."""
        everyone = dict(self._running)
        if self._reaper is not None:
            everyone["reaper"] = self._reaper
        return tuple(ProcessRecord.of(name, process.pid) for name, process in everyone.items())

    def check(self) -> None:
        """Raise EmulatorError if a program has ended, with the end of its log."""
        for name, process in self._running.items():
            if process.poll() is not None:
                how = (
                    f"exit code {process.returncode}"
                    if process.returncode >= 0
                    else f"signal {-process.returncode}"
                )
                raise EmulatorError(
                    f"{name} ended by itself ({how}). The end of {self._folder.log(name)}:\n"
                    f"{tail(self._folder.log(name))}"
                )
        if self._reaper is not None and self._reaper.poll() is not None:
            raise EmulatorError(REAPER_GONE)

    def wait_until_ready(self, programs: Iterable[Program], seconds: float) -> None:
        """Return when all answer. Raises EmulatorError that names the one that ended or does not answer."""
        deadline = time.monotonic() + seconds
        for program in programs:
            while not program.answers():
                self.check()
                if time.monotonic() > deadline:
                    log = self._folder.log(program.name)
                    raise EmulatorError(
                        f"{program.name} does not answer after {seconds:.0f} s. The end of {log}:\n{tail(log)}"
                    )
                time.sleep(LOOK_AGAIN_SECONDS)

    def _collect(self) -> None:
        for process in self._running.values():
            process.poll()


def inherited_environment() -> dict[str, str]:
    """This process's environment for its children, without what would lead them away from the emulator."""
    environment = dict(os.environ)
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "WORKERS", "THREADS"):
        environment.pop(name, None)
    environment.pop("DEFACER_WEBHOOK_SECRET", None)  # for the one function that signs with it
    nowhere = ",".join(
        filter(None, (environment.get("NO_PROXY") or environment.get("no_proxy"), HOST, "localhost"))
    )
    return {**environment, "NO_PROXY": nowhere, "no_proxy": nowhere, "PYTHONUNBUFFERED": "1"}


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this port."""
    try:
        socket.create_connection((HOST, port), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def answers_http(port: int, path: str = "/") -> bool:
    """Whether an HTTP server answers there, no matter what."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
