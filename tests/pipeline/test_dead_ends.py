"""What can't be done ends within the retry budget, with a sentence, and the jobs beside it take no longer.

Two poisons: a segment that kills each worker at its end (the worker counts the attempts in its claim), and a video
that kills each planner (Pub/Sub counts its deliveries, and gives the message to the dead letters, twice).
"""

import statistics
from collections.abc import Iterator

import pytest

from local_emulator.chaos.plan import Plan
from local_emulator.chaos.things import subject_of
from local_emulator.emulator import Emulator, Options
from tests.servers import wait_until
from tests.soak.clips import Sort, make_sorts
from tests.soak.jobs import Job, Jobs
from tests.soak.journal import read_journal

VARIABLES = (("DEFACER_SEGMENT_SECONDS", "1"), ("DEFACER_LEASE_SECONDS", "3"))
SECONDS = 600
HEALTHY = 12
SEGMENT, UPLOAD = "kills-workers.mp4", "kills-planners.mp4"
KILLS = {
    f"storage/write/{subject_of('soak-everyone', SEGMENT)}/findings/00001.npz",
    f"storage/write/{subject_of('soak-everyone', UPLOAD)}/manifest.json",
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("dead-ends")
    plan = Plan(seed=1, rates={}, always={"kill-at-write": tuple(KILLS)})
    with Emulator(Options(folder, "builtin", workers=2, variables=VARIABLES, chaos=plan)) as running:
        yield running


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> Sort:
    return next(s for s in make_sorts(tmp_path_factory.mktemp("clips")) if s.name == "everyone")


def wait_for(jobs: Jobs, job: Job) -> Job:
    """The job when it has ended; the others are looked at meanwhile."""
    wait_until(lambda: job in jobs.look() or job.ended is not None, f"{job.source} ended", SECONDS)
    return job


def seconds_of(jobs: Jobs, sort: Sort, names: list[str]) -> list[float]:
    """Drop one after the other, each when the one before has ended; how long each took to be published."""
    done = [wait_for(jobs, jobs.drop(sort, name)) for name in names]
    assert [(job.failed, job.leaked, job.changed) for job in done] == [(None, 0, None)] * len(done)
    return [job.seconds for job in done]


def test_poison_fails_its_job_and_slows_no_other(
    emulator: Emulator, everyone: Sort, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = Jobs(emulator)
    jobs.prepare(everyone)
    seconds_of(jobs, everyone, ["warm-up-1.mp4", "warm-up-2.mp4"])
    without = seconds_of(jobs, everyone, [f"before-{number}.mp4" for number in range(HEALTHY)])

    segment, upload = (jobs.drop(everyone, name) for name in (SEGMENT, UPLOAD))
    beside = seconds_of(jobs, everyone, [f"beside-{number}.mp4" for number in range(HEALTHY)])

    outlasted = len(jobs.under_way())
    for poison in (segment, upload):
        wait_for(jobs, poison)
    told = read_journal(emulator.folder.log("chaos").read_text())
    with capsys.disabled():
        print(f"\n  healthy jobs alone: {line(without)}; beside two poisons: {line(beside)}")
        print(f"  {outlasted} poisons outlasted them: {segment.seconds:.0f} s and {upload.seconds:.0f} s")
    assert segment.failed is not None
    assert segment.failed.code == "poison-segment"
    assert "5 workers in a row did not finish segment 2 of 2" in segment.failed.message
    assert upload.failed is not None
    assert upload.failed.code == "gave-up"
    assert "ingest did not get done in 20 tries" in upload.failed.message
    assert told.faults["kill-at-write"] == 5 + 20
    assert jobs.duplicated(told.writes) == []
    assert jobs.left() == []


def line(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s (longest)"
