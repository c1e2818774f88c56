"""Ends the emulator's processes when the emulator ends, even if it was killed. Runs as a script in its own session.

The emulator keeps the other end of standard input open for as long as it runs. It writes one process group number a
line. When that end closes (normal stop, crash or SIGKILL), the reaper stops every group and kills those that remain.
A process that started just before the emulator died might be missing from this list. The reaper finds it by the
variable that all processes of one emulator have in their environment.

    reaper.py MARK     where MARK is "NAME=VALUE"
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

STOP_SECONDS = 3.0
KILL_SECONDS = 2.0
POLL_SECONDS = 0.02
PARENT_CHECK_SECONDS = 1.0


def read_groups() -> set[int]:
    """Return the groups on standard input, after the emulator has closed it or ended."""
    emulator = os.getppid()
    text = b""
    while True:
        ready, _, _ = select.select([0], [], [], PARENT_CHECK_SECONDS)
        data = os.read(0, 65536) if ready else None
        if data:
            text += data
        # A fork of the emulator might keep the pipe open: then a new parent shows that the emulator has ended.
        elif data == b"" or os.getppid() != emulator:
            return {int(line) for line in text.split(b"\n")[:-1]}


def has_mark(process: psutil.Process, mark: str) -> bool:
    """Return whether the process has this "NAME=VALUE" in its environment."""
    name, _, value = mark.partition("=")
    with suppress(psutil.Error, OSError):  # another user's process, or one that has just ended
        return bool(process.environ().get(name) == value)
    return False


def find_marked_groups(mark: str) -> set[int]:
    """Return the groups of all processes with the mark in their environment, but not this process's own group."""
    groups = set()
    for process in psutil.process_iter():
        if has_mark(process, mark):
            with suppress(ProcessLookupError):
                groups.add(os.getpgid(process.pid))
    return groups - {os.getpgid(0)}


def signal_groups(groups: Iterable[int], number: int) -> set[int]:
    """Send a signal (0: only check) to each group, and return the groups that still exist."""
    existing = set()
    for group in groups:
        try:
            os.killpg(group, number)
            existing.add(group)
        except (ProcessLookupError, PermissionError):  # PermissionError: macOS, a group of zombies only
            continue
    return existing


def end_groups(groups: Iterable[int], on_poll: Callable[[], None] = lambda: None) -> set[int]:
    """Stop the groups, kill those that remain after STOP_SECONDS, and return those that survive even that.

    `on_poll` is called while this waits. A parent reaps its ended children there, because zombies count as existing.
    """
    existing = signal_groups(groups, signal.SIGTERM)
    for seconds, number in ((STOP_SECONDS, signal.SIGKILL), (KILL_SECONDS, 0)):
        deadline = time.monotonic() + seconds
        while existing and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            on_poll()
            existing = signal_groups(existing, 0)
        existing = signal_groups(existing, number)
    return existing


def main() -> None:
    """Wait for the emulator's end, then end its processes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("ready", flush=True)
    groups = read_groups()
    end_groups(groups | find_marked_groups(sys.argv[1]))
    end_groups(find_marked_groups(sys.argv[1]))  # those that the first ones started in the meantime


if __name__ == "__main__":
    main()
