"""Ends the emulator's processes when the emulator ends, however it ends: run as a script, in its own session.

The emulator holds the other end of standard input and never closes it while it lives. When that end closes
(a normal stop, a crash, SIGKILL), every process group that was named on standard input, one number a line, is
told to stop, and killed if it has not. A process that was started in the very moment in which the emulator
died may not have been named yet: on Linux it is found by the mark that all of them carry in their environment.

    reaper.py MARK     where MARK is "NAME=VALUE", set in the environment of every process to be ended
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

STOP_SECONDS = 3.0
KILL_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.02
PARENT_CHECK_SECONDS = 1.0


def named_groups() -> set[int]:
    """The groups named on standard input, once the emulator has closed it or is gone."""
    emulator = os.getppid()
    text = b""
    while True:
        ready, _, _ = select.select([0], [], [], PARENT_CHECK_SECONDS)
        data = os.read(0, 65536) if ready else None
        if data:
            text += data
        # A fork of the emulator may keep the pipe open: then a new parent tells that the emulator is gone.
        elif data == b"" or os.getppid() != emulator:
            return {int(line) for line in text.split(b"\n")[:-1]}


def marked_groups(mark: str) -> set[int]:
    """The groups of all processes whose environment holds the mark; none where there is no /proc."""
    groups = set()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environment.read_bytes().split(b"\0"):
                groups.add(os.getpgid(int(environment.parent.name)))
        except OSError:  # another user's process, or one that has just ended
            continue
    return groups - {os.getpgid(0)}


def tell(groups: Iterable[int], number: int) -> set[int]:
    """Send a signal (0: none) to each group; gives those that are still there."""
    there = set()
    for group in groups:
        try:
            os.killpg(group, number)
            there.add(group)
        except (ProcessLookupError, PermissionError):  # PermissionError: macOS, a group of zombies only
            continue
    return there


def end(groups: Iterable[int], meanwhile: Callable[[], None] = lambda: None) -> set[int]:
    """Stop the groups, kill those that are still there after a while; gives those that outlived even that.

    `meanwhile` is called while it waits. A parent collects its ended children there: until then they count.
    """
    there = tell(groups, signal.SIGTERM)
    for seconds, number in ((STOP_SECONDS, signal.SIGKILL), (KILL_SECONDS, 0)):
        deadline = time.monotonic() + seconds
        while there and time.monotonic() < deadline:
            time.sleep(LOOK_AGAIN_SECONDS)
            meanwhile()
            there = tell(there, 0)
        there = tell(there, number)
    return there


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("ready", flush=True)
    groups = named_groups()
    end(groups | marked_groups(sys.argv[1]))
    end(marked_groups(sys.argv[1]))  # started by one of them meanwhile


if __name__ == "__main__":
    main()
