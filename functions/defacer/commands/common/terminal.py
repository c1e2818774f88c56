"""Progress on standard error: live bars on a terminal, plain lines in a file or a pipe. Rich honors NO_COLOR."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from defacer.plurals import percent, printable

MEGABYTE = 1_000_000


def _plain_column(template: str) -> TextColumn:
    """Return a column whose text can contain brackets."""
    return TextColumn(template, markup=False)


def printable_lines(text: str) -> str:
    """Replace unprintable characters in a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


class Terminal:
    """Standard error, for progress and hints; with a verbosity below 0, for neither. Results go to standard output."""

    def __init__(self, verbosity: int = 0) -> None:
        self._console = Console(
            stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True, quiet=verbosity < 0
        )

    def print_line(self, line: str, style: str | None = None) -> None:
        """Print a line, above the bars if some are shown."""
        self._console.print(printable_lines(line), style=style)

    @contextmanager
    def open_with_progress(self, path: Path, description: str) -> Iterator[BinaryIO]:
        """Open a file to be read from start to end, and show a progress bar."""
        size, description = path.stat().st_size, printable(description)
        if not self._console.is_terminal:
            self.print_line(f"{description} ({size / MEGABYTE:.1f} MB)")
            with path.open("rb") as file:
                yield file
            return
        columns = (_plain_column("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with (
            self._show(*columns) as bars,
            bars.open(path, "rb", total=size, description=description) as file,
        ):
            yield file

    @contextmanager
    def show_stages(self, stage: str) -> Iterator["StageProgress"]:
        """Show the progress of work that has several stages."""
        columns = (
            SpinnerColumn(),
            _plain_column("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            _plain_column("{task.fields[left]}"),
        )
        with self._show(*columns) as bars:
            yield StageProgress(self, bars, stage)

    @contextmanager
    def show_files(self, count: int) -> Iterator["FileProgress"]:
        """Show the progress of `count` files."""
        columns = (
            _plain_column("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            _plain_column("{task.fields[count]}"),
            _plain_column("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with self._show(*columns) as bars:
            yield FileProgress(self, bars, count)

    def _show(self, *columns: ProgressColumn) -> Progress:
        return Progress(
            *columns,
            console=self._console,
            disable=self._console.quiet or not self._console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),  # results that go to a file or a pipe stay there
        )


class StageProgress:
    """A progress bar with the current stage. Without a terminal, each new stage is printed on a line."""

    def __init__(self, terminal: Terminal, bars: Progress, stage: str):
        self._terminal = terminal
        self._bars = bars
        self._task = bars.add_task(stage, total=None, left="")
        self._shown: tuple[str, float | None] | None = None

    def update(self, stage: str, share: float | None = None, left: str = "") -> bool:
        """Show the stage, the finished share and the remaining time. Return whether stage or share changed."""
        total = None if share is None else 1.0
        self._bars.update(self._task, description=stage, completed=share or 0, total=total, left=left)
        if (stage, share) == self._shown:
            return False
        self._shown = (stage, share)
        if self._bars.disable:
            self._terminal.print_line(stage if share is None else f"{stage}, {percent(share)} done")
        return True


class FileProgress:
    """The progress of several files, each with stages of some frames."""

    def __init__(self, terminal: Terminal, bars: Progress, count: int):
        self._terminal = terminal
        self._bars = bars
        self._count = count
        self._done = 0
        self._stage: tuple[str, str] | None = None
        self._files: TaskID | None = None
        self._frames: TaskID | None = None
        if count > 1:
            self._files = bars.add_task("files", total=count, count=f"0 of {count} files", rate="")

    def show(self, file: str, stage: str, done: int, total: int | None) -> None:
        """Show how far a stage of a file is. Without a terminal, print one line for each stage.

        A stage without any number of frames moves its bar back and forth.
        """
        if (file, stage) != self._stage:
            self._stage = (file, stage)
            description = f"{printable(file)}: {stage}"
            if self._frames is not None:
                self._bars.remove_task(self._frames)
            self._frames = self._bars.add_task(description, total=total, count="", rate="")
            if self._bars.disable:
                self._terminal.print_line(description)
        elapsed = self._bars.tasks[-1].elapsed
        if self._frames is not None and done and elapsed:
            self._bars.update(
                self._frames,
                completed=done,
                total=total,
                count=f"{done} frames",
                rate=f"{done / elapsed:.0f} fps",
            )

    def end_file(self) -> None:
        """Count a file as finished."""
        if self._files is not None:
            self._done += 1
            self._bars.update(self._files, completed=self._done, count=f"{self._done} of {self._count} files")
