"""Run many short jobs at once on an emulator with faults, and collect their outcomes."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from defacer.pipeline.errors import RetryableError
from defacer.pipeline.storage import object_names
from defacer.pipeline.topology import LOCAL_RETRIES
from defacer_emulator.chaos.plan import Plan
from defacer_emulator.emulator import Emulator, EmulatorOptions
from defacer_emulator.setup.weights_download import fetch_weights
from tests.soak.clips import JobKind, make_kinds, mix_kinds
from tests.soak.jobs import Job, Jobs
from tests.soak.journal import JournalCounts, read_journal

# Each clip has several segments, and the lease of a killed process expires soon.
VARIABLES = (
    ("DEFACER_SEGMENT_SECONDS", "1"),
    ("DEFACER_LEASE_SECONDS", "6"),
    ("DEFACER_RETRY_SECONDS", "10"),
    ("DEFACER_DEADLINE_SECONDS", "60"),
)
WORKERS = 2
MAX_RUNNING_JOBS = 10
POLL_SECONDS = 0.3
# A job that has not ended after this time counts as lost. A job whose messages all need every delivery takes less.
LOST_SECONDS = 240.0
# The soak ends when no log has grown for this time, which is longer than the longest pause of the retries.
QUIET_SECONDS, MAX_SETTLING_SECONDS = LOCAL_RETRIES.maximum_seconds + 3.0, 60.0
PROGRESS_EVERY = 10


@dataclass(frozen=True)
class Soak:
    """The settings of a soak. No new job starts after `minutes`; running jobs continue to their end."""

    plan: Plan
    jobs: int
    minutes: float
    folder: Path


@dataclass
class Outcome:
    """The outcome of a soak."""

    jobs: list[Job] = field(default_factory=list)
    journal: JournalCounts = field(default_factory=JournalCounts)
    lost: list[Job] = field(default_factory=list)
    duplicated: list[Job] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0
    requested: int = 0
    interrupted: bool = False

    @property
    def leaked(self) -> list[Job]:
        """Return the jobs with a visible face that must be hidden, and published jobs that had to fail."""
        return [job for job in self.jobs if job.leaked or (job.kind.fails and job.ended and not job.failed)]

    @property
    def changed(self) -> list[Job]:
        return [job for job in self.jobs if job.changed]

    @property
    def failed(self) -> list[Job]:
        return [job for job in self.jobs if job.failed]

    @property
    def failed_though_healthy(self) -> list[Job]:
        return [job for job in self.failed if job.failed and job.failed.code != job.kind.fails]

    @property
    def published(self) -> list[Job]:
        return [job for job in self.jobs if job.ended and not job.failed]

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.duplicated or self.leaked or self.changed or self.left_behind)

    @property
    def left_behind(self) -> list[str]:
        """Return the objects that ended jobs left behind, without leases.

        A duplicate delivery can acquire a lease after the end and be killed at once. It leaves the lease, which has no
        further effect. On Google Cloud a lifecycle rule deletes it (pipeline/README.md).
        """
        return [name for name in self.left if not object_names.is_lease(name)]


def run(soak: Soak) -> Outcome:
    """Run the soak. Ctrl-C ends it with the partial outcome."""
    fetch_weights(print)
    clips = soak.folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    kinds = make_kinds(clips)
    outcome = Outcome(requested=soak.jobs)
    options = EmulatorOptions(
        soak.folder / "state", "builtin", workers=WORKERS, variables=VARIABLES, chaos=soak.plan
    )
    with Emulator(options) as emulator:
        jobs = Jobs(emulator)
        outcome.jobs = jobs.all
        log = emulator.folder.log("chaos")
        started = time.monotonic()
        try:
            for kind in kinds:
                jobs.prepare(kind)
            _run_jobs(soak, emulator, jobs, kinds, outcome)
            _settle(log, emulator)
        except KeyboardInterrupt:
            outcome.interrupted = True
        outcome.seconds = time.monotonic() - started
        outcome.journal = read_journal(log.read_text())
        outcome.duplicated = jobs.duplicated(outcome.journal.writes)
        if not outcome.interrupted:
            outcome.left = jobs.list_leftovers()
    return outcome


def _run_jobs(soak: Soak, emulator: Emulator, jobs: Jobs, kinds: Sequence[JobKind], outcome: Outcome) -> None:
    """Drop the jobs, some at a time, and return when each has ended or is lost."""
    remaining = list(enumerate(mix_kinds(tuple(kinds), soak.jobs)))
    last_drop = time.monotonic() + soak.minutes * 60
    ended = 0
    while remaining or len(jobs.running()) > len(outcome.lost):
        if time.monotonic() > last_drop:
            remaining.clear()
        while remaining and len(jobs.running()) - len(outcome.lost) < MAX_RUNNING_JOBS:
            number, kind = remaining.pop(0)
            jobs.upload(kind, f"{number:04d}.mp4")
        with suppress(RetryableError):  # too busy to answer: poll again
            for _ in jobs.poll():
                ended += 1
                if ended % PROGRESS_EVERY == 0:
                    _print_progress(ended, soak, jobs, emulator)
        outcome.lost = [job for job in jobs.running() if job.seconds > LOST_SECONDS]
        emulator.check()
        time.sleep(POLL_SECONDS)


def _print_progress(ended: int, soak: Soak, jobs: Jobs, emulator: Emulator) -> None:
    journal = read_journal(emulator.folder.log("chaos").read_text())
    since = time.monotonic() - jobs.all[0].uploaded
    print(
        f"  {ended} of {soak.jobs} jobs ended, {len(jobs.running())} running, "
        f"{journal.faults.total()} faults, {journal.retries} retries, {since:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def _settle(log: Path, emulator: Emulator) -> None:
    """Wait for late redeliveries and interrupted cleanups: until no log grows any more."""
    logs = [emulator.folder.log(name) for name in ("ingest", "worker", "merge", "dead_letter")]
    deadline = time.monotonic() + MAX_SETTLING_SECONDS
    sizes: list[int] = []
    since = time.monotonic()
    while time.monotonic() < min(deadline, since + QUIET_SECONDS):
        now = [file.stat().st_size for file in (*logs, log)]
        if now != sizes:
            sizes, since = now, time.monotonic()
        time.sleep(POLL_SECONDS)
