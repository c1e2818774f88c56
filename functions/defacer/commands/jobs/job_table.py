"""Show jobs in a table, one job in detail, and jobs as JSON."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from defacer.commands.common.deployment import Deployment
from defacer.commands.jobs.job_summary import describe_rerender, summarize
from defacer.commands.jobs.waiting import describe_progress, describe_wait
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.pipeline.lifecycle.rerender_request import report_of
from defacer.plurals import percent, printable
from defacer.program import program

PIPE_WIDTH = 1000  # one line for each job, for programs that read the table
STOPPED = "stopped with an earlier emulator: upload the video again"


def print_table(jobs: Sequence[JobStatus], started_at: datetime | None) -> None:
    """Print a table of jobs, and the reasons of those that failed. `started_at` is the start of the emulator."""
    table = Table(box=None, pad_edge=False)
    for column in ("JOB", "KIND", "STATE", "SEGMENTS", "DONE", "SOURCE"):
        table.add_column(column, no_wrap=column == "JOB", overflow="fold")
    for status in jobs:
        table.add_row(
            status.job,
            _kind(status) or "-",
            _state_title(status, started_at),
            _segment_counts(status),
            _progress(status, started_at),
            _source_title(status),
        )
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)
    for status in jobs:
        if status.failed is not None and status.has_error:
            print(
                f"{status.job} failed in {status.failed.stage} ({status.failed.code}): "
                f"{printable(status.failed.message)}"
            )


def describe_job(status: JobStatus, started_at: datetime | None) -> dict[str, Any]:
    """Return a job for programs."""
    share, _ = describe_progress(status)
    failed = status.failed if status.has_error else None
    return {
        "job": status.job,
        "kind": _kind(status),
        "source": status.source,
        "state": "stopped" if _is_stopped(status, started_at) else str(status.state),
        "outcome": _outcome(status),
        "segments": status.segments,
        "done": status.done,
        "share": share,
        "review_end": status.review_end.isoformat() if status.review_end else None,
        "failed": {"stage": failed.stage, "code": failed.code, "message": failed.message} if failed else None,
    }


def detail_lines(status: JobStatus, deployment: Deployment) -> list[str]:
    """Return the lines that describe one job."""
    started_at = deployment.started_at
    lines = [
        f"job       {status.job}",
        f"kind      {_describe_kind(status)}",
        f"source    {_source_title(status)}",
        f"state     {_state_title(status, started_at)}",
        f"segments  {_segment_counts(status)}",
        f"done      {_progress(status, started_at)}",
    ]
    if status.is_waiting_for_review:
        lines.append(f"review    {describe_wait(status, deployment)}")
    if status.manifest is not None:
        manifest = status.manifest
        lines += [
            f"video     {manifest.video.width}x{manifest.video.height} {manifest.video.codec}",
            f"keeps     {printable(', '.join(manifest.targets)) or 'no one'}",
            f"mode      {manifest.policy.mode}",
        ]
    if status.failed is not None and status.has_error:
        lines += [
            f"failed    in {status.failed.stage}: {status.failed.code}",
            f"          {printable(status.failed.message)}",
        ]
    if status.published is not None and status.published.result is not None:
        lines += [f"result    {printable(str(status.published.result))}", _summary(status, deployment)]
    return lines


def _summary(status: JobStatus, deployment: Deployment) -> str:
    """Return the summary of a published job, or why its report can't be shown."""
    try:
        report: JobReport = report_of(status.job)
    except PermanentError as error:
        return str(error)
    if report.job != status.job:
        return f"The result was replaced by job {report.job}."
    return summarize(report, f"{program()} job rerender {status.job}{deployment.option}")


def _outcome(status: JobStatus) -> str | None:
    """Return how the job ended for programs, or None if it has not ended."""
    if status.has_error or status.is_erased:
        return "erased" if status.is_erased else "failed"
    if status.is_superseded:
        return "superseded"
    return "published" if status.has_result else None


def _state_title(status: JobStatus, started_at: datetime | None) -> str:
    return STOPPED if _is_stopped(status, started_at) else status.title


def _is_stopped(status: JobStatus, started_at: datetime | None) -> bool:
    """Return whether the job has not ended and belongs to an earlier run of the emulator."""
    return (
        started_at is not None
        and not status.is_over
        and not status.is_waiting_for_review
        and status.since is not None
        and status.since < started_at
    )


def _progress(status: JobStatus, started_at: datetime | None) -> str:
    """Return the progress, as `--wait` and the console show it."""
    share, left = describe_progress(status)
    if share is None or (status.is_over and status.published is None) or _is_stopped(status, started_at):
        return "-"
    return ", ".join(filter(None, (percent(share), left)))


def _kind(status: JobStatus) -> str | None:
    """Return what the job does. An erased job has no record of it."""
    if status.source is None:
        return None
    return "re-render" if status.is_rerender else "upload"


def _describe_kind(status: JobStatus) -> str:
    rerender = status.manifest.rerender if status.manifest else None
    if rerender is None:
        return _kind(status) or "-"
    changes = ", ".join(describe_rerender(rerender.to_record()))
    return f"re-render of the result of job {rerender.of}: {changes}"


def _source_title(status: JobStatus) -> str:
    return printable(status.source or ("-" if status.is_erased else "?"))


def _segment_counts(status: JobStatus) -> str:
    return f"{status.done} of {status.segments}" if status.manifest else "-"
