"""The data transfer benchmark still runs. It calls merge's internals, and no other test runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("step", "counted"),
    [(["link", "--hours", "0.02"], "faces"), (["join", "--gigabytes", "0.02", "--rate", "30"], "frames")],
)
def test_step_on_a_small_job_reports_its_counts(step: list[str], counted: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.moving", "--work", str(tmp_path), "--step", *step]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found[counted] >= 600
    assert found["seconds"] > 0
    assert found["megabytes"] > 0
