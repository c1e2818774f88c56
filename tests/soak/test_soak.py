"""The short form of the soak: a dozen jobs under faults of all kinds."""

from pathlib import Path

import pytest

from defacer_emulator.chaos.plan import RATES, Plan
from tests.soak import judging
from tests.soak.clips import make_kinds
from tests.soak.soak import Soak, run
from tests.soak.table import format_table

pytestmark = pytest.mark.slow

JOBS, SEED, MINUTES = 12, 11, 2.0
# So that a dozen jobs get most kinds of faults.
RATE_FACTOR = 1.2


def test_dozen_jobs_under_all_faults_end_once_and_leak_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(seed=SEED, rates={fault: rate * RATE_FACTOR for fault, rate in RATES.items()})

    outcome = run(Soak(plan, JOBS, MINUTES, tmp_path))

    with capsys.disabled():
        print(f"\n{format_table(outcome)}")
    assert len(outcome.jobs) == JOBS
    assert (outcome.lost, outcome.duplicated, outcome.leaked) == ([], [], [])
    assert outcome.is_good
    assert outcome.failed_though_healthy == []
    faults = set(outcome.journal.faults)
    assert {fault.partition("-")[0] for fault in faults} >= {"storage", "push", "publish", "kill"}
    assert len(faults) >= len(RATES) * 2 // 3


def test_unredacted_video_counts_every_face_as_leaked(tmp_path: Path) -> None:
    """The soak proves "no leak" only if its measure detects one."""
    kinds = {kind.name: kind for kind in make_kinds(tmp_path)}
    for name, faces in (("everyone", 48), ("target", 24), ("walk", 36), ("one", 12)):
        assert judging.count_leaked_faces(kinds[name], kinds[name].video.read_bytes()) == faces
