"""The short form of the load test: more segments than one listing returns, and more jobs than workers."""

from pathlib import Path

import pytest

from tests.load.__main__ import COLUMNS, format_row
from tests.load.judging import find_violations
from tests.load.running import run_emulator, run_jobs

pytestmark = pytest.mark.slow


def test_load_loses_no_message_and_grows_in_proportion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_emulator(tmp_path) as running:
        single = [
            run_jobs(running, tmp_path, jobs=1, segments=segments, max_seconds=300)
            for segments in (20, 60, 120)
        ]
        parallel = run_jobs(running, tmp_path, jobs=12, segments=2, max_seconds=300)
    with capsys.disabled():
        print("", " | ".join(COLUMNS), *map(format_row, (*single, parallel)), sep="\n")
    assert find_violations(single, parallel) == []
