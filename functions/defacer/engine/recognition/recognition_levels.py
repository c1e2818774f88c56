"""The measured meaning of distances: match thresholds by name, and how many strangers look as alike as a distance.

The options take the match threshold of `strict`, `balanced` or `lenient` from here, for each recognizer. The face
report takes from here how many strangers would look like the target.

All figures are of tracks, judged by their distance alone. The rules of identity.py come on top. The README
describes the measurement.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from defacer.engine.errors import EngineError
from defacer.engine.options import Options


@dataclass(frozen=True)
class Level:
    """A match threshold. `kept` percent of the tracks of targets are at most this far from their target picture."""

    match: float
    kept: int | None


@dataclass(frozen=True)
class Measured:
    """The measured distances of a recognizer.

    `levels` are the values of the policy's field `recognition`. At `max_match_threshold` at most 1 stranger in 1,000 is
    kept. `strangers` maps distances, ascending, to the strangers in 10,000 with a track at least this near. It is
    empty where that was not measured.
    """

    levels: Mapping[str, Level]
    max_match_threshold: float
    strangers: Mapping[float, float]


MEASURED = {
    "sface": Measured(
        levels={"strict": Level(0.85, 89), "balanced": Level(0.97, 97), "lenient": Level(1.02, 98)},
        max_match_threshold=1.05,
        strangers={
            0.9: 0.1, 0.95: 0.7, 0.97: 1, 1.0: 3, 1.02: 4, 1.05: 8.3, 1.08: 11, 1.1: 21, 1.15: 90, 1.2: 360, 1.25: 1300,
            1.3: 3400, 1.35: 6300, 1.4: 8600, 1.5: 10_000,
        },
    ),
    "facenet-casia": Measured(
        levels={"strict": Level(0.62, 24), "balanced": Level(0.72, 50), "lenient": Level(0.75, 58)},
        max_match_threshold=0.75,
        strangers={
            0.6: 0.2, 0.62: 0.33, 0.65: 1, 0.7: 5, 0.72: 6, 0.75: 9.6, 0.8: 19, 0.85: 47, 0.9: 110, 0.95: 210, 1.0: 340,
            1.1: 780, 1.2: 1600, 1.3: 4200, 1.4: 7400, 1.5: 10_000,
        },
    ),
    # Not measured: `balanced` is what the 2019 project used with these weights.
    "facenet-vggface2": Measured(
        levels={"strict": Level(0.7, None), "balanced": Level(0.8, None), "lenient": Level(0.8, None)},
        max_match_threshold=0.8,
        strangers={},
    ),
}  # fmt: skip
LEVELS = tuple(MEASURED["sface"].levels)


def match_threshold_of(options: Options) -> float:
    """Return the largest distance that matches a target. Raise EngineError for an unknown recognizer."""
    if options.match_threshold is not None:
        return options.match_threshold
    return calibration_of(options.recognizer).levels[options.recognition or "balanced"].match


def calibration_of(recognizer: str) -> Measured:
    """Return the measurements of a recognizer, by its name or its version. Raise EngineError for an unknown one."""
    name = recognizer.partition("/")[0]
    if name not in MEASURED:
        raise EngineError(
            f"the recognizer is {name!r}, allowed are {', '.join(MEASURED)}. Process the video again with one of them."
        )
    return MEASURED[name]


def strangers_at(recognizer: str | None, distance: float | None) -> int | None:
    """Return how many strangers in 10,000 have a track at least this near to a target, with two digits at most.

    0 means fewer than 1. Return None without a distance, and for a recognizer that was not measured.
    """
    known = calibration_of(recognizer).strangers if recognizer is not None else {}
    if not known or distance is None:
        return None
    # Between two distances that were measured the logarithm of the number is about straight.
    logarithms = np.log(list(known.values()))
    number = float(np.exp(np.interp(distance, list(known), logarithms)))
    return int(float(f"{number:.2g}"))
