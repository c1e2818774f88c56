"""`drop`: upload a video, and with `--wait` or `-o` wait for its result."""

import shlex
import sys
from pathlib import Path

from defacer.plurals import printable
from defacer_emulator import uploading, waiting
from defacer_emulator.errors import INTERRUPTED, EmulatorError
from defacer_emulator.job_reader import JobReader
from defacer_emulator.processes.state import COMMAND, EmulatorState, StateFolder
from defacer_emulator.services import storage
from defacer_emulator.setup.files import check_out, report_beside
from defacer_emulator.terminal import Terminal, printable_lines
from defacer_emulator.uploading import Upload, Uploaded


def run_drop(upload: Upload, path: Path, *, wait: bool, out: Path | None, force: bool = False) -> int:
    """Upload the video and print its job. If asked, wait for its end and save the result."""
    uploading.check_upload(upload)
    if out is not None:
        check_out(out, upload.files, force=force)
    folder = StateFolder(path.resolve())
    emulator = folder.require_running()
    uploaded = uploading.upload_video(upload, emulator, Terminal())
    return print_or_wait(uploaded, folder, emulator, wait=wait, out=out)


def print_or_wait(
    uploaded: Uploaded, folder: StateFolder, emulator: EmulatorState, *, wait: bool, out: Path | None
) -> int:
    """Print the job. If asked, wait for its end and save the result."""
    terminal = Terminal()
    command = f"{COMMAND} status {uploaded.job}{folder.option()}"
    if not wait and out is None:
        print(uploaded.job, flush=True)
        terminal.print_line(f"To see its progress: {command}")
        return 0
    client = storage.create_client(emulator.project, emulator.storage_url)
    reader = JobReader(client, emulator.resources)
    watch = waiting.Watch(reader, terminal, lambda: _check_emulator(folder, emulator), folder.logs)
    try:
        print(uploaded.job, flush=True)
        wait_and_save(uploaded, watch, out)
    except KeyboardInterrupt:
        print(f"\nStopped waiting. The job continues. To see its progress: {command}", file=sys.stderr)
        return INTERRUPTED
    return 0


def wait_and_save(
    uploaded: Uploaded, watch: waiting.Watch, out: Path | None, rerender: str | None = None
) -> None:
    """Wait for the end, save the result if `out` is given, and print the kept and hidden tracks.

    `rerender` is the command that changes a decision. The default is the emulator's command.
    """
    status = waiting.wait_for_job(uploaded, watch)
    if status.manifest is None or status.published is None or status.published.result is None:
        raise EmulatorError(f"Job {status.job} has no result: its manifest is missing. Drop the video again.")
    report = watch.reader.read_report(status.manifest)
    if out is not None:
        waiting.save_result(status.published.result, report, out, watch.reader)
        print(printable_lines(f"result: {out}\nreport: {report_beside(out)}"))
    else:
        print(f"result: {printable(str(status.published.result))}")
    print(waiting.summarize(report, rerender), flush=True)


def _check_emulator(folder: StateFolder, emulator: EmulatorState) -> None:
    """Raise EmulatorError if the emulator that received the video has ended."""
    now = folder.read()
    if now is not None and now.run == emulator.run and now.parent.is_alive():
        return
    restarted = now is not None and now.run != emulator.run
    event = "was stopped and started again" if restarted else "was stopped"
    advice = "Drop" if restarted else f"Start it with {COMMAND} up{folder.option()} and drop"
    raise EmulatorError(
        f"The emulator {event} before the job's end, so its messages are lost. {advice} the video again. The logs are "
        f"in {shlex.quote(str(folder.logs))}."
    )
