"""`status`: show all jobs in a table, or one job in detail."""

import sys
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.plurals import percent, printable
from defacer_emulator import waiting
from defacer_emulator.errors import EmulatorError
from defacer_emulator.job_reader import JobReader
from defacer_emulator.processes.state import COMMAND, StateFolder
from defacer_emulator.services import storage

PIPE_WIDTH = 1000  # one line for each job, for programs that read the table
STOPPED = "stopped with an earlier emulator: drop the video again"


def print_status(path: Path, job: str | None) -> int:
    """Print one job, or all jobs."""
    folder = StateFolder(path.resolve())
    emulator = folder.require_running()
    reader = JobReader(storage.create_client(emulator.project, emulator.storage_url), emulator.resources)
    if job is None:
        _print_all(reader.list_jobs(), emulator.started_at)
        return 0
    status = reader.find_job(job)
    if status is None:
        raise EmulatorError(f"The job {job} does not exist in {folder.path}. List all jobs with `status`.")
    print("\n".join(_details(status, emulator.started_at, reader)))
    return 0


def _print_all(jobs: tuple[JobStatus, ...], started_at: datetime) -> None:
    if not jobs:
        print(f"No jobs yet. Drop a video: {COMMAND} drop VIDEO")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("JOB", "STATE", "SEGMENTS", "DONE", "SOURCE"):
        table.add_column(column, no_wrap=column == "JOB", overflow="fold")
    for status in jobs:
        table.add_row(
            status.job,
            _state_title(status, started_at),
            _segment_counts(status),
            _progress(status, started_at),
            _source_title(status),
        )
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(width=width, markup=False, highlight=False).print(table)
    for status in jobs:
        if status.failed is not None and status.has_error:
            print(
                f"{status.job} failed in {status.failed.stage} ({status.failed.code}): "
                f"{printable(status.failed.message)}"
            )


def _details(status: JobStatus, started_at: datetime, reader: JobReader) -> list[str]:
    lines = [
        f"job       {status.job}",
        f"source    {_source_title(status)}",
        f"state     {_state_title(status, started_at)}",
        f"segments  {_segment_counts(status)}",
        f"done      {_progress(status, started_at)}",
    ]
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
    if status.manifest is not None and status.published is not None and status.published.result is not None:
        lines += [
            f"result    {printable(str(status.published.result))}",
            waiting.summarize(reader.read_report(status.manifest)),
        ]
    return lines


def _state_title(status: JobStatus, started_at: datetime) -> str:
    return STOPPED if _is_stopped(status, started_at) else status.title


def _is_stopped(status: JobStatus, started_at: datetime) -> bool:
    return not status.is_over and status.since is not None and status.since < started_at


def _progress(status: JobStatus, started_at: datetime) -> str:
    """Return the progress, as `drop --wait` and the console show it."""
    share, left = waiting.describe_progress(status)
    if share is None or (status.is_over and status.published is None) or _is_stopped(status, started_at):
        return "-"
    return ", ".join(filter(None, (percent(share), left)))


def _source_title(status: JobStatus) -> str:
    return printable(status.source or ("-" if status.is_erased else "?"))


def _segment_counts(status: JobStatus) -> str:
    return f"{status.done} of {status.segments}" if status.manifest else "-"
