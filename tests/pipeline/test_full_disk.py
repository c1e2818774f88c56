"""A full disk brings the segment that is being hidden back, and stops nobody else: no other step writes to a disk."""

from collections.abc import Iterator

import pytest

from defacer_emulator.chaos.plan import Plan, journal_lines
from defacer_emulator.chaos.subjects import job_name_of
from defacer_emulator.emulator import Emulator, Options
from tests.servers import wait_until
from tests.soak.clips import make_sorts
from tests.soak.jobs import Jobs

NAME = "full.mp4"
SUBJECT = job_name_of("soak-everyone", NAME)
HIDE = f"worker/{SUBJECT}/redact-00001#1"
ALWAYS = ("ingest/*", "worker/*/detect-*", "merge/*")
SECONDS = 300


@pytest.fixture
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    plan = Plan(seed=1, always={"full-disk": ALWAYS}, replayed=frozenset({("full-disk", HIDE)}))
    variables = (("DEFACER_SEGMENT_SECONDS", "1"),)
    folder = tmp_path_factory.mktemp("full-disk")
    with Emulator(Options(folder, "builtin", variables=variables, chaos=plan)) as running:
        yield running


def test_a_job_whose_every_step_meets_a_full_disk_is_published(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    everyone = next(s for s in make_sorts(tmp_path_factory.mktemp("clips")) if s.name == "everyone")
    jobs = Jobs(emulator)
    jobs.prepare(everyone)
    job = jobs.drop(everyone, NAME)

    wait_until(lambda: job in jobs.look(), "the job ended", SECONDS)

    assert (job.failed, job.leaked, job.changed) == (None, 0, None)
    lines = journal_lines(emulator.folder.log("chaos").read_text())
    struck = [line["at"] for line in lines if line.get("fault") == "full-disk"]
    came_back = [line["at"] for line in lines if line["event"] == "retry"]
    assert {f"ingest/{SUBJECT}/upload#1", HIDE} <= set(struck)
    assert {"detect-00000#1", "detect-00001#1"} == {
        at.rpartition("/")[2] for at in struck if at.startswith("worker/")
    } - {"redact-00001#1"}
    assert {at.rpartition("/")[2].partition("-")[0] for at in struck if at.startswith("merge/")} == {
        "detect",
        "redact",
    }
    # A merge that finds another one at it comes back, too.
    assert [at for at in came_back if not at.startswith("merge/")] == [HIDE]
