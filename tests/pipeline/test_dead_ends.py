"""What can't be done ends within the retry budget, with a sentence, and the jobs beside it go on meanwhile.

Two poisons: a segment that kills each worker at its end (the worker counts the attempts in its claim), and a video
that kills each planner (Pub/Sub counts its deliveries, and gives the message to the dead letters, twice).
`python -m tests.pipeline.beside` measures what that costs the others.
"""

from collections.abc import Iterator

import pytest

from defacer_emulator.chaos.plan import journal_lines
from defacer_emulator.emulator import Emulator, Options
from tests.pipeline.beside import CHANNEL, VARIABLES, Measuring, line, plan
from tests.soak.clips import Sort, make_sorts
from tests.soak.journal import read_journal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("dead-ends")
    options = Options(folder, "builtin", workers=2, variables=VARIABLES, chaos=plan(1))
    with Emulator(options) as running:
        yield running


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> Sort:
    return next(s for s in make_sorts(tmp_path_factory.mktemp("clips")) if s.channel == CHANNEL)


def test_poison_fails_its_job_and_stops_no_other(
    emulator: Emulator, everyone: Sort, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring = Measuring(emulator, everyone)
    measuring.alone(8)
    segment, upload = measuring.beside_poison(0)

    log = emulator.folder.log("chaos").read_text()
    told = read_journal(log)
    poison = {segment.id, upload.id}
    came_back = [
        at["at"]
        for at in journal_lines(log)
        if at["event"] == "retry" and at["job"] not in poison and not at["at"].startswith("merge/")
    ]
    with capsys.disabled():
        for kind in ("alone", "beside poison"):
            print(f"\n  healthy jobs {kind}: {line(measuring.seconds[kind])}", end="")
        print(f"\n  the poisons lasted {segment.seconds:.0f} s and {upload.seconds:.0f} s")
        print(f"  messages of healthy jobs that came back from ingest or a worker: {len(came_back)}")
    assert segment.failed is not None
    assert segment.failed.code == "poison-segment"
    assert "5 workers in a row did not finish segment 2 of 2" in segment.failed.message
    assert upload.failed is not None
    assert upload.failed.code == "gave-up"
    assert "ingest did not get done in 20 tries" in upload.failed.message
    assert told.faults["kill-at-write"] == 5 + 20
    # While it lasted, healthy jobs were published one after the other: none had to wait for its end.
    assert len(measuring.seconds["beside poison"]) >= 3
    assert measuring.jobs.duplicated(told.writes) == []
    assert measuring.jobs.left() == []
