"""`up` in its own process, with stand-in functions, and the search for processes that it left."""

import os
import signal
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

from defacer_emulator.processes.ports import SERVICES
from defacer_emulator.processes.reaper import find_marked_groups
from defacer_emulator.processes.state import EmulatorState, StateFolder, environment_mark
from defacer_emulator.processes.supervisor import is_listening
from tests.servers import wait_until

START_SECONDS = 180  # on a busy machine, as the emulator waits for a function
STOP_SECONDS = 60
# Options of `up`: emulators of parallel tests listen on free ports.
ANY_PORTS = tuple(f"--port={name}=0" for name in SERVICES)


@dataclass(frozen=True)
class Up:
    """`up` in its own process, as in its own terminal."""

    process: subprocess.Popen[str]
    folder: StateFolder

    def state(self) -> EmulatorState:
        state = self.folder.read()
        assert state is not None
        return state

    def wait_until_ready(self) -> EmulatorState:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            found = self.folder.read()
            return found is not None and found.ready

        wait_until(is_ready, "the emulator is ready", START_SECONDS)
        return self.state()

    def signal_terminal(self, number: signal.Signals) -> None:
        """Send a signal to the foreground group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def wait_for_end(self) -> tuple[int, str, str]:
        """Wait for the end, and return exit code, output and errors."""
        out, errors = self.process.communicate(timeout=START_SECONDS)
        return self.process.returncode, out, errors


def find_leftovers(state: EmulatorState) -> list[str]:
    """Return the remains of an emulator: its processes, by name or group, and its open ports."""
    left = [process.name for process in state.processes if process.is_alive()]
    left += [f"group {group}" for group in find_marked_groups(environment_mark(state.run))]
    addresses = [state.storage_url, state.pubsub_host, *state.function_urls.values()]
    addresses += [state.console_url] if state.console_url else []
    ports = [int(address.rsplit(":", 1)[1]) for address in addresses]
    return left + [f"port {port}" for port in ports if is_listening(port)]


def wait_until_gone(state: EmulatorState) -> None:
    wait_until(lambda: not find_leftovers(state), "all processes and ports are gone", STOP_SECONDS)


def write_function(folder: Path, name: str, source: str) -> None:
    (folder / name / "main.py").write_text(textwrap.dedent(source))
