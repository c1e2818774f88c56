"""Progress on standard error: live bars on a terminal, plain lines in a file or a pipe."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from defacer.plurals import percent, printable

MEGABYTE = 1_000_000


def printable_lines(text: str) -> str:
    """Replace unprintable characters in a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


class Terminal:
    """Standard error, for progress and hints; with a verbosity below 0, for neither. Results go to standard output."""

    def __init__(self, verbosity: int = 0) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=verbosity < 0)

    def print_line(self, line: str) -> None:
        self._console.print(printable_lines(line), markup=False)

    @contextmanager
    def open_with_progress(self, path: Path, description: str) -> Iterator[BinaryIO]:
        """Open a file to be read from start to end, and show a progress bar."""
        size, description = path.stat().st_size, printable(description)
        if not self._console.is_terminal:
            self.print_line(f"{description} ({size / MEGABYTE:.1f} MB)")
            with path.open("rb") as file:
                yield file
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with (
            Progress(*columns, console=self._console) as progress,
            progress.open(path, "rb", total=size, description=escape(description)) as file,
        ):
            yield file

    @contextmanager
    def show_progress(self, stage: str) -> Iterator["StageProgress"]:
        """Show the progress of work that has several stages."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            yield StageProgress(self, progress, stage)


class StageProgress:
    """A progress bar with the current stage. Without a terminal, each new stage is printed on a line."""

    def __init__(self, terminal: Terminal, progress: Progress, stage: str):
        self._terminal = terminal
        self._progress = progress
        self._task = progress.add_task(stage, total=None, left="")
        self._shown: tuple[str, float | None] | None = None

    def update(self, stage: str, share: float | None = None, left: str = "") -> bool:
        """Show the stage, the finished share and the remaining time. Return whether stage or share changed."""
        total = None if share is None else 1.0
        self._progress.update(self._task, description=stage, completed=share or 0, total=total, left=left)
        if (stage, share) == self._shown:
            return False
        self._shown = (stage, share)
        if self._progress.disable:
            self._terminal.print_line(stage if share is None else f"{stage}, {percent(share)} done")
        return True

    def print_hint(self, line: str) -> None:
        """Print a line above the bar."""
        if self._progress.disable:
            self._terminal.print_line(line)
        else:
            self._progress.console.print(printable_lines(line), markup=False)
