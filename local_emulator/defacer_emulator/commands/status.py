"""`status`: all jobs in a table, or one in detail."""

import sys
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from defacer.pipeline.lifecycle.job_status import STATES, JobStatus
from defacer.plurals import percent, printable
from defacer_emulator import waiting
from defacer_emulator.errors import EmulatorError
from defacer_emulator.jobs import JobReader
from defacer_emulator.processes.state import COMMAND, StateFolder
from defacer_emulator.services import storage

PIPE_WIDTH = 1000  # a program that reads the table wants one line for each job
STOPPED = "stopped with an earlier emulator: drop it again"


def show(path: Path, job: str | None) -> int:
    """Print one job, or all."""
    folder = StateFolder(path.resolve())
    emulator = folder.running()
    reader = JobReader(storage.client(emulator.project, emulator.storage_url), emulator.resources)
    if job is None:
        _print_all(reader.all(), emulator.started_at)
        return 0
    view = reader.view(job)
    if view is None:
        raise EmulatorError(f"There is no job {job} in {folder.path}. `status` without a job lists all.")
    print("\n".join(_details(view, emulator.started_at, reader)))
    return 0


def _print_all(views: tuple[JobStatus, ...], started_at: datetime) -> None:
    if not views:
        print(f"No jobs yet. Drop a video: {COMMAND} drop VIDEO")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("JOB", "STATE", "SEGMENTS", "DONE", "SOURCE"):
        table.add_column(column, no_wrap=column == "JOB", overflow="fold")
    for view in views:
        table.add_row(
            view.job, _state(view, started_at), _segments(view), _done(view, started_at), _source(view)
        )
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(width=width, markup=False, highlight=False).print(table)
    for view in views:
        if view.failed is not None and view.state == "failed":
            print(
                f"{view.job} failed in {view.failed.stage} ({view.failed.code}): {printable(view.failed.message)}"
            )


def _details(view: JobStatus, started_at: datetime, reader: JobReader) -> list[str]:
    lines = [
        f"job       {view.job}",
        f"source    {_source(view)}",
        f"state     {_state(view, started_at)}",
        f"segments  {_segments(view)}",
        f"done      {_done(view, started_at)}",
    ]
    if view.manifest is not None:
        manifest = view.manifest
        lines += [
            f"video     {manifest.video.width}x{manifest.video.height} {manifest.video.codec}",
            f"keeps     {printable(', '.join(manifest.targets)) or 'nobody'}",
            f"mode      {manifest.policy.mode}",
        ]
    if view.failed is not None and view.state == "failed":
        lines += [
            f"failed    in {view.failed.stage}: {view.failed.code}",
            f"          {printable(view.failed.message)}",
        ]
    if view.manifest is not None and view.published is not None and view.published.result is not None:
        lines += [
            f"result    {printable(str(view.published.result))}",
            waiting.summary(reader.report(view.manifest)),
        ]
    return lines


def _state(view: JobStatus, started_at: datetime) -> str:
    return STOPPED if _is_stopped(view, started_at) else STATES[view.state]


def _is_stopped(view: JobStatus, started_at: datetime) -> bool:
    return not view.over and view.since is not None and view.since < started_at


def _done(view: JobStatus, started_at: datetime) -> str:
    """How far it is, as `drop --wait` and the console show it."""
    share, left = waiting.done(view)
    if share is None or (view.over and view.published is None) or _is_stopped(view, started_at):
        return "-"
    return ", ".join(filter(None, (percent(share), left)))


def _source(view: JobStatus) -> str:
    return printable(view.source or ("-" if view.state == "erased" else "?"))


def _segments(view: JobStatus) -> str:
    return f"{view.done} of {view.segments}" if view.manifest else "-"
