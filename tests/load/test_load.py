"""A short form of the load test: more segments than are listed at once, and more jobs than workers."""

from pathlib import Path

from tests.load.__main__ import is_good
from tests.load.running import emulator, load


def test_under_load_nothing_is_lost_and_nobody_is_given_up(tmp_path: Path) -> None:
    with emulator(tmp_path) as running:
        few = load(running, tmp_path, jobs=1, segments=20, most_seconds=300)
        many = load(running, tmp_path, jobs=1, segments=120, most_seconds=300)
        at_once = load(running, tmp_path, jobs=12, segments=2, most_seconds=300)
    assert all(map(is_good, (few, many, at_once))), (few, many, at_once)
    # A list call for each segment and step, and some more for each hundred: it grows with the segments, not faster.
    assert many.listings / many.segments < 1.2 * few.listings / few.segments
