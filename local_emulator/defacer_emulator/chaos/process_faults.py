"""Faults of a function's process: find it by its end of a connection, kill it, or limit the size of its files.

Linux only. A process is affected only if it has the mark of this run of the emulator.
"""

import os
import resource
import signal
from contextlib import suppress

import psutil

from defacer_emulator.processes.reaper import has_mark

# With a full disk, a process can still write the rest of the page at the end of a file.
FULL_DISK_BYTES = 4096


def find_owner(mark: str, port: int, peer: int) -> int | None:
    """Return the process of this run that owns the socket from `port` to `peer`, both on this machine, or None."""
    for connection in psutil.net_connections("tcp4") if psutil.LINUX else ():
        if (
            connection.pid
            and connection.raddr
            and (connection.laddr.port, connection.raddr.port) == (port, peer)
        ):
            with suppress(psutil.NoSuchProcess):
                return int(connection.pid) if has_mark(psutil.Process(connection.pid), mark) else None
    return None


def kill(pid: int) -> bool:
    """Kill a process as Cloud Run kills an instance that used too much memory. Return False if it had ended."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def fill_disk(pid: int) -> None:
    """Limit the process to files of one page. Larger ones raise EFBIG, where a full disk raises ENOSPC.

    The limit also applies to its log, so further log lines are lost. A process that has ended is ignored.
    """
    _limit_file_size(pid, FULL_DISK_BYTES)


def free_disk(pid: int) -> None:
    """Remove the limit that `fill_disk` set."""
    _limit_file_size(pid, None)


def _limit_file_size(pid: int, size: int | None) -> None:
    with suppress(ProcessLookupError):
        _, hard_limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard_limit if size is None else size, hard_limit))
