"""What a soak prints at its end."""

from collections import Counter

from defacer_emulator.chaos.plan import RATES
from tests.soak.jobs import Job
from tests.soak.soak import Outcome


def table(outcome: Outcome) -> str:
    """The figures, one a line; the last ones must be 0."""
    faults = outcome.told.faults
    rows = [
        ("jobs", f"{len(outcome.jobs)} of {outcome.wanted}"),
        ("segments", str(sum(job.segments for job in outcome.jobs))),
        ("seconds", f"{outcome.seconds:.0f}, a job {_seconds(outcome.jobs)}"),
        ("faults", str(faults.total())),
        *((f"  {fault}", str(faults[fault])) for fault in RATES),
        ("retries", str(outcome.told.retries)),
        ("published once", str(len(set(_ids(outcome.published)) - set(_ids(outcome.duplicated))))),
        ("failed with reason", f"{len(outcome.failed)}{_reasons(outcome.failed)}"),
        (
            "  though healthy",
            f"{len(outcome.failed_though_healthy)}{_reasons(outcome.failed_though_healthy)}",
        ),
        ("lost", _named(outcome.lost)),
        ("duplicated", _named(outcome.duplicated)),
        ("leaked", _named(outcome.leaked)),
        ("changed otherwise", _named(outcome.changed)),
        ("left behind", " ".join((str(len(outcome.left_behind)), *outcome.left_behind))),
        ("  dead claims", str(len(outcome.left) - len(outcome.left_behind))),
    ]
    if outcome.interrupted:
        rows.insert(1, ("not seen to the end", str(len([job for job in outcome.jobs if not job.ended]))))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def _named(jobs: list[Job]) -> str:
    return f"{len(jobs)}  {' '.join(_ids(jobs))}".rstrip()


def _seconds(jobs: list[Job]) -> str:
    took = sorted(job.seconds for job in jobs if job.ended)
    return f"{took[len(took) // 2]:.0f} (median), {took[-1]:.0f} (longest)" if took else "-"


def _reasons(jobs: list[Job]) -> str:
    codes = Counter(job.failed.code for job in jobs if job.failed)
    return "".join(f", {count} {code}" for code, count in sorted(codes.items()))
