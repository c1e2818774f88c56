"""The state folder: who runs there, on which ports, with which logs. `state.json` is how terminals find it."""

import fcntl
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from defacer_emulator.errors import EmulatorError, UsageError
from defacer_emulator.processes.reaper import end, marked_groups
from defacer_emulator.resources import Resources

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_STATE = ROOT / ".emulator"
# As it can be pasted into the terminal that the hint was printed in.
PYTHON = Path(sys.executable)
PYTHON = PYTHON.relative_to(Path.cwd()) if PYTHON.is_relative_to(Path.cwd()) else PYTHON
COMMAND = f"{shlex.quote(str(PYTHON))} -m defacer_emulator"
ENGINE = f"{shlex.quote(str(PYTHON))} -m defacer.engine"
# Every process of an emulator carries this variable with the emulator's run as its value.
MARK_VARIABLE = "DEFACER_EMULATOR_RUN"


class ProcessRecord(BaseModel):
    """A process, and when it started: a process id alone may belong to somebody else by now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pid: int
    started: str

    @classmethod
    def of(cls, name: str, pid: int) -> Self:
        return cls(name=name, pid=pid, started=start_time(pid) or "gone")

    def alive(self) -> bool:
        return start_time(self.pid) == self.started


class EmulatorState(BaseModel):
    """What `state.json` says. `run` differs for every start; `ready` is false while it starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    started_at: datetime
    project: str
    buckets: tuple[str, str, str]
    pubsub: str
    storage_url: str
    pubsub_host: str
    function_urls: Mapping[str, str]
    console_url: str | None = None
    live_url: str | None = None
    parent: ProcessRecord
    processes: tuple[ProcessRecord, ...] = ()
    ready: bool = False

    @property
    def resources(self) -> Resources:
        return Resources(self.project)

    def environment(self) -> Mapping[str, str]:
        """What a program needs to work with this emulator: the functions, or one of yours."""
        return {
            "STORAGE_EMULATOR_HOST": self.storage_url,
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "GOOGLE_CLOUD_PROJECT": self.project,
            **self.resources.environment(),
        }


def mark(run: str) -> str:
    """What stands in the environment of each process of this run of the emulator."""
    return f"{MARK_VARIABLE}={run}"


def start_time(pid: int) -> str | None:
    """When a process started, in a form to compare; None if there is no such process, or only its remains."""
    if not Path("/proc/self/stat").exists():
        found = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout.strip()
        return None if not found or found.startswith("Z") else found.split(maxsplit=1)[1]
    try:
        # proc(5): the name in parentheses may hold anything; the state is field 3, the start is field 22.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


class StateFolder:
    """The folder that an emulator runs in."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def file(self) -> Path:
        return self.path / "state.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def read(self) -> EmulatorState | None:
        """What runs here, or did when the folder was left; None if nothing ever said so."""
        try:
            return EmulatorState.model_validate_json(self.file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise EmulatorError(
                f"{self.file} can't be read as the emulator's state ({type(error).__name__}). If no emulator "
                "runs there, delete the file; if one does, stop it with Ctrl-C in its terminal first."
            ) from error

    def write(self, state: EmulatorState) -> None:
        temporary = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        temporary.write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.file)

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)

    def running(self) -> EmulatorState:
        """The emulator that is ready here. Raises UsageError if there is none."""
        state = self.read()
        up = f"{COMMAND} up{self.option()}"
        if state is None or not state.parent.alive():
            raise UsageError(f"No emulator runs in {self.path}. Start one in another terminal: {up}")
        if not state.ready:
            raise UsageError(f"The emulator in {self.path} is still starting. Try again in a few seconds.")
        return state

    def option(self) -> str:
        """How a command says that it means this folder: nothing for the default."""
        return "" if self.path == DEFAULT_STATE else f" --state {shlex.quote(str(self.path))}"

    @contextmanager
    def taken(self) -> Iterator[tuple[str, ...]]:
        """Hold this folder: one emulator at a time. The system lets go of it when the process ends.

        What a killed emulator left behind is ended first; gives the names of those processes.
        Raises UsageError if an emulator runs here.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                state = self.read()
                who = f" (process {state.parent.pid}, storage at {state.storage_url})" if state else ""
                raise UsageError(
                    f"An emulator runs in {self.path} already{who}. Stop it with Ctrl-C in its terminal or with: "
                    f"{COMMAND} down{self.option()}"
                ) from None
            yield self._sweep()

    def _sweep(self) -> tuple[str, ...]:
        state = self.read()
        if state is None:
            return ()
        left = [process for process in state.processes if process.alive()]
        groups = {process.pid for process in left} | marked_groups(mark(state.run))
        if remains := end(groups):
            raise EmulatorError(
                f"Processes {sorted(remains)} of an earlier emulator in {self.path} do not end. End them by hand."
            )
        self.forget()
        return tuple(process.name for process in left)
