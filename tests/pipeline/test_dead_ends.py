"""Jobs that can't succeed fail within the retry budget, with a clear message, and do not stop other jobs.

The test has two poison jobs. A segment of the first kills each worker at its end; the worker counts its attempts in the
lease. The second kills each planner; Pub/Sub counts its deliveries and dead-letters the message, twice.
`python -m tests.pipeline.beside` measures how poison slows down other jobs.
"""

from collections.abc import Iterator

import pytest

from defacer_emulator.chaos.plan import journal_lines
from defacer_emulator.emulator import Emulator, EmulatorOptions
from tests.pipeline.beside import CHANNEL, VARIABLES, Measurement, format_seconds, plan_kills
from tests.soak.clips import JobKind, make_kinds
from tests.soak.journal import read_journal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("dead-ends")
    options = EmulatorOptions(folder, "builtin", workers=2, variables=VARIABLES, chaos=plan_kills(1))
    with Emulator(options) as running:
        yield running


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> JobKind:
    return next(s for s in make_kinds(tmp_path_factory.mktemp("clips")) if s.channel == CHANNEL)


def test_poison_fails_its_own_job_and_stops_no_other(
    emulator: Emulator, everyone: JobKind, capsys: pytest.CaptureFixture[str]
) -> None:
    measurement = Measurement(emulator, everyone)
    measurement.measure_alone(8)
    segment, upload = measurement.measure_beside_poison(0)

    log = emulator.folder.log("chaos").read_text()
    journal = read_journal(log)
    poison = {segment.id, upload.id}
    redelivered = [
        at["at"]
        for at in journal_lines(log)
        if at["event"] == "retry" and at["job"] not in poison and not at["at"].startswith("merge/")
    ]
    with capsys.disabled():
        for kind in ("alone", "beside poison"):
            print(f"\n  healthy jobs {kind}: {format_seconds(measurement.seconds[kind])}", end="")
        print(f"\n  the poison jobs took {segment.seconds:.0f} s and {upload.seconds:.0f} s")
        print(f"  messages of healthy jobs that ingest or a worker did not acknowledge: {len(redelivered)}")
    assert segment.failed is not None
    assert segment.failed.code == "poison-segment"
    assert "5 attempts did not finish segment 2 of 2" in segment.failed.message
    assert upload.failed is not None
    assert upload.failed.code == "exhausted"
    assert "ingest did not finish in 20 attempts" in upload.failed.message
    assert journal.faults["kill-at-write"] == 5 + 20
    # Healthy jobs were published during that time. None waited for the end of the poison jobs.
    assert len(measurement.seconds["beside poison"]) >= 3
    assert measurement.jobs.duplicated(journal.writes) == []
    assert measurement.jobs.list_leftovers() == []
