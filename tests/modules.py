"""List the modules that an import loads."""

import os
import subprocess
import sys
from functools import cache

from tests.servers import ROOT

# The worker is last: only it loads PyTorch.
FUNCTIONS = ("ingest", "merge", "dead_letter", "webhook", "worker")
# The product's modules are unloaded after each import. Its dependencies stay, because they take most of the time.
PROGRAM = """
import importlib, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
    print(*sys.modules)
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "defacer"]:
        del sys.modules[loaded]
"""


def modules_after_importing(*names: str) -> list[set[str]]:
    """Return the modules that a fresh interpreter has loaded after importing each of these, one after the other."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DEFACER_")}
    command = [sys.executable, "-c", PROGRAM, *names]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


@cache
def modules_of_functions() -> dict[str, set[str]]:
    """Return the modules that the entry point of each function loads."""
    loaded = modules_after_importing(*(f"defacer.{function}.main" for function in FUNCTIONS))
    return dict(zip(FUNCTIONS, loaded, strict=True))
