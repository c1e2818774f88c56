"""`rerender`: list a published video's tracks, or render the video again with other decisions for some of them."""

import logging
from dataclasses import dataclass
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError

from defacer.commands.track_table import track_lines
from defacer.pipeline.documents.base import Decision
from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle.job_status import JobStatus
from defacer.pipeline.lifecycle.rerender_request import request_rerender
from defacer_emulator.commands import drop
from defacer_emulator.errors import EmulatorError, EmulatorUsageError
from defacer_emulator.job_reader import JobReader
from defacer_emulator.processes.environment import use_emulator
from defacer_emulator.processes.state import COMMAND, EmulatorState, StateFolder
from defacer_emulator.services import storage
from defacer_emulator.setup.files import check_out
from defacer_emulator.terminal import Terminal
from defacer_emulator.uploading import Uploaded


@dataclass(frozen=True)
class RerenderOptions:
    """The job to re-render, and the tracks with a new decision. Without any, the tracks are listed."""

    job: str
    keep: tuple[int, ...] = ()
    hide: tuple[int, ...] = ()

    @property
    def decisions(self) -> dict[int, Decision]:
        return {**dict.fromkeys(self.keep, "keep"), **dict.fromkeys(self.hide, "hide")}


def run_rerender(
    options: RerenderOptions, path: Path, *, wait: bool, out: Path | None, force: bool = False
) -> int:
    """List the tracks, or request a re-render, print its job and, if asked, wait for its end."""
    if both := set(options.keep) & set(options.hide):
        raise EmulatorUsageError(
            f"Track {min(both)} can't be kept and hidden at once. Remove it from --keep or --hide."
        )
    if out is not None:
        check_out(out, force=force)
    folder = StateFolder(path.resolve())
    emulator = folder.require_running()
    reader = JobReader(storage.create_client(emulator.project, emulator.storage_url), emulator.resources)
    status = reader.find_job(options.job)
    if status is None or status.source is None:
        raise EmulatorError(
            f"The job {options.job} does not exist in {folder.path}. List all jobs with `status`."
        )
    if not options.decisions:
        print("\n".join(track_lines(_read_report(status, reader))))
        Terminal().print_line(
            f"To change decisions: {COMMAND} rerender {options.job} --keep TRACK --hide TRACK{folder.option()}"
        )
        return 0
    job = _request(options, emulator)
    uploaded = Uploaded(job, status.manifest.source.name if status.manifest else status.source)
    return drop.print_or_wait(uploaded, folder, emulator, wait=wait, out=out)


def _request(options: RerenderOptions, emulator: EmulatorState) -> str:
    """Request the re-render as on Google Cloud, and return its job."""
    logging.getLogger("defacer").addHandler(logging.NullHandler())  # errors are printed, not logged
    try:
        with use_emulator(emulator):
            return request_rerender(options.job, options.decisions)
    except PermanentError as error:
        raise EmulatorError(str(error)) from error
    except RetryableError as error:
        raise EmulatorError(
            f"The re-render was not requested: {error}. Run the same command again."
        ) from error
    except GoogleAPICallError as error:
        raise EmulatorError(
            f"The re-render was not requested: {error}. Run the same command again."
        ) from error


def _read_report(status: JobStatus, reader: JobReader) -> JobReport:
    if status.manifest is None or status.published is None or status.published.result is None:
        raise EmulatorError(
            f"Job {status.job} is not published, so it has no report with tracks. Choose a published job."
        )
    return reader.read_report(status.manifest)
