"""Wait for the end of a job, save its result and print it."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from defacer.commands.common.deployment import Deployment
from defacer.commands.common.exit_codes import CommandError
from defacer.commands.common.result_files import report_beside
from defacer.commands.common.terminal import Terminal, printable_lines
from defacer.commands.jobs.job_summary import describe_result, summarize
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.errors import RetryableError
from defacer.pipeline.lifecycle.job_state import JobState
from defacer.pipeline.lifecycle.job_status import JobStatus, StartedJob, read_job_status
from defacer.pipeline.lifecycle.rerender_request import report_of
from defacer.pipeline.storage import objects
from defacer.plurals import about, printable
from defacer.program import program

POLL_SECONDS = 0.25
QUIET_SECONDS = 120.0
STORAGE_SECONDS = 15.0


@dataclass(frozen=True)
class WaitOptions:
    """Whether to wait for the end of a started job, where to save the result, and how to print all of it."""

    wait: bool
    out: Path | None
    as_json: bool
    terminal: Terminal


def print_started_job(started: StartedJob, deployment: Deployment, options: WaitOptions) -> None:
    """Print the job. If asked, wait for its end, save the result and print the kept and hidden tracks."""
    command = f"{program()} job status {started.job}{deployment.option}"
    if not options.wait and options.out is None:
        print(json.dumps({"job": started.job}) if options.as_json else started.job, flush=True)
        options.terminal.print_line(f"To see its progress: {command}")
        return
    try:
        if not options.as_json:
            print(started.job, flush=True)
        print_result(started, deployment, options)
    except KeyboardInterrupt:
        print(f"\nStopped waiting. The job continues. To see its progress: {command}", file=sys.stderr)
        raise


def print_result(
    started: StartedJob, deployment: Deployment, options: WaitOptions, rerender: str | None = None
) -> None:
    """Wait for the end, save the result if asked, and print the kept and hidden tracks.

    `rerender` is the command that changes a decision.
    """
    status = wait_for_job(started, deployment, options.terminal)
    if status.published is None or status.published.result is None:
        raise CommandError(f"Job {status.job} has no result. Upload the video again.")
    report = report_of(started.job)
    if options.out is not None:
        save_result(status.published.result, report, options.out)
    if options.as_json:
        print(json.dumps(describe_result(status, report, options.out)), flush=True)
        return
    if options.out is not None:
        print(printable_lines(f"result: {options.out}\nreport: {report_beside(options.out)}"))
    else:
        print(f"result: {printable(str(status.published.result))}")
    rerender = rerender or f"{program()} job rerender {report.job}{deployment.option}"
    print(summarize(report, rerender), flush=True)


def wait_for_job(started: StartedJob, deployment: Deployment, terminal: Terminal) -> JobStatus:
    """Return the job when it is published. Raise CommandError if the job fails or the emulator ends."""
    with terminal.show_stages("planning") as progress:
        changed, hinted, asked = time.monotonic(), False, False
        while True:
            status = _read_status(started, deployment)
            if status.is_over:
                break
            if status.is_waiting_for_review and not asked:
                asked = True
                terminal.print_line(describe_wait(status, deployment))
            if progress.update(describe_stage(status), *describe_progress(status)):
                changed, hinted = time.monotonic(), False
            is_explained = status.is_waiting_for_review or status.waits_for_turn
            if not hinted and not is_explained and time.monotonic() - changed > QUIET_SECONDS:
                hinted = True
                terminal.print_line(_quiet_hint(status, deployment))
            time.sleep(POLL_SECONDS)
    _check_end(status)
    return status


def _read_status(started: StartedJob, deployment: Deployment) -> JobStatus:
    """Return the current state of the job. Storage can be unavailable for a moment, and when an emulator stops."""
    deadline = time.monotonic() + STORAGE_SECONDS
    while True:
        try:
            status = read_job_status(started.job, started.source)
        except RetryableError as error:
            deployment.check()
            if time.monotonic() > deadline:
                raise CommandError(
                    f"The storage of job {started.job} can't be read: {error}. Stopped waiting. The job continues."
                ) from error
            time.sleep(POLL_SECONDS)
            continue
        if not status.is_over:
            deployment.check()
        return status


def _quiet_hint(status: JobStatus, deployment: Deployment) -> str:
    hint = f"Nothing has changed for {QUIET_SECONDS:.0f} s. On a busy machine that is normal."
    function = _current_function(status)
    if deployment.logs is not None:
        return f"{hint} Otherwise, see {deployment.logs / (function + '.log')}."
    return f"{hint} Otherwise, see the log of the function {function} in Cloud Logging."


def describe_wait(status: JobStatus, deployment: Deployment) -> str:
    """Return until when the job waits for a person, and where the person can confirm it."""
    end = f"{status.review_end:%Y-%m-%d %H:%M} UTC" if status.review_end else "its time limit"
    command = f"{program()} job confirm {status.job}{deployment.option}"
    channel = quote(status.channel or "", safe="")
    page = (
        f"{deployment.console_url}/channels/{channel}/jobs/{status.job}" if deployment.console_url else None
    )
    where = f"open {page} or run: {command}" if page else f"open it in the console or run: {command}"
    outcome = f" {status.manifest.policy.timeout_outcome}" if status.manifest else ""
    return f"The job waits for you until {end}.{outcome} To confirm who stays visible, {where}"


def describe_stage(status: JobStatus) -> str:
    """Return the current step in words."""
    if status.waits_for_turn:
        return status.title
    counts = f"{status.done}/{status.segments}"
    stages = {
        JobState.UPLOADED: "planning",
        JobState.PLANNED: f"detecting faces {counts}",
        JobState.DETECTED: "linking tracks",
        JobState.LINKED: f"redacting faces {counts}",
        JobState.WAITING_FOR_REVIEW: "waiting for your review",
        JobState.REDACTING: f"redacting faces {counts}",
    }
    return stages.get(status.state, "joining")


def describe_progress(status: JobStatus) -> tuple[float | None, str]:
    """Return the finished share and the remaining time in words, as the console and `status` show them."""
    if status.state is JobState.UPLOADED:
        return None, ""
    progress = status.progress(datetime.now(UTC))
    left = "" if progress.seconds_left is None else f"{about(progress.seconds_left)} left"
    return progress.share, ". ".join(filter(None, (left, progress.note)))


def _current_function(status: JobStatus) -> str:
    """Return the function that processes the job at the moment."""
    functions = {
        JobState.UPLOADED: "ingest",
        JobState.PLANNED: "worker",
        JobState.LINKED: "worker",
        JobState.REDACTING: "worker",
    }
    return functions.get(status.state, "merge")


def _check_end(status: JobStatus) -> None:
    if status.is_erased:
        raise CommandError(f"Job {status.job} was erased.")
    if status.failed is not None and status.published is None:
        raise CommandError(
            f"Job {status.job} failed ({status.failed.code}): {printable(status.failed.message)}"
        )
    if status.is_superseded:
        raise CommandError(
            f"Job {status.job} is superseded: a newer upload or re-render of "
            f"{printable(status.source or 'its video')} was published first."
        )


def save_result(result: ObjectRef, report: JobReport, out: Path) -> None:
    """Write the result and its report. Each file gets its name when it is complete."""
    with _complete_file(out) as path:
        objects.download(result, path)
    with _complete_file(report_beside(out)) as path:
        path.write_bytes(report.to_bytes())


@contextmanager
def _complete_file(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise CommandError(
            f"{path} can't be written: {error.strerror}. Check the folder and the disk, and try again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
