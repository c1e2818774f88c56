"""Starts the emulator's processes, watches them, and ends them together.

Each process runs in its own session, so Ctrl-C reaches only the emulator, which then ends the others in order.
The reaper (reaper.py) ends them. It also works when the emulator itself was killed.
"""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from defacer_emulator.errors import EmulatorError
from defacer_emulator.processes import reaper
from defacer_emulator.processes.logs import read_tail
from defacer_emulator.processes.state import ProcessRecord, StateFolder, environment_mark

HOST = "127.0.0.1"
PROBE_SECONDS = 1.0
POLL_SECONDS = 0.05
REAPER_ENDED = "The emulator's reaper process has ended, so the emulator stops. Start the emulator again."
# gunicorn finishes requests for at most 30 s. Pub/Sub delivers a message again whose request was not finished.
REPLACE_SECONDS = 35.0
REAPER_SECONDS = reaper.STOP_SECONDS + reaper.KILL_SECONDS + 5.0


@dataclass(frozen=True)
class Program:
    """A server to run. `is_ready` returns whether it answers."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    is_ready: Callable[[], bool]


class Processes:
    """The running programs of one emulator. Leaving the block ends all of them."""

    def __init__(self, folder: StateFolder, run: str):
        self._folder = folder
        self._mark = environment_mark(run)
        self._programs: dict[str, Program] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping: dict[str, float] = {}  # programs to replace, and when they are killed
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
                f"The emulator's reaper process did not start, so nothing else was started. Run {reaper.__file__} by "
                "hand to see its error."
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the reaper end all processes, and reap the ended ones so that the reaper does not wait for them."""
        if self._reaper is None or self._reaper.stdin is None or self._reaper.stdout is None:
            return
        with suppress(BrokenPipeError):  # the reaper was killed: this process ends the others below
            self._reaper.stdin.close()
        deadline = time.monotonic() + REAPER_SECONDS
        while self._reaper.poll() is None and time.monotonic() < deadline:
            self._reap_children()
            time.sleep(POLL_SECONDS)
        self._reaper.stdout.close()
        self._reap_children()
        groups = {process.pid for process in self._running.values() if process.returncode is None}
        if left := reaper.end_groups(groups | reaper.find_marked_groups(self._mark), self._reap_children):
            raise EmulatorError(f"Process groups {sorted(left)} did not end after SIGKILL. End them by hand.")

    def start(self, program: Program) -> None:
        """Start a program and send its output to its log."""
        self._start(program, "wb")

    def stop(self, name: str) -> None:
        """Let a program end after its current requests. `check` ignores its end from now on."""
        self._stopping[name] = time.monotonic() + REPLACE_SECONDS
        with suppress(ProcessLookupError):
            self._running[name].terminate()

    def start_again(self, name: str) -> bool:
        """Start a stopped program again if it has ended, and continue its log. Return whether it was started."""
        process = self._running[name]
        if process.poll() is None:
            if time.monotonic() > self._stopping[name]:
                process.kill()
            return False
        reaper.end_groups({process.pid})
        self._start(self._programs[name], "ab")
        return True

    def exit_code(self, name: str) -> int | None:
        """Return the exit code of a program, or None if it runs."""
        return self._running[name].poll()

    def _start(self, program: Program, mode: Literal["wb", "ab"]) -> None:
        if self._reaper is None or self._reaper.stdin is None:
            raise RuntimeError("programs can only start inside the block")
        with self._folder.log(program.name).open(mode) as log:
            try:
                process = subprocess.Popen(
                    program.command,
                    cwd=self._folder.path,
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
        self._programs[program.name], self._running[program.name] = program, process
        try:
            self._reaper.stdin.write(f"{process.pid}\n".encode())
            self._reaper.stdin.flush()
        except BrokenPipeError as error:
            raise EmulatorError(REAPER_ENDED) from error

    def names(self) -> tuple[str, ...]:
        return tuple(self._running)

    def records(self) -> tuple[ProcessRecord, ...]:
        """Return the processes for `state.json`. Each leads the process group with its process id."""
        processes = dict(self._running)
        if self._reaper is not None:
            processes["reaper"] = self._reaper
        return tuple(ProcessRecord.of(name, process.pid) for name, process in processes.items())

    def check(self) -> None:
        """Raise EmulatorError with the end of the log if a program has ended."""
        for name, process in self._running.items():
            if process.poll() is not None and name not in self._stopping:
                reason = (
                    f"exit code {process.returncode}"
                    if process.returncode >= 0
                    else f"signal {-process.returncode}"
                )
                raise EmulatorError(
                    f"{name} ended unexpectedly ({reason}). The end of {self._folder.log(name)}:\n"
                    f"{read_tail(self._folder.log(name))}"
                )
        if self._reaper is not None and self._reaper.poll() is not None:
            raise EmulatorError(REAPER_ENDED)

    def wait_until_ready(self, programs: Iterable[Program], seconds: float) -> None:
        """Return when all programs are ready. Raise EmulatorError if one ends or does not answer in time."""
        deadline = time.monotonic() + seconds
        for program in programs:
            while not program.is_ready():
                self.check()
                if time.monotonic() > deadline:
                    log = self._folder.log(program.name)
                    raise EmulatorError(
                        f"{program.name} does not answer after {seconds:.0f} s. The end of {log}:\n{read_tail(log)}"
                    )
                time.sleep(POLL_SECONDS)

    def _reap_children(self) -> None:
        for process in self._running.values():
            process.poll()


def is_listening(port: int) -> bool:
    """Return whether a server accepts connections on this port."""
    try:
        socket.create_connection((HOST, port), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def is_http_ready(port: int, path: str = "/") -> bool:
    """Return whether an HTTP server answers on this port, with any status."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
