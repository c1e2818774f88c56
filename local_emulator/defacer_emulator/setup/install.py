"""Run `uv pip install` for the Makefile, and print its progress. Standard library only.

    VIRTUAL_ENV=.venv python3 -m defacer_emulator.setup.install .venv/bin/uv pip install --require-hashes -r
    requirements.lock

The list of installed packages that uv prints is left out.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LISTED_PACKAGE = re.compile(r" [-+~] ")
INTERRUPTED = 130


def main(command: Sequence[str]) -> int:
    """Run the command and return uv's exit code. After an interrupted run, install all packages again."""
    incomplete = Path(os.environ["VIRTUAL_ENV"]) / ".incomplete"
    options = ["--reinstall"] if incomplete.exists() else []
    incomplete.touch()
    started = time.monotonic()
    try:
        with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr or ():
                if not LISTED_PACKAGE.match(line):
                    print(f"    {line.strip()}", flush=True)
    except KeyboardInterrupt:
        print("\nInterrupted. The next run of make installs these packages again.", file=sys.stderr)
        return INTERRUPTED
    if process.returncode == 0:
        incomplete.unlink()
        print(f"    Done in {time.monotonic() - started:.0f} s.", flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
