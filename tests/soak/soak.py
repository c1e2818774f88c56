"""Many short jobs at once on an emulator that does harm, and what came of them."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from defacer_emulator.chaos.plan import Plan
from defacer_emulator.emulator import Emulator, Options
from defacer_emulator.jobs import StorageError
from defacer_emulator.resources import LOCAL_RETRIES
from defacer_emulator.setup.weights import fetch_weights
from tests.soak.clips import Sort, make_sorts, sorts_of
from tests.soak.jobs import Job, Jobs
from tests.soak.journal import Told, read_journal

# Each clip has several segments, and what a killed process held is free again soon.
VARIABLES = (
    ("DEFACER_SEGMENT_SECONDS", "1"),
    ("DEFACER_LEASE_SECONDS", "6"),
    ("DEFACER_RETRY_SECONDS", "10"),
    ("DEFACER_DEADLINE_SECONDS", "60"),
)
WORKERS = 2
UNDER_WAY = 10
LOOK_AGAIN_SECONDS = 0.3
# A job that has not ended after this time is lost: with every message at its last delivery it takes less.
LOST_SECONDS = 240.0
# How long nothing may have happened before it counts that nothing more will: longer than Pub/Sub's longest back-off.
QUIET_SECONDS, LONGEST_SETTLING_SECONDS = LOCAL_RETRIES.maximum_seconds + 3.0, 60.0
PROGRESS_EVERY = 10


@dataclass(frozen=True)
class Soak:
    """What to do. No new job is dropped after `minutes`; those under way are seen to their end."""

    plan: Plan
    jobs: int
    minutes: float
    folder: Path


@dataclass
class Outcome:
    """What is known so far."""

    jobs: list[Job] = field(default_factory=list)
    told: Told = field(default_factory=Told)
    lost: list[Job] = field(default_factory=list)
    duplicated: list[Job] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0
    wanted: int = 0
    interrupted: bool = False

    @property
    def leaked(self) -> list[Job]:
        """Those with a face to be seen that must be hidden, and those published that must fail."""
        return [job for job in self.jobs if job.leaked or (job.sort.fails and job.ended and not job.failed)]

    @property
    def changed(self) -> list[Job]:
        return [job for job in self.jobs if job.changed]

    @property
    def failed(self) -> list[Job]:
        return [job for job in self.jobs if job.failed]

    @property
    def failed_though_healthy(self) -> list[Job]:
        return [job for job in self.failed if job.failed and job.failed.code != job.sort.fails]

    @property
    def published(self) -> list[Job]:
        return [job for job in self.jobs if job.ended and not job.failed]

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicated or self.leaked or self.changed or self.left_behind)

    @property
    def left_behind(self) -> list[str]:
        """What is left of jobs that have ended, without claims.

        A doubled delivery that takes a claim after the end, and is killed at once, leaves it: nobody repeats that
        delivery, and nobody needs the claim. On Google Cloud a lifecycle rule takes it (pipeline/README.md).
        """
        return [name for name in self.left if "/leases/" not in name]


def run(soak: Soak) -> Outcome:
    """Do the soak. Ctrl-C ends it with what is known by then."""
    fetch_weights(print)
    clips = soak.folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    sorts = make_sorts(clips)
    outcome = Outcome(wanted=soak.jobs)
    options = Options(soak.folder / "state", "builtin", workers=WORKERS, variables=VARIABLES, chaos=soak.plan)
    with Emulator(options) as emulator:
        jobs = Jobs(emulator)
        outcome.jobs = jobs.all
        log = emulator.folder.log("chaos")
        started = time.monotonic()
        try:
            for sort in sorts:
                jobs.prepare(sort)
            _see_through(soak, emulator, jobs, sorts, outcome)
            _settle(log, emulator)
        except KeyboardInterrupt:
            outcome.interrupted = True
        outcome.seconds = time.monotonic() - started
        outcome.told = read_journal(log.read_text())
        outcome.duplicated = jobs.duplicated(outcome.told.writes)
        if not outcome.interrupted:
            outcome.left = jobs.left()
    return outcome


def _see_through(soak: Soak, emulator: Emulator, jobs: Jobs, sorts: Sequence[Sort], outcome: Outcome) -> None:
    """Drop the jobs, some at a time, and return when each has ended or is lost."""
    wanted = list(enumerate(sorts_of(tuple(sorts), soak.jobs)))
    last_drop = time.monotonic() + soak.minutes * 60
    ended = 0
    while wanted or len(jobs.under_way()) > len(outcome.lost):
        if time.monotonic() > last_drop:
            wanted.clear()
        while wanted and len(jobs.under_way()) - len(outcome.lost) < UNDER_WAY:
            number, sort = wanted.pop(0)
            jobs.drop(sort, f"{number:04d}.mp4")
        with suppress(StorageError):  # too busy to answer: look again
            for _ in jobs.look():
                ended += 1
                if ended % PROGRESS_EVERY == 0:
                    _progress(ended, soak, jobs, emulator)
        outcome.lost = [job for job in jobs.under_way() if job.seconds > LOST_SECONDS]
        emulator.check()
        time.sleep(LOOK_AGAIN_SECONDS)


def _progress(ended: int, soak: Soak, jobs: Jobs, emulator: Emulator) -> None:
    told = read_journal(emulator.folder.log("chaos").read_text())
    since = time.monotonic() - jobs.all[0].dropped
    print(
        f"  {ended} of {soak.jobs} jobs ended, {len(jobs.under_way())} under way, "
        f"{told.faults.total()} faults, {told.retries} retries, {since:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def _settle(log: Path, emulator: Emulator) -> None:
    """Wait until what comes late has come: deliveries once more, clean-ups that were interrupted."""
    logs = [emulator.folder.log(name) for name in ("ingest", "worker", "merge", "dead_letter")]
    give_up = time.monotonic() + LONGEST_SETTLING_SECONDS
    sizes: list[int] = []
    since = time.monotonic()
    while time.monotonic() < min(give_up, since + QUIET_SECONDS):
        now = [file.stat().st_size for file in (*logs, log)]
        if now != sizes:
            sizes, since = now, time.monotonic()
        time.sleep(LOOK_AGAIN_SECONDS)
