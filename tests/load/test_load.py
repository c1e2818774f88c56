"""A short form of the load test: more segments than are listed at once, and more jobs than workers."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.load.__main__ import COLUMNS, line
from tests.load.judging import broken
from tests.load.running import Load, emulator, load

pytestmark = pytest.mark.slow

SMALL = Load(
    jobs=1, segments=20, seconds=9, published=1, failed=0, dead_letters=0, wrong=0, lost=0, listings=42, merge_ms=3,
    memory=120, worker_memory=100, waited=5, deliveries=40, again=0,
)  # fmt: skip
MIDDLE = replace(SMALL, segments=60, listings=124)
LARGE = replace(SMALL, segments=120, listings=247, memory=140)
AT_ONCE = replace(SMALL, jobs=12, segments=2, listings=5, published=12)


def test_under_load_nothing_is_lost_given_up_or_incomplete_and_nothing_grows_that_must_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with emulator(tmp_path) as running:
        grown = [
            load(running, tmp_path, jobs=1, segments=segments, most_seconds=300) for segments in (20, 60, 120)
        ]
        at_once = load(running, tmp_path, jobs=12, segments=2, most_seconds=300)
    with capsys.disabled():
        print("", " | ".join(COLUMNS), *map(line, (*grown, at_once)), sep="\n")
    assert broken(grown, at_once) == []


def test_what_was_measured_once_is_as_it_must_be() -> None:
    assert broken([SMALL, MIDDLE, LARGE], AT_ONCE) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"published": 0}, "0 published"),
        ({"failed": 1}, "1 failed"),
        ({"dead_letters": 1}, "1 messages were given up"),
        ({"wrong": 1}, "1 results are not complete"),
        ({"lost": 1}, "1 messages reached no worker"),
        (
            {"listings": 320},
            "grow faster than in proportion",
        ),  # a listing of all for every second segment more
        ({"listings": 1200}, "1200 list calls a job"),
        ({"merge_ms": 6.1}, "merging takes 6.1 ms a segment"),
        ({"merge_ms": float("nan")}, "merging takes nan ms a segment"),
        ({"memory": 181}, "merge held 181 MB"),
        ({"worker_memory": 151}, "a worker held 151 MB"),
    ],
)
def test_what_must_not_be_is_said(change: dict[str, float], sentence: str) -> None:
    assert any(sentence in said for said in broken([SMALL, MIDDLE, replace(LARGE, **change)], AT_ONCE))
