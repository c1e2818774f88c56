"""A full disk makes Pub/Sub redeliver a redact task. Other steps write no files, so they are not affected."""

from collections.abc import Iterator

import pytest

from defacer_emulator.chaos.plan import Plan, journal_lines
from defacer_emulator.chaos.subjects import job_name_of
from defacer_emulator.emulator import Emulator, EmulatorOptions
from tests.servers import wait_until
from tests.soak.clips import make_kinds
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
    with Emulator(EmulatorOptions(folder, "builtin", variables=variables, chaos=plan)) as running:
        yield running


def test_job_with_a_full_disk_in_every_step_is_published(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    everyone = next(s for s in make_kinds(tmp_path_factory.mktemp("clips")) if s.name == "everyone")
    jobs = Jobs(emulator)
    jobs.prepare(everyone)
    job = jobs.upload(everyone, NAME)

    wait_until(lambda: job in jobs.poll(), "the job ended", SECONDS)

    assert (job.failed, job.leaked, job.changed) == (None, 0, None)
    lines = journal_lines(emulator.folder.log("chaos").read_text())
    faults = [line["at"] for line in lines if line.get("fault") == "full-disk"]
    redelivered = [line["at"] for line in lines if line["event"] == "retry"]
    assert {f"ingest/{SUBJECT}/upload#1", HIDE} <= set(faults)
    assert {"detect-00000#1", "detect-00001#1"} == {
        at.rpartition("/")[2] for at in faults if at.startswith("worker/")
    } - {"redact-00001#1"}
    assert {at.rpartition("/")[2].partition("-")[0] for at in faults if at.startswith("merge/")} == {
        "detect",
        "redact",
    }
    # A merge is redelivered, too, if another delivery has the lease.
    assert [at for at in redelivered if not at.startswith("merge/")] == [HIDE]
