"""The figures as Markdown."""

import statistics
from collections.abc import Sequence

from tests.benchmarks.parts import Bound, Row
from tests.benchmarks.running import Measured


def judged(rows: Sequence[Row]) -> str:
    """What was asked for and what came out."""
    lines = ["| | must | reach for | median | min to max | pairs | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        low, high = min(row.values), max(row.values)
        lines.append(
            f"| {row.what} | {_asked(row.bound, row.bound.must)} | {_asked(row.bound, row.bound.reach)} "
            f"| {row.median:.2f}{row.bound.unit} | {low:.2f} to {high:.2f} | {len(row.values)} | {_verdict(row)} |"
        )
    return "\n".join(lines)


def programs(measured: Sequence[Measured]) -> str:
    """Each program's times and memory. Times are medians; loading is the wall time on a video of one frame."""
    lines = [
        "| program | video | frames | loading | wall time | without loading | min to max | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for job in measured:
        wall = statistics.median(run.seconds for run in job.runs)
        lines.append(
            f"| {job.program.name} | {job.video.work.name}: {job.video.seconds:.1f} s | {job.video.frames} "
            f"| {job.load_seconds:.2f} s | {wall:.2f} s | {statistics.median(job.seconds):.2f} s "
            f"| {min(job.seconds):.2f} to {max(job.seconds):.2f} s | {job.peak_bytes / 1e6:.0f} MB |"
        )
    return "\n".join(lines)


def _asked(bound: Bound, value: float | None) -> str:
    if value is None:
        return ""
    return f"at {'most' if bound.at_most else 'least'} {value:g}{bound.unit}"


def _verdict(row: Row) -> str:
    if not row.bound.holds(row.median):
        return "NOT HELD"
    return "reached" if row.bound.reached(row.median) else "held"
