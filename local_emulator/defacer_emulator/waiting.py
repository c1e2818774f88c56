"""Wait for a job to end, save its result and summarize its report."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.lifecycle.job_state import JobState
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.plurals import about, pluralize, printable
from defacer.report.texts import ADVICE
from defacer_emulator.errors import EmulatorError
from defacer_emulator.job_reader import JobReader, StorageError
from defacer_emulator.processes.state import COMMAND
from defacer_emulator.setup.files import report_beside
from defacer_emulator.terminal import Terminal
from defacer_emulator.uploading import Uploaded

POLL_SECONDS = 0.25
QUIET_SECONDS = 120.0
STORAGE_SECONDS = 15.0


class JobFailedError(EmulatorError):
    """The job failed. The message is that of its failed.json."""


@dataclass(frozen=True)
class Watch:
    """What waiting needs. `check` raises EmulatorError if the emulator has ended. `logs` is the folder of its logs."""

    reader: JobReader
    terminal: Terminal
    check: Callable[[], None]
    logs: Path


def wait_for_job(uploaded: Uploaded, watch: Watch) -> JobStatus:
    """Return the job when it is published.

    Raises JobFailedError if the job fails, and EmulatorError if the emulator ends.
    """
    with watch.terminal.show_progress("planning") as progress:
        changed, hinted = time.monotonic(), False
        while True:
            status = _read_status(uploaded, watch)
            if status.is_over:
                break
            if progress.update(describe_stage(status), *describe_progress(status)):
                changed, hinted = time.monotonic(), False
            if not hinted and time.monotonic() - changed > QUIET_SECONDS:
                hinted = True
                progress.print_hint(
                    f"Nothing has changed for {QUIET_SECONDS:.0f} s. On a busy machine that is normal. Otherwise, "
                    f"see {watch.logs / (_current_function(status) + '.log')}."
                )
            time.sleep(POLL_SECONDS)
    _check_end(status)
    return status


def _read_status(uploaded: Uploaded, watch: Watch) -> JobStatus:
    """Return the current state of the job. Storage can be unavailable for a moment, and when the emulator stops."""
    deadline = time.monotonic() + STORAGE_SECONDS
    while True:
        try:
            status = watch.reader.follow(uploaded.job, uploaded.source)
        except StorageError as error:
            watch.check()
            if time.monotonic() > deadline:
                raise EmulatorError(f"{error} Stopped waiting for job {uploaded.job}.") from error
            time.sleep(POLL_SECONDS)
            continue
        if not status.is_over:
            watch.check()
        return status


def describe_stage(status: JobStatus) -> str:
    """Return the current step in words."""
    counts = f"{status.done}/{status.segments}"
    stages = {
        JobState.UPLOADED: "planning",
        JobState.PLANNED: f"detecting faces {counts}",
        JobState.DETECTED: "linking tracks",
        JobState.LINKED: f"redacting faces {counts}",
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
        raise JobFailedError(f"Job {status.job} was erased.")
    if status.failed is not None and status.published is None:
        raise JobFailedError(
            f"Job {status.job} failed ({status.failed.code}): {printable(status.failed.message)}"
        )
    if status.is_superseded:
        raise JobFailedError(
            f"Job {status.job} is superseded: a newer upload or re-render of "
            f"{printable(status.source or 'its video')} was published first."
        )


def save_result(result: ObjectRef, report: JobReport, out: Path, reader: JobReader) -> None:
    """Write the result and its report. Each file gets its name when it is complete."""
    with _complete_file(out) as path:
        reader.download(result, path)
    with _complete_file(report_beside(out)) as path:
        path.write_bytes(report.to_bytes())


@contextmanager
def _complete_file(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise EmulatorError(
            f"{path} can't be written: {error.strerror}. Check the folder and the disk, then drop the video again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def summarize(report: JobReport, rerender: str | None = None) -> str:
    """Return a few lines about the kept and hidden tracks. `rerender` is the command that changes a decision."""
    kept: Counter[str] = Counter()
    hidden = 0
    for track in report.tracks:
        if track.decision == "keep":
            kept[track.person or "unnamed"] += 1
        else:
            hidden += 1
    people = ", ".join(
        f"{printable(person)} ({pluralize(number, 'track')})" for person, number in sorted(kept.items())
    )
    lines = [
        f"{pluralize(report.frames, 'frame')} in {pluralize(len(report.segments), 'segment')}, "
        f"{pluralize(report.audio_packets, 'audio packet')} copied",
        f"kept:   {people or 'no one'}",
        f"hidden: {pluralize(hidden, 'track')} (a track is one face, followed without a gap)",
    ]
    if report.rerender is not None:
        changed = report.rerender.decisions.items()
        decisions = ", ".join(f"{decision} track {track}" for track, decision in sorted(changed))
        lines.append(f"decided by hand, based on the result of job {report.rerender.of}: {decisions}")
    if report.checked is not None:
        found = pluralize(len(report.checked.tracks), "track") if report.checked.tracks else "no visible face"
        lines.append(f"check:  {pluralize(report.checked.frames, 'frame')} of the result, {found} found")
    if report.black_frames:
        lines.append(f"black:  {pluralize(report.black_frames, 'frame')} that could not be decoded")
    if report.dropped:
        lines.append(f"removed because it can identify people or places: {', '.join(report.dropped)}")
    for warning in report.faces.warnings:
        lines.append(f"warning: {printable(warning.message)} {ADVICE.get(warning.code, '')}".rstrip())
        if warning.track is not None:
            command = rerender or f"{COMMAND} rerender {report.job}"
            lines.append(f"         Or keep a track by hand: {command} --keep {warning.track}")
    return "\n".join(lines)
