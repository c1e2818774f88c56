"""The table that a soak prints at its end."""

from collections import Counter

from defacer_emulator.chaos.plan import RATES
from tests.soak.jobs import Job
from tests.soak.soak import Outcome


def format_table(outcome: Outcome) -> str:
    """Return the figures, one a line. Those from "lost" on must be 0, except for leases of ended jobs."""
    faults = outcome.journal.faults
    rows = [
        ("jobs", f"{len(outcome.jobs)} of {outcome.requested}"),
        ("segments", str(sum(job.segments for job in outcome.jobs))),
        ("seconds", f"{outcome.seconds:.0f}, per job {_durations(outcome.jobs)}"),
        ("faults", str(faults.total())),
        *((f"  {fault}", str(faults[fault])) for fault in RATES),
        ("retries", str(outcome.journal.retries)),
        ("published once", str(len(set(_ids(outcome.published)) - set(_ids(outcome.duplicated))))),
        ("failed with reason", f"{len(outcome.failed)}{_codes(outcome.failed)}"),
        ("  though healthy", f"{len(outcome.failed_though_healthy)}{_codes(outcome.failed_though_healthy)}"),
        ("lost", _count_and_ids(outcome.lost)),
        ("duplicated", _count_and_ids(outcome.duplicated)),
        ("leaked", _count_and_ids(outcome.leaked)),
        ("changed otherwise", _count_and_ids(outcome.changed)),
        ("left behind", " ".join((str(len(outcome.left_behind)), *outcome.left_behind))),
        ("  leases", str(len(outcome.left) - len(outcome.left_behind))),
    ]
    if outcome.interrupted:
        rows.insert(1, ("not ended", str(len([job for job in outcome.jobs if not job.ended]))))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def _count_and_ids(jobs: list[Job]) -> str:
    return f"{len(jobs)}  {' '.join(_ids(jobs))}".rstrip()


def _durations(jobs: list[Job]) -> str:
    seconds = sorted(job.seconds for job in jobs if job.ended)
    return f"{seconds[len(seconds) // 2]:.0f} (median), {seconds[-1]:.0f} (longest)" if seconds else "-"


def _codes(jobs: list[Job]) -> str:
    codes = Counter(job.failed.code for job in jobs if job.failed)
    return "".join(f", {count} {code}" for code, count in sorted(codes.items()))
