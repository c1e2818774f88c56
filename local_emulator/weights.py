"""The models' weights, made sure of before anything starts: run as a module, so that torch ends with it."""

import subprocess
import sys
from pathlib import Path

from local_emulator.errors import EmulatorError
from local_emulator.processes import inherited_environment
from local_emulator.state import ROOT

VARIABLE = "DEFACER_WEIGHTS_DIR"


def fetch_weights() -> None:
    """Return when the weights are on disk; says so if that takes a download. Raises EmulatorError if it fails."""
    environment = inherited_environment()
    command = [sys.executable, "-m", "local_emulator.weights", environment.get(VARIABLE, "")]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise EmulatorError(done.stderr.strip() or f"Fetching the weights ended with {done.returncode}.")


def main(folder: str) -> int:
    """Fetch them into this folder, or the default one; gives the exit code."""
    from functions.engine import weights
    from functions.engine.errors import WeightsError

    try:
        weights.fetch_all(Path(folder) if folder else None, lambda line: print(line, flush=True))
    except WeightsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
