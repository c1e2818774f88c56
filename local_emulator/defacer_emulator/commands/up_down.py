"""`up` and `down`: run the emulator in the foreground, and stop it from another terminal."""

import os
import signal
import time
from pathlib import Path
from typing import NoReturn

from defacer_emulator.emulator import FUNCTIONS_FOLDER, Emulator, EmulatorOptions
from defacer_emulator.errors import EmulatorError
from defacer_emulator.processes.logs import LogFollower
from defacer_emulator.processes.state import COMMAND, ProcessRecord, StateFolder
from defacer_emulator.processes.supervisor import REAPER_SECONDS
from defacer_emulator.setup.weights_download import fetch_weights

POLL_SECONDS = 0.2
STOP_SECONDS = REAPER_SECONDS + 5.0


def up(options: EmulatorOptions) -> int:
    """Run the emulator until it is interrupted. Raise EmulatorError, with everything stopped, if a process ends."""
    if options.functions == FUNCTIONS_FOLDER:
        fetch_weights(print)
    print(f"Starting in {options.state} ...", flush=True)
    try:
        with Emulator(options) as emulator:
            for notice in emulator.notices:
                print(notice)
            print(_banner(emulator), flush=True)
            _follow_logs(emulator)
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
    return 0


def _follow_logs(emulator: Emulator) -> NoReturn:
    """Print the logs as they grow, until a process ends or the user interrupts."""
    follower = LogFollower(emulator.log_files())
    try:
        while True:
            _print_new_lines(follower)
            emulator.check()
            time.sleep(POLL_SECONDS)
    finally:
        _print_new_lines(follower)


def _print_new_lines(follower: LogFollower) -> None:
    for line in follower.new_lines():
        print(line, flush=True)


def _banner(emulator: Emulator) -> str:
    state = emulator.state
    exports = "\n".join(f"  export {name}={value}" for name, value in emulator.environment.items())
    urls = "\n".join(f"  {name:<12} {url}" for name, url in state.function_urls.items())
    return f"""\
  storage      {state.storage_url}
  pubsub       {state.pubsub_host} ({state.pubsub})
{urls}
  logs         {emulator.folder.logs}
To use it from a program of yours:
{exports}
Drop a video from another terminal:
  {COMMAND} drop VIDEO --target ME.jpg -o OUT.mp4{emulator.folder.option()}
Or open the console in a browser:
  {state.console_url}
Or open the live page, with a camera:
  {state.live_url}
Ready. Ctrl-C stops everything."""


def down(path: Path) -> int:
    """Stop the emulator in this folder, and end the processes that a killed one left. No emulator is not an error."""
    folder = StateFolder(path.resolve())
    state = folder.read()
    if state is None:
        print(f"No emulator runs in {folder.path}.")
        return 0
    was_running = state.parent.is_alive()
    if was_running:
        _stop(state.parent)
    with folder.lock() as left:
        print(
            f"{'Stopped the emulator' if was_running else 'The emulator had already ended'} in {folder.path}."
        )
        if left:
            print(f"Ended the processes that it had left: {', '.join(left)}.")
    return 0


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
