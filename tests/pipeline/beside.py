"""Measure how poison jobs slow down healthy ones: `python -m tests.pipeline.beside [--rounds 3]`, 4 minutes a round.

Healthy jobs run one after the other: alone, beside two poison jobs (test_dead_ends.py), and beside restarts alone,
where the same functions' processes are killed at the same moments. The difference between the last two is the cost of
poison itself; the rest is the cost of restarts on this machine. The order changes from round to round.
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
from defacer_emulator.emulator import Emulator, EmulatorOptions
from tests.servers import wait_until
from tests.soak.clips import JobKind, make_kinds
from tests.soak.jobs import Job, Jobs

VARIABLES = (("DEFACER_SEGMENT_SECONDS", "1"), ("DEFACER_LEASE_SECONDS", "3"))
SECONDS = 600  # for any job to end
JOBS_ALONE = 15
KINDS = ("alone", "beside restarts", "beside poison")
CHANNEL = "soak-everyone"


def poison_names(number: int) -> tuple[str, str]:
    """Return the names of two videos: a segment of the first kills each worker, the second kills each planner."""
    return f"kills-workers-{number}.mp4", f"kills-planners-{number}.mp4"


def plan_kills(rounds: int) -> Plan:
    """Return a plan with these kills and no other faults."""
    kills = []
    for segment, upload in map(poison_names, range(rounds)):
        kills.append(f"storage/write/{job_name_of(CHANNEL, segment)}/segment-detections/00001.npz")
        kills.append(f"storage/write/{job_name_of(CHANNEL, upload)}/manifest.json")
    return Plan(seed=1, rates={}, always={"kill-at-write": tuple(kills)})


def wait_for(jobs: Jobs, job: Job) -> Job:
    """Return the job when it has ended, and poll the other jobs, too."""
    wait_until(lambda: job in jobs.poll() or job.ended is not None, f"{job.source} ended", SECONDS)
    return job


class Measurement:
    """Measures healthy jobs. `seconds` has their durations by what ran beside them."""

    def __init__(self, running: Emulator, kind: JobKind):
        self._running = running
        self._sort = kind
        self.jobs = Jobs(running)
        self.jobs.prepare(kind)
        self._number = 0
        self._kills: list[tuple[float, str]] = []  # seconds from the start, and the function
        self.seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(2):  # the first ones wait for the models to load
            self._run_job()

    def measure_alone(self, count: int = JOBS_ALONE) -> None:
        self.seconds["alone"] += [self._run_job() for _ in range(count)]

    def measure_beside_poison(self, number: int) -> list[Job]:
        """Measure jobs until the poison jobs have ended, and return those."""
        started = time.time()
        uploaded = [self.jobs.upload(self._sort, name) for name in poison_names(number)]
        while any(job.ended is None for job in uploaded):
            self.seconds["beside poison"].append(self._run_job())
        self._kills = list(self._kills_since(started))
        return uploaded

    def measure_beside_restarts(self) -> None:
        """Measure jobs while processes are killed at the moments of the last poison jobs."""
        killing = threading.Thread(target=self._kill)
        killing.start()
        while killing.is_alive():
            self.seconds["beside restarts"].append(self._run_job())

    def _run_job(self) -> float:
        self._number += 1
        job = wait_for(self.jobs, self.jobs.upload(self._sort, f"healthy-{self._number}.mp4"))
        assert (job.failed, job.leaked, job.changed) == (None, 0, None)
        return job.seconds

    def _kills_since(self, started: float) -> Iterator[tuple[float, str]]:
        for line in journal_lines(self._running.folder.log("chaos").read_text()):
            at = datetime.fromisoformat(line["time"]).timestamp() - started
            if line["event"] == "fault" and at > 0:
                yield at, "worker" if "segment-detections" in line["at"] else "ingest"

    def _kill(self) -> None:
        started = time.monotonic()
        for at, function in self._kills:
            time.sleep(max(0.0, started + at - time.monotonic()))
            leader = next(
                process.pid for process in self._running.state.processes if process.name == function
            )
            children = psutil.Process(leader).children()
            if children:
                process_faults.kill(children[0].pid)


def main() -> int:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.pipeline.beside", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="defacer-beside-") as folder:
        kind = next(found for found in make_kinds(Path(folder)) if found.channel == CHANNEL)
        options = EmulatorOptions(
            Path(folder) / "state", "builtin", workers=2, variables=VARIABLES, chaos=plan_kills(rounds)
        )
        with Emulator(options) as running:
            measurement = Measurement(running, kind)
            for number in range(rounds):
                before = number % 2 == 0
                if before:
                    measurement.measure_alone()
                measurement.measure_beside_poison(number)
                measurement.measure_beside_restarts()
                if not before:
                    measurement.measure_alone()
                for name in KINDS:
                    print(
                        f"after round {number + 1}, {name}: {format_seconds(measurement.seconds[name])}",
                        flush=True,
                    )
    return 0


def format_seconds(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    return f"{statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s (longest) of {len(seconds)}"


if __name__ == "__main__":
    raise SystemExit(main())
