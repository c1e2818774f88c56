"""What poison costs the jobs beside it, and why: `python -m tests.pipeline.beside [--rounds 3]`, four minutes a round.

Healthy jobs one after the other, each timed: alone; beside two poisons (test_dead_ends.py), for as long as these last;
and with no poison, but with the same functions' processes killed at the same moments. What poison costs beyond the last
is what one job's end costs another; the rest is what the restart of a process costs on this machine. The order changes
from round to round.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil

from defacer_emulator.chaos import process_faults
from defacer_emulator.chaos.plan import Plan, journal_lines
from defacer_emulator.chaos.subjects import job_name_of
from defacer_emulator.emulator import Emulator, Options
from tests.servers import wait_until
from tests.soak.clips import Sort, make_sorts
from tests.soak.jobs import Job, Jobs

VARIABLES = (("DEFACER_SEGMENT_SECONDS", "1"), ("DEFACER_LEASE_SECONDS", "3"))
SECONDS = 600  # for any job to end
ALONE = 15
KINDS = ("alone", "beside restarts", "beside poison")
CHANNEL = "soak-everyone"


def poisons(number: int) -> tuple[str, str]:
    """The names of two videos: one of which a segment kills each worker, and one that kills each planner."""
    return f"kills-workers-{number}.mp4", f"kills-planners-{number}.mp4"


def plan(rounds: int) -> Plan:
    """That these kill, and nothing else happens."""
    kills = []
    for segment, upload in map(poisons, range(rounds)):
        kills.append(f"storage/write/{job_name_of(CHANNEL, segment)}/segment-detections/00001.npz")
        kills.append(f"storage/write/{job_name_of(CHANNEL, upload)}/manifest.json")
    return Plan(seed=1, rates={}, always={"kill-at-write": tuple(kills)})


def wait_for(jobs: Jobs, job: Job) -> Job:
    """The job when it has ended; the others are looked at meanwhile."""
    wait_until(lambda: job in jobs.look() or job.ended is not None, f"{job.source} ended", SECONDS)
    return job


class Measuring:
    """`seconds` are those of all healthy jobs, by what was beside them."""

    def __init__(self, running: Emulator, sort: Sort):
        self._running = running
        self._sort = sort
        self.jobs = Jobs(running)
        self.jobs.prepare(sort)
        self._number = 0
        self._kills: list[tuple[float, str]] = []  # seconds from the beginning, and whose process
        self.seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(2):  # the first ones wait for the models
            self._one()

    def alone(self, count: int = ALONE) -> None:
        self.seconds["alone"] += [self._one() for _ in range(count)]

    def beside_poison(self, number: int) -> list[Job]:
        """Gives the poisons when they have ended."""
        began = time.time()
        dropped = [self.jobs.drop(self._sort, name) for name in poisons(number)]
        while any(job.ended is None for job in dropped):
            self.seconds["beside poison"].append(self._one())
        self._kills = list(self._killed_since(began))
        return dropped

    def beside_restarts(self) -> None:
        """As many, and at the same moments, as poison killed last."""
        killing = threading.Thread(target=self._kill)
        killing.start()
        while killing.is_alive():
            self.seconds["beside restarts"].append(self._one())

    def _one(self) -> float:
        self._number += 1
        job = wait_for(self.jobs, self.jobs.drop(self._sort, f"healthy-{self._number}.mp4"))
        assert (job.failed, job.leaked, job.changed) == (None, 0, None)
        return job.seconds

    def _killed_since(self, began: float) -> Iterator[tuple[float, str]]:
        for line in journal_lines(self._running.folder.log("chaos").read_text()):
            at = datetime.fromisoformat(line["time"]).timestamp() - began
            if line["event"] == "fault" and at > 0:
                yield at, "worker" if "segment-detections" in line["at"] else "ingest"

    def _kill(self) -> None:
        began = time.monotonic()
        for at, function in self._kills:
            time.sleep(max(0.0, began + at - time.monotonic()))
            leader = next(
                process.pid for process in self._running.state.processes if process.name == function
            )
            children = psutil.Process(leader).children()
            if children:
                process_faults.kill(children[0].pid)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.pipeline.beside", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="defacer-beside-") as folder:
        everyone = next(sort for sort in make_sorts(Path(folder)) if sort.channel == CHANNEL)
        options = Options(
            Path(folder) / "state", "builtin", workers=2, variables=VARIABLES, chaos=plan(rounds)
        )
        with Emulator(options) as running:
            measuring = Measuring(running, everyone)
            for number in range(rounds):
                before = number % 2 == 0
                if before:
                    measuring.alone()
                measuring.beside_poison(number)
                measuring.beside_restarts()
                if not before:
                    measuring.alone()
                for kind in KINDS:
                    print(f"after round {number + 1}, {kind}: {line(measuring.seconds[kind])}", flush=True)
    return 0


def line(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    return f"{statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s (longest) of {len(seconds)}"


if __name__ == "__main__":
    raise SystemExit(main())
