"""Progress on standard error: one live display on a terminal, and plain lines in a file or a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from defacer.plurals import printable


class FileProgress:
    """The progress of several files, each with stages of some frames. Use `show_progress`."""

    def __init__(self, console: Console, bars: Progress, count: int, *, quiet: bool):
        self._console = console
        self._bars = bars
        self._quiet = quiet
        self._stage: tuple[str, str] | None = None
        self._files: TaskID | None = None
        if count > 1:
            self._files = bars.add_task("files", total=count, unit=f"of {count} files", rate="")
        self._frames = bars.add_task("", total=None, unit="", rate="", visible=False)

    def show(self, file: str, stage: str, done: int, total: int | None) -> None:
        """Show how far a stage of a file is. Without a terminal, print one line for each stage."""
        if (file, stage) != self._stage:
            self._stage = (file, stage)
            name = printable(file)
            self._bars.reset(
                self._frames,
                total=total,
                description=f"{name}: {stage}",
                unit="frames",
                rate="",
                visible=True,
            )
            if self._bars.disable:
                self.print_line(f"{name}: {stage}")
        elapsed = self._bars.tasks[-1].elapsed
        self._bars.update(
            self._frames, completed=done, total=total, rate=f"{done / elapsed:.0f} fps" if elapsed else ""
        )

    def end_file(self) -> None:
        """Count a file as finished."""
        if self._files is not None:
            self._bars.advance(self._files)

    def print_line(self, line: str, style: str | None = None) -> None:
        """Print a line to standard error, above the display, unless the command is quiet."""
        if not self._quiet:
            self._console.print(line, style=style, markup=False)


@contextmanager
def show_progress(count: int, *, quiet: bool) -> Iterator[FileProgress]:
    """Show the progress of `count` files. Rich honours NO_COLOR."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed} {task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=console,
        disable=quiet or not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # results that go to a file or a pipe stay there
    ) as bars:
        yield FileProgress(console, bars, count, quiet=quiet)
