"""`again`: list a published video's tracks, or have it rendered again with other decisions about them."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from defacer.commands.track_table import track_lines
from defacer.pipeline.documents.report import Report
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer_emulator.commands import drop
from defacer_emulator.errors import EmulatorError, UsageError
from defacer_emulator.jobs import JobReader
from defacer_emulator.processes.state import COMMAND, EmulatorState, StateFolder
from defacer_emulator.processes.supervisor import inherited_environment
from defacer_emulator.services import storage
from defacer_emulator.setup.files import check_out
from defacer_emulator.terminal import Terminal
from defacer_emulator.uploading import Uploaded


@dataclass(frozen=True)
class RerenderOptions:
    """Which tracks of which job to decide anew. With neither the tracks are listed."""

    job: str
    keep: tuple[int, ...] = ()
    hide: tuple[int, ...] = ()


def run(wish: RerenderOptions, path: Path, *, wait: bool, out: Path | None, force: bool = False) -> int:
    """List the tracks, or ask for the video again, print its new job and, if asked, wait for its end."""
    if both := set(wish.keep) & set(wish.hide):
        raise UsageError(f"Track {min(both)} can't be kept and hidden at once.")
    if out is not None:
        check_out(out, force=force)
    folder = StateFolder(path.resolve())
    emulator = folder.running()
    reader = JobReader(storage.client(emulator.project, emulator.storage_url), emulator.resources)
    view = reader.view(wish.job)
    if view is None or view.source is None:
        raise EmulatorError(f"There is no job {wish.job} in {folder.path}. `status` without a job lists all.")
    if not wish.keep and not wish.hide:
        print("\n".join(track_lines(_report(view, reader))))
        Terminal().say(
            f"To change that: {COMMAND} again {wish.job} --keep TRACK --hide TRACK{folder.option()}"
        )
        return 0
    job = _ask(wish, emulator)
    dropped = Uploaded(job, view.manifest.source.name if view.manifest else view.source)
    return drop.see_through(dropped, folder, emulator, wait=wait, out=out)


def _ask(wish: RerenderOptions, emulator: EmulatorState) -> str:
    """The new job. What is wrong is said by the command that asks, as on Google Cloud."""
    options: list[str] = []
    for name, tracks in (("--keep", wish.keep), ("--hide", wish.hide)):
        options += [word for track in tracks for word in (name, str(track))]
    asked = subprocess.run(
        [sys.executable, "-m", "defacer.commands", *options, "--", wish.job],
        env={**inherited_environment(), **emulator.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise EmulatorError(
            asked.stderr.strip() or f"It could not be asked for: exit code {asked.returncode}."
        )
    return asked.stdout.strip()


def _report(view: JobStatus, reader: JobReader) -> Report:
    if view.manifest is None or view.published is None or view.published.result is None:
        raise EmulatorError(f"Job {view.job} has no report that lists tracks: it was not published.")
    return reader.report(view.manifest)
