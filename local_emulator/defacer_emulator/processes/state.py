"""The state folder of an emulator: its processes, ports and logs. Other terminals find the emulator by `state.json`."""

import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Self

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from defacer.program import EMULATOR_FOLDER, program
from defacer_emulator.errors import EmulatorError, EmulatorUsageError
from defacer_emulator.processes.reaper import end_groups, find_marked_groups
from defacer_emulator.resources import Resources

# Every process of an emulator has this environment variable. Its value is the emulator's run.
MARK_VARIABLE = "DEFACER_EMULATOR_RUN"
# psutil computes start times from the clock, which the system might correct in between.
MAX_CLOCK_CORRECTION_SECONDS = 5.0


class ProcessRecord(BaseModel):
    """A process and its start time: the system can reuse the process id later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pid: int
    started: float

    @classmethod
    def of(cls, name: str, pid: int) -> Self:
        return cls(name=name, pid=pid, started=start_time(pid) or 0.0)

    def is_alive(self) -> bool:
        found = start_time(self.pid)
        return found is not None and abs(found - self.started) < MAX_CLOCK_CORRECTION_SECONDS


class EmulatorState(BaseModel):
    """The content of `state.json`. `run` differs for every start. `ready` is false while the emulator starts."""

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

    def addresses(self) -> dict[str, str]:
        """Return the address of each service and function, by its name."""
        pages = {"console": self.console_url, "live": self.live_url}
        return {
            **{name: url for name, url in pages.items() if url is not None},
            "storage": self.storage_url,
            "pubsub": self.pubsub_host,
            **self.function_urls,
        }

    def environment(self) -> Mapping[str, str]:
        """Return the variables that a program needs to use this emulator: a function, or a program of yours."""
        return {
            "STORAGE_EMULATOR_HOST": self.storage_url,
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "GOOGLE_CLOUD_PROJECT": self.project,
            **self.resources.environment(),
        }


def environment_mark(run: str) -> str:
    """Return "NAME=VALUE", which is in the environment of each process of this run of the emulator."""
    return f"{MARK_VARIABLE}={run}"


def start_time(pid: int) -> float | None:
    """Return when a process started, in seconds since 1970, or None if it has ended."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


class StateFolder:
    """The folder of an emulator."""

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
        """Return the last written state, or None without one. Its emulator might have ended."""
        try:
            return EmulatorState.model_validate_json(self.file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise EmulatorError(
                f"{self.file} is not a valid emulator state ({type(error).__name__}). If no emulator runs there, "
                "delete the file. If one runs, stop it first with Ctrl-C in its terminal."
            ) from error

    def write(self, state: EmulatorState) -> None:
        temporary = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        temporary.write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.file)

    def delete_state(self) -> None:
        self.file.unlink(missing_ok=True)

    def require_running(self) -> EmulatorState:
        """Return the state of the emulator in this folder. Raise EmulatorError unless one is ready."""
        state = self.read()
        if state is None or not state.parent.is_alive():
            raise EmulatorError(
                f"No emulator runs in {self.path}. Start one in another terminal: "
                f"{program()} emulator up{self.option()}. If one runs in another folder, add --dir DIR."
            )
        if not state.ready:
            raise EmulatorError(f"The emulator in {self.path} is still starting. Try again in a few seconds.")
        return state

    def require_unchanged(self, before: EmulatorState) -> None:
        """Raise EmulatorError if the emulator has ended since it had this state."""
        now = self.read()
        if now is not None and now.run == before.run and now.parent.is_alive():
            return
        is_restarted = now is not None and now.run != before.run
        event = "was stopped and started again" if is_restarted else "was stopped"
        advice = (
            "Upload" if is_restarted else f"Start it with {program()} emulator up{self.option()} and upload"
        )
        raise EmulatorError(
            f"The emulator {event} before the job's end, so its messages are lost. {advice} the video again. The logs "
            f"are in {shlex.quote(str(self.logs))}."
        )

    def option(self) -> str:
        """Return the option that selects this folder on the command line: empty for the default folder."""
        return "" if self.path == EMULATOR_FOLDER.resolve() else f" --dir {shlex.quote(str(self.path))}"

    @contextmanager
    def lock(self) -> Iterator[tuple[str, ...]]:
        """Lock this folder for one emulator, and yield the names of the processes that an earlier emulator left.

        These processes are ended first. The system releases the lock when this process ends. Raises
        EmulatorUsageError if an emulator runs here.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                state = self.read()
                details = f" (process {state.parent.pid}, storage at {state.storage_url})" if state else ""
                raise EmulatorUsageError(
                    f"An emulator already runs in {self.path}{details}. Stop it with Ctrl-C in its terminal or with: "
                    f"{program()} emulator down{self.option()}"
                ) from None
            yield self._end_leftovers()

    def _end_leftovers(self) -> tuple[str, ...]:
        state = self.read()
        if state is None:
            return ()
        left = [process for process in state.processes if process.is_alive()]
        groups = {process.pid for process in left} | find_marked_groups(environment_mark(state.run))
        if surviving := end_groups(groups):
            raise EmulatorError(
                f"Processes {sorted(surviving)} of an earlier emulator in {self.path} did not end after SIGKILL. End "
                "them by hand."
            )
        self.delete_state()
        return tuple(process.name for process in left)
