"""Render the figures as Markdown."""

import statistics
from collections.abc import Sequence

from tests.benchmarks.bounds import Bound
from tests.benchmarks.parts import Row
from tests.benchmarks.running import Measurement


def render_results(rows: Sequence[Row]) -> str:
    """Return a table of the bounds and results."""
    lines = [
        "| | required | goal | median | min to max | processor time, median | pairs | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = min(row.values), max(row.values)
        cpu = f"{statistics.median(row.cpu_values):.2f}{row.bound.unit}" if row.cpu_values else ""
        lines.append(
            f"| {row.name} | {_bound_text(row.bound, row.bound.required)} | {_bound_text(row.bound, row.bound.goal)} "
            f"| {row.median:.2f}{row.bound.unit} | {low:.2f} to {high:.2f} | {cpu} | {len(row.values)} "
            f"| {_verdict(row)} |"
        )
    return "\n".join(lines)


def render_programs(measured: Sequence[Measurement]) -> str:
    """Return a table of each program's time and memory. Times are medians, loading is measured on a single frame.

    Processor time is that of user and system, without loading. Other programs disturb it less than wall time.
    """
    lines = [
        "| program | video | frames | loading | wall time | without loading | min to max | processor time "
        "| peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for job in measured:
        wall = statistics.median(run.seconds for run in job.runs)
        lines.append(
            f"| {job.program.name} | {job.video.work.name}: {job.video.seconds:.1f} s | {job.video.frames} "
            f"| {job.load.seconds:.2f} s | {wall:.2f} s | {statistics.median(job.seconds):.2f} s "
            f"| {min(job.seconds):.2f} to {max(job.seconds):.2f} s "
            f"| {statistics.median(job.cpu_seconds):.2f} s | {job.peak_bytes / 1e6:.0f} MB |"
        )
    return "\n".join(lines)


def _bound_text(bound: Bound, value: float | None) -> str:
    if value is None:
        return ""
    return f"at {'most' if bound.at_most else 'least'} {value:g}{bound.unit}"


def _verdict(row: Row) -> str:
    if not row.bound.is_met_by(row.median):
        return "NOT MET"
    return "goal met" if row.bound.is_goal_met_by(row.median) else "met"
