"""The name under which the user can run `defacer`, for hints that can be pasted into the terminal."""

import shlex
import shutil
import sys
from functools import cache
from pathlib import Path


@cache
def program() -> str:
    """Return `defacer` if the shell finds this installation under that name, else the path of its script."""
    script = Path(sys.executable).with_name("defacer")
    found = shutil.which("defacer")
    if not script.is_file() or (found is not None and Path(found).resolve() == script.resolve()):
        return "defacer"
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))
