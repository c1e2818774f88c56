"""`defacer emulator down`: stop the emulator from another terminal."""

import json
import os
import signal
import time

import typer

from defacer.commands.common.conventions import Json
from defacer.commands.common.deployment import Folder
from defacer.program import EMULATOR_FOLDER
from defacer_emulator.errors import EmulatorError
from defacer_emulator.processes.state import ProcessRecord, StateFolder
from defacer_emulator.processes.supervisor import REAPER_SECONDS

POLL_SECONDS = 0.2
STOP_SECONDS = REAPER_SECONDS + 5.0
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def down(folder: Folder = None, json_output: Json = False) -> None:
    """Stop the emulator in this folder, and end the processes that a killed one left.

    No emulator is not an error.
    """
    state_folder = StateFolder((folder or EMULATOR_FOLDER).resolve())
    state = state_folder.read()
    was_running = state is not None and state.parent.is_alive()
    left: tuple[str, ...] = ()
    if state is not None:
        if was_running:
            _stop(state.parent)
        with state_folder.lock() as found:
            left = found
    if json_output:
        print(json.dumps({"folder": str(state_folder.path), "stopped": was_running, "ended_processes": left}))
    elif state is None:
        print(f"No emulator runs in {state_folder.path}.")
    else:
        print(
            f"{'Stopped the emulator' if was_running else 'The emulator had already ended'} in {state_folder.path}."
        )
        if left:
            print(f"Ended the processes that it had left: {', '.join(left)}.")


def _stop(parent: ProcessRecord) -> None:
    """Stop the emulator's process, and kill it if it does not end in time. Its reaper then ends all others."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(parent.pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise EmulatorError(
                f"The emulator's process {parent.pid} belongs to another user. Stop it as that user."
            ) from error
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if not parent.is_alive():
                return
            time.sleep(POLL_SECONDS)
    raise EmulatorError(f"The emulator's process {parent.pid} did not end after SIGKILL. End it by hand.")
