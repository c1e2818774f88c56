"""What a person sees while they wait: live bars on a terminal, plain lines in a file or a pipe."""

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
    """The same for a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


class Terminal:
    """Standard error: what happens goes there, what came of it goes to standard output."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        self._console.print(printable_lines(line), markup=False)

    @contextmanager
    def reading(self, path: Path, what: str) -> Iterator[BinaryIO]:
        """A file to be read from its beginning to its end, with a bar of how far that is."""
        size, what = path.stat().st_size, printable(what)
        if not self._console.is_terminal:
            self.say(f"{what} ({size / MEGABYTE:.1f} MB)")
            with path.open("rb") as file:
                yield file
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with (
            Progress(*columns, console=self._console) as progress,
            progress.open(path, "rb", total=size, description=escape(what)) as file,
        ):
            yield file

    @contextmanager
    def counting(self, what: str) -> Iterator["Counter"]:
        """Something that goes through stages, some of which can be counted."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            yield Counter(self, progress, what)


class Counter:
    """A bar that may change its description; without a terminal, each new description on a line."""

    def __init__(self, terminal: Terminal, progress: Progress, what: str):
        self._terminal = terminal
        self._progress = progress
        self._task = progress.add_task(what, total=None, left="")
        self._shown: tuple[str, float | None] | None = None

    def show(self, what: str, share: float | None = None, left: str = "") -> bool:
        """Show the current step, the share of all work that is done, and the time left. Return whether it moved."""
        total = None if share is None else 1.0
        self._progress.update(self._task, description=what, completed=share or 0, total=total, left=left)
        if (what, share) == self._shown:
            return False
        self._shown = (what, share)
        if self._progress.disable:
            self._terminal.say(what if share is None else f"{what}, {percent(share)} done")
        return True

    def hint(self, line: str) -> None:
        """Say something besides."""
        if self._progress.disable:
            self._terminal.say(line)
        else:
            self._progress.console.print(printable_lines(line), markup=False)
