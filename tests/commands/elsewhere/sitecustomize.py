"""Take away what only Linux or only POSIX has. Python imports this module before any other, in child processes too."""

import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

# An import of these raises ImportError.
POSIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "syslog")
for module in POSIX_MODULES:
    sys.modules[module] = None

for name in ("SIGHUP", "SIGPROF", "SIGALRM", "setitimer", "alarm", "ITIMER_PROF", "pthread_kill", "sigwait"):
    delattr(signal, name)
for name in (
    "fork",
    "sched_getaffinity",
    "getuid",
    "geteuid",
    "killpg",
    "setsid",
    "mkfifo",
    "chown",
    "statvfs",
):
    delattr(os, name)

# Windows can't delete a folder through an open descriptor of it.
shutil._use_fd_functions = False  # type: ignore[attr-defined]


def refuse_open_files(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function that deletes or renames raise PermissionError for a file that this process has open."""

    def checked(*paths: Any, **options: Any) -> None:
        open_files = set()
        for number in os.listdir("/proc/self/fd"):
            try:
                open_files.add(os.readlink(f"/proc/self/fd/{number}"))
            except FileNotFoundError:
                continue  # the folder that was just listed
        for path in paths:
            if os.path.realpath(path) in open_files:
                raise PermissionError(13, "The process cannot access the file because it is being used", path)
        function(*paths, **options)

    return checked


for name in ("unlink", "remove", "replace", "rename"):
    setattr(os, name, refuse_open_files(getattr(os, name)))


class WindowsLibrary(ctypes.CDLL):
    """A library by its name. Windows has none without a name."""

    def __init__(self, name: str | None, *arguments: Any, **options: Any):
        if name is None:
            raise TypeError("argument of type 'NoneType' is not iterable")
        super().__init__(name, *arguments, **options)


ctypes.CDLL = WindowsLibrary  # type: ignore[misc]
