"""Ask on a terminal which of several faces stays visible."""

import sys

import typer

from defacer.engine.tracking.frame_faces import Ask, FrameFaces


def ask_on_terminal() -> Ask | None:
    """Return how to ask for a face of `--keep-at`, or None without a terminal."""
    return _ask if sys.stdin.isatty() and sys.stderr.isatty() else None


def _ask(found: FrameFaces) -> int:
    """Ask which of the listed faces stays visible, until the answer is the number of one."""
    title = "Several faces are visible at this time, from left to right:"
    typer.echo("\n".join((title, *found.lines())), err=True)
    while True:
        number = int(typer.prompt("Number of the person to keep", type=int, err=True))
        if 1 <= number <= len(found.faces):
            return number
        typer.echo(f"Enter a number from 1 to {len(found.faces)}.", err=True)
