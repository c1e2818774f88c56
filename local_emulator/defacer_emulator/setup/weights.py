"""Download the models' weights before anything starts."""

from collections.abc import Callable

from defacer.engine.errors import WeightsError
from defacer.engine.models import weights
from defacer_emulator.errors import EmulatorError


def fetch_weights(say: Callable[[str], None]) -> None:
    """Return when the weights are on disk; `say` gets a line before each download. Raises EmulatorError."""
    try:
        weights.fetch_all(progress=say)
    except WeightsError as error:
        raise EmulatorError(str(error)) from error
