"""`drop`: upload, and with `--wait` see it through."""

import shlex
import sys
from pathlib import Path

from defacer.plurals import printable
from defacer_emulator import uploading as upload
from defacer_emulator import waiting
from defacer_emulator.errors import EmulatorError
from defacer_emulator.jobs import JobReader
from defacer_emulator.processes.state import COMMAND, EmulatorState, StateFolder
from defacer_emulator.services import storage
from defacer_emulator.setup.files import check_out, report_beside
from defacer_emulator.terminal import Terminal, printable_lines
from defacer_emulator.uploading import Upload, Uploaded

INTERRUPTED = 130


def run(drop: Upload, path: Path, *, wait: bool, out: Path | None, force: bool = False) -> int:
    """Upload the video and print its job; if asked, wait for its end and save the result."""
    upload.check(drop)
    if out is not None:
        check_out(out, drop.files, force=force)
    folder = StateFolder(path.resolve())
    emulator = folder.running()
    dropped = upload.upload(drop, emulator, Terminal())
    return see_through(dropped, folder, emulator, wait=wait, out=out)


def see_through(
    dropped: Uploaded, folder: StateFolder, emulator: EmulatorState, *, wait: bool, out: Path | None
) -> int:
    """Print the job; if asked, wait for its end and save the result."""
    terminal = Terminal()
    status = f"{COMMAND} status {dropped.job}{folder.option()}"
    if not wait and out is None:
        print(dropped.job, flush=True)
        terminal.say(f"How it goes: {status}")
        return 0
    client = storage.client(emulator.project, emulator.storage_url)
    reader = JobReader(client, emulator.resources)
    watch = waiting.Watch(reader, terminal, lambda: _check(folder, emulator), folder.logs)
    try:
        print(dropped.job, flush=True)
        finish(dropped, watch, out)
    except KeyboardInterrupt:
        print(f"\nStopped waiting; the job goes on. How it goes: {status}", file=sys.stderr)
        return INTERRUPTED
    return 0


def finish(dropped: Uploaded, watch: waiting.Watch, out: Path | None, rerender: str | None = None) -> None:
    """Wait for the end, save the result if it has a place, and print the kept and hidden tracks.

    `rerender` is the command that changes a decision; by default `again`.
    """
    view = waiting.wait(dropped, watch)
    if view.manifest is None or view.published is None or view.published.result is None:
        raise EmulatorError(f"Job {view.job} has no result: its manifest is gone. Drop the video again.")
    report = watch.reader.report(view.manifest)
    if out is not None:
        waiting.save(view.published.result, report, out, watch.reader)
        print(printable_lines(f"result: {out}\nreport: {report_beside(out)}"))
    else:
        print(f"result: {printable(str(view.published.result))}")
    print(waiting.summary(report, rerender), flush=True)


def _check(folder: StateFolder, emulator: EmulatorState) -> None:
    """Raise EmulatorError if the emulator that took the video runs no more."""
    now = folder.read()
    if now is not None and now.run == emulator.run and now.parent.alive():
        return
    what = "was stopped" if now is None or now.run == emulator.run else "was stopped and started again"
    again = f"{COMMAND} up{folder.option()}"
    hint = f"Start it with {again} and drop" if now is None or now.run == emulator.run else "Drop"
    raise EmulatorError(
        f"The emulator {what} before the job's end. {hint} the video again: messages under way are lost with it. "
        f"Its logs are in {shlex.quote(str(folder.logs))}."
    )
