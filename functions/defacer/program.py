"""The name under which the user can run `defacer`, for hints that can be pasted, and its default folder."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

EMULATOR_FOLDER = Path(".emulator")  # in the current folder, without --dir


@cache
def program() -> str:
    """Return `defacer` if the shell finds this installation under that name, else the path of its script."""
    script = Path(sys.executable).with_name("defacer.exe" if sys.platform == "win32" else "defacer")
    found = shutil.which("defacer")
    if not script.is_file() or (found is not None and Path(found).resolve() == script.resolve()):
        return "defacer"
    here = Path.cwd()
    return quote_words([script.relative_to(here) if script.is_relative_to(here) else script])


def quote_words(words: Iterable[object]) -> str:
    """Return words as a part of a command line that the shell of this system splits into the same words."""
    found = list(map(str, words))
    return subprocess.list2cmdline(found) if sys.platform == "win32" else shlex.join(found)
