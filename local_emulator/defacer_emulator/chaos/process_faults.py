"""The process at the other end of a connection: found by its socket, ended, or left without a disk.

Linux only, by /proc. A process is touched only if it carries the mark of this run of the emulator.
"""

import os
import re
import resource
import signal
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
# What a process may still write with a full disk: the rest of the page that a file's end lies in.
FULL_DISK_BYTES = 4096


def can_be_found() -> bool:
    """Whether this system tells who owns a socket."""
    return (PROC / "net" / "tcp").exists()


def owner(mark: str, port: int, peer: int) -> int | None:
    """The process of this run that owns the socket from `port` to `peer`, both on this machine; None if nobody does."""
    inode = _inode(port, peer)
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):  # another user's, or it has just ended
            if mark.encode() not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            if any(_link(descriptor) == wanted for descriptor in (folder / "fd").iterdir()):
                return int(folder.name)
    return None


def kill(pid: int) -> bool:
    """As Cloud Run ends an instance that used too much memory. False if it had ended already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def fill_disk(pid: int) -> None:
    """From now on the process can't make a file bigger than a page: OSError EFBIG, as ENOSPC elsewhere.

    What it logs beyond that is lost: its log is such a file. Nothing happens if it has ended.
    """
    _limit_files(pid, FULL_DISK_BYTES)


def free_disk(pid: int) -> None:
    """It can write again."""
    _limit_files(pid, None)


def _limit_files(pid: int, size: int | None) -> None:
    with suppress(ProcessLookupError):
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most if size is None else size, most))


def _inode(port: int, peer: int) -> str | None:
    """proc(5), /proc/net/tcp: local address, remote address, ..., inode in the tenth column; 0: nobody's yet."""
    pattern = re.compile(rf"[0-9A-F]{{8}}:{port:04X} [0-9A-F]{{8}}:{peer:04X}$")
    for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if pattern.match(f"{fields[1]} {fields[2]}") and fields[9] != "0":
            return fields[9]
    return None


def _link(descriptor: Path) -> str:
    with suppress(OSError):
        return os.readlink(descriptor)
    return ""
