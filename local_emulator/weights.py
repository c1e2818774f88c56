"""The models' weights, made sure of before anything starts."""

import os
from pathlib import Path

from functions.engine import weights
from functions.engine.errors import WeightsError
from local_emulator.errors import EmulatorError

VARIABLE = "DEFACER_WEIGHTS_DIR"


def fetch_weights() -> None:
    """Return when the weights are on disk; says so if that takes a download. Raises EmulatorError if it fails."""
    folder = os.environ.get(VARIABLE)
    try:
        weights.fetch_all(Path(folder) if folder else None, lambda line: print(f"{line} ...", flush=True))
    except WeightsError as error:
        raise EmulatorError(str(error)) from error
