"""Download the models' weights before the emulator starts."""

from collections.abc import Callable

from defacer.engine.errors import WeightsError
from defacer.engine.models import weights
from defacer_emulator.errors import EmulatorError


def fetch_weights(print_line: Callable[[str], None]) -> None:
    """Download missing weights, with a line to `print_line` before each download. Raise EmulatorError on failure."""
    try:
        weights.fetch_all(progress=print_line)
    except WeightsError as error:
        raise EmulatorError(str(error)) from error
