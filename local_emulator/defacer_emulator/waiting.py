"""Waiting for a job to end, and what came of it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from defacer.engine.tracking.face_report import ADVICE
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.report import Report
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.plurals import about, pluralize, printable
from defacer_emulator.errors import EmulatorError
from defacer_emulator.jobs import JobReader, StorageError
from defacer_emulator.processes.state import COMMAND
from defacer_emulator.setup.files import report_beside
from defacer_emulator.terminal import Terminal
from defacer_emulator.uploading import Uploaded

LOOK_AGAIN_SECONDS = 0.25
QUIET_SECONDS = 120.0
STORAGE_SECONDS = 15.0


class JobFailedError(EmulatorError):
    """The job failed; the message is the sentence in its failed.json."""


@dataclass(frozen=True)
class Watch:
    """How to wait. `check` raises EmulatorError when the emulator is gone; `logs` is where its logs lie."""

    reader: JobReader
    terminal: Terminal
    check: Callable[[], None]
    logs: Path


def wait(dropped: Uploaded, watch: Watch) -> JobStatus:
    """Return the job when it is published. Raises JobFailedError if it fails, EmulatorError if it can't go on."""
    with watch.terminal.counting("planning") as counter:
        changed, hinted = time.monotonic(), False
        while True:
            view = _look(dropped, watch)
            if view.over:
                break
            if counter.show(stage(view), *done(view)):
                changed, hinted = time.monotonic(), False
            if not hinted and time.monotonic() - changed > QUIET_SECONDS:
                hinted = True
                counter.hint(
                    f"Nothing has changed for {QUIET_SECONDS:.0f} s. That may be right for a busy machine; "
                    f"if not, {watch.logs / (_function(view) + '.log')} says why."
                )
            time.sleep(LOOK_AGAIN_SECONDS)
    _check_end(view)
    return view


def _look(dropped: Uploaded, watch: Watch) -> JobStatus:
    """The job as it is now. Storage may be away for a moment, or first of all when the emulator stops."""
    deadline = time.monotonic() + STORAGE_SECONDS
    while True:
        try:
            view = watch.reader.follow(dropped.job, dropped.source)
        except StorageError as error:
            watch.check()
            if time.monotonic() > deadline:
                raise EmulatorError(f"{error} Job {dropped.job} can't be watched any more.") from error
            time.sleep(LOOK_AGAIN_SECONDS)
            continue
        if not view.over:
            watch.check()
        return view


def stage(view: JobStatus) -> str:
    """Return the current step in words."""
    pluralize = f"{view.done}/{view.segments}"
    what = {
        "waiting": "planning",
        "finding": f"looking for faces {pluralize}",
        "linking": "following faces",
        "hiding": f"hiding faces {pluralize}",
    }
    return what.get(view.state, "joining")


def done(view: JobStatus) -> tuple[float | None, str]:
    """Return the share that is done, and in words how long the rest takes; as the console and `status` show it."""
    if view.state == "waiting":
        return None, ""
    progress = view.progress(datetime.now(UTC))
    left = "" if progress.seconds_left is None else f"{about(progress.seconds_left)} left"
    return progress.share, ". ".join(filter(None, (left, progress.note)))


def _function(view: JobStatus) -> str:
    """Whose turn it is."""
    return {"waiting": "ingest", "finding": "worker", "hiding": "worker"}.get(view.state, "merge")


def _check_end(view: JobStatus) -> None:
    if view.state == "erased":
        raise JobFailedError(f"Job {view.job} was erased.")
    if view.failed is not None and view.published is None:
        raise JobFailedError(f"Job {view.job} failed ({view.failed.code}): {printable(view.failed.message)}")
    if view.state == "superseded":
        raise JobFailedError(
            f"Job {view.job} was overtaken: a newer upload or rendering of "
            f"{printable(view.source or 'it')} was published before it."
        )


def save(result: ObjectRef, report: Report, out: Path, reader: JobReader) -> None:
    """Write the result and its report: each appears under its name when it is complete."""
    with _complete(out) as path:
        reader.download(result, path)
    with _complete(report_beside(out)) as path:
        path.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")


@contextmanager
def _complete(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise EmulatorError(f"{path} can't be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def summary(report: Report, rerender: str | None = None) -> str:
    """Return the kept and hidden tracks in a few lines. `rerender` is the command that changes a decision."""
    kept: Counter[str] = Counter()
    hidden = 0
    for track in report.faces.tracks:
        if track.decision == "keep":
            kept[track.person or "somebody"] += 1
        else:
            hidden += 1
    people = ", ".join(
        f"{printable(person)} ({pluralize(number, 'track')})" for person, number in sorted(kept.items())
    )
    lines = [
        f"{pluralize(report.frames, 'frame')} in {pluralize(len(report.segments), 'segment')}, "
        f"{pluralize(report.audio_packets, 'sound packet')} copied",
        f"kept:   {people or 'nobody'}",
        f"hidden: {pluralize(hidden, 'track')} (a track is one face, without a break)",
    ]
    if report.again is not None:
        changed = report.again.decisions.items()
        told = ", ".join(f"{decision} track {track}" for track, decision in sorted(changed))
        lines.append(f"decided by hand, for what job {report.again.of} had published: {told}")
    if report.checked is not None:
        found = pluralize(len(report.checked.tracks), "track") if report.checked.tracks else "no visible face"
        lines.append(f"check:  {pluralize(report.checked.frames, 'frame')} of the result, {found} found")
    if report.black_frames:
        lines.append(f"black:  {pluralize(report.black_frames, 'frame')} that could not be decoded")
    if report.dropped:
        lines.append(f"left out, for it can name or place somebody: {', '.join(report.dropped)}")
    for warning in report.faces.warnings:
        lines.append(f"warning: {printable(warning.message)} {ADVICE.get(warning.code, '')}".rstrip())
        if warning.track is not None:
            command = rerender or f"{COMMAND} again {report.job}"
            lines.append(f"         Or keep a track by hand: {command} --keep {warning.track}")
    return "\n".join(lines)
