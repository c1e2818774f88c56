"""List the modules that an import loads."""

import os
import subprocess
import sys

from tests.servers import ROOT


def modules_after_importing(name: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after importing `name`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DEFACER_")}
    code = f"import sys, {name}; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.split())
