"""`up` and `down`: the emulator in the foreground, and stopping it from elsewhere."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from defacer_emulator.emulator import FUNCTIONS_FOLDER, Emulator, Options
from defacer_emulator.errors import EmulatorError
from defacer_emulator.processes.logs import LogFollower
from defacer_emulator.processes.state import COMMAND, ProcessRecord, StateFolder
from defacer_emulator.processes.supervisor import REAPER_SECONDS, inherited_environment
from defacer_emulator.setup.weights import fetch_weights

LOOK_AGAIN_SECONDS = 0.2
STOP_SECONDS = REAPER_SECONDS + 5.0


def up(options: Options) -> int:
    """Run until interrupted. Raises EmulatorError, with everything stopped, if a part ends by itself."""
    if options.functions == FUNCTIONS_FOLDER:
        fetch_weights(print)
    print(f"Starting in {options.state} ...", flush=True)
    try:
        with Emulator(options) as emulator:
            for notice in emulator.notices:
                print(notice)
            print(_banner(emulator), flush=True)
            _follow(emulator)
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
    return 0


def _follow(emulator: Emulator) -> NoReturn:
    """Print the logs as they grow, until a part ends or somebody interrupts."""
    follower = LogFollower(emulator.log_files())
    try:
        while True:
            _print_new(follower)
            emulator.check()
            time.sleep(LOOK_AGAIN_SECONDS)
    finally:
        _print_new(follower)


def _print_new(follower: LogFollower) -> None:
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
For a program of yours that is to use it:
{exports}
Drop a video from another terminal:
  {COMMAND} drop VIDEO --target ME.jpg -o OUT.mp4{emulator.folder.option()}
Or open the console in a browser:
  {state.console_url}
Or the live page, with a camera:
  {state.live_url}
Ready. Ctrl-C stops everything."""


def with_emulator(path: Path, module: Sequence[str]) -> int:
    """Run a Python module with arguments against the emulator in this folder; gives its exit code."""
    environment = {**inherited_environment(), **StateFolder(path.resolve()).running().environment()}
    return subprocess.run([sys.executable, "-m", *module], env=environment, check=False).returncode


def down(path: Path) -> int:
    """Stop the emulator in this folder, and whatever is left of one that was killed. Fine if there is none."""
    folder = StateFolder(path.resolve())
    state = folder.read()
    if state is None:
        print(f"No emulator runs in {folder.path}.")
        return 0
    was_running = state.parent.alive()
    if was_running:
        _stop(state.parent)
    with folder.taken() as left:
        print(
            f"{'Stopped the emulator' if was_running else 'The emulator had ended already'} in {folder.path}."
        )
        if left:
            print(f"Ended what it had left: {', '.join(left)}.")
    return 0


def _stop(parent: ProcessRecord) -> None:
    """Ask the emulator's process to stop, and kill it if it does not: its reaper then ends all others."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(parent.pid, number)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise EmulatorError(
                f"The emulator is another user's process, {parent.pid}: stop it as that user."
            ) from error
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if not parent.alive():
                return
            time.sleep(LOOK_AGAIN_SECONDS)
    raise EmulatorError(f"The emulator's process {parent.pid} does not end. End it by hand.")
