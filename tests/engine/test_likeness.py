"""Match thresholds by name, and how many strangers look as alike as a distance says."""

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest

from defacer.engine.errors import EngineError
from defacer.engine.models.recognizer import VERSIONS
from defacer.engine.options import Options
from defacer.engine.recognition.recognition_levels import (
    LEVELS,
    MEASURED,
    calibration_of,
    match_threshold_of,
    strangers_at,
)
from defacer.pipeline.documents.manifest import MAX_MATCH_THRESHOLDS, Policy
from defacer.plurals import resemblance
from tests.servers import ROOT

WITH_FIGURES = [name for name, found in MEASURED.items() if found.strangers]


def allowed(field: str) -> tuple[str, ...]:
    """The values that the policy allows for a field."""
    annotation = Policy.model_fields[field].annotation
    literals = (annotation, *get_args(annotation))
    return next(values for values in map(get_args, literals) if values and isinstance(values[0], str))


def test_policy_and_engine_have_the_same_recognizers_levels_and_limits() -> None:
    assert set(MEASURED) == set(VERSIONS) == set(allowed("recognizer"))
    assert all(tuple(found.levels) == LEVELS == allowed("recognition") for found in MEASURED.values())
    assert {name: found.max_match_threshold for name, found in MEASURED.items()} == MAX_MATCH_THRESHOLDS


def test_the_level_chooses_the_threshold_unless_a_distance_is_given() -> None:
    assert match_threshold_of(Options()) == match_threshold_of(Options(recognition="balanced")) == 0.97
    strict, lenient = (match_threshold_of(Options(recognition=level)) for level in ("strict", "lenient"))
    assert strict < 0.97 < lenient
    assert match_threshold_of(Options(recognition=None, match_threshold=0.5)) == 0.5


@pytest.mark.parametrize("recognizer", MEASURED)
def test_no_level_keeps_more_strangers_than_the_largest_distance(recognizer: str) -> None:
    found = MEASURED[recognizer]
    matches = [found.levels[level].match for level in LEVELS]
    assert matches == sorted(matches)
    assert matches[-1] <= found.max_match_threshold


@pytest.mark.parametrize("recognizer", WITH_FIGURES)
def test_at_the_largest_distance_at_most_1_in_1000_strangers_is_kept(recognizer: str) -> None:
    strangers = strangers_at(recognizer, MEASURED[recognizer].max_match_threshold)
    assert strangers is not None
    assert 0 < strangers <= 10


@pytest.mark.parametrize("recognizer", WITH_FIGURES)
def test_strangers_grow_with_distance_in_two_digits(recognizer: str) -> None:
    found = [strangers_at(VERSIONS[recognizer], distance) for distance in np.arange(0, 2, 0.005)]
    numbers = [number for number in found if number is not None]
    assert len(numbers) == len(found)
    assert all(one <= other for one, other in pairwise(numbers))
    assert (numbers[0], numbers[-1]) == (0, 10_000)
    assert all(number == float(f"{number:.2g}") for number in numbers)


def test_strangers_are_unknown_without_a_distance_or_a_measurement() -> None:
    assert strangers_at("sface", None) is None
    assert strangers_at(None, 0.5) is None
    assert strangers_at("facenet-vggface2", 0.5) is None


def test_an_unknown_recognizer_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        EngineError, match="the recognizer is 'casia-webface', allowed are sface, facenet-casia"
    ):
        calibration_of("casia-webface/20180408-102900/1")


@pytest.mark.parametrize(
    ("distance", "strangers", "words"),
    [
        (None, None, ""),
        (0.5, None, "distance 0.50"),
        (0.5, 0, "distance 0.50: fewer than 1 in 10,000 strangers looks this similar"),
        (0.9712, 1, "distance 0.97: about 1 in 10,000 strangers looks this similar"),
        (1.3, 3400, "distance 1.30: about 3,400 in 10,000 strangers look this similar"),
    ],
)
def test_a_resemblance_in_words(distance: float | None, strangers: int | None, words: str) -> None:
    assert resemblance(distance, strangers) == words


def test_the_documented_figures_of_each_level_are_the_measured_ones() -> None:
    page = (ROOT / "functions/defacer/ingest/POLICY.md").read_text()
    for level, found in MEASURED["sface"].levels.items():
        strangers = strangers_at("sface", found.match) or "fewer than 1"
        assert f"| `{level}` | {found.match} | {strangers} in 10,000 | {found.kept} % |" in page
    for name, measured in MEASURED.items():
        assert f"{measured.max_match_threshold} for `{name}`" in page
