"""The target pictures and faces that `defacer run` names: the people that stay visible."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from defacer.commands.common.exit_codes import UsageError
from defacer.engine.engine import Engine
from defacer.engine.errors import VideoError
from defacer.engine.models import weights
from defacer.engine.recognition.gallery import TargetFace
from defacer.engine.tracking.frame_faces import (
    Ask,
    FrameFaces,
    Moment,
    choose_face,
    find_faces_at,
    parse_moment,
)


def choose_faces(
    videos: Sequence[Path], moments: Sequence[str], detector: str, say: Callable[[str], None]
) -> list[TargetFace]:
    """Return the faces of `--keep-at`. Ask on a terminal if the video shows several at a time."""
    if not moments:
        return []
    times = [parse_moment(text) for text in moments]
    if len(videos) != 1:
        raise UsageError(
            f"--keep-at {times[0]} is a time of one video, but {len(videos)} are given. Run each video alone."
        )
    (video,) = videos
    weights.fetch_all(progress=say)
    model = Engine().detector(detector)
    ask = _ask if sys.stdin.isatty() and sys.stderr.isatty() else None
    try:
        return [
            _choose(time, find_faces_at(str(video.absolute()), time.seconds, model), ask) for time in times
        ]
    except VideoError as error:
        raise VideoError(f"{video}: {error}") from error


def _choose(moment: Moment, found: FrameFaces, ask: Ask | None) -> TargetFace:
    """Choose a face, and print its place, so that the user detects a wrong choice."""
    target = choose_face(moment, found, ask)
    typer.echo(f"{target.label} is kept: {found.describe(target.face)}", err=True)
    return target


def _ask(found: FrameFaces) -> int:
    """Ask which of the listed faces stays visible, until the answer is the number of one."""
    title = "Several faces are visible at this time, from left to right:"
    typer.echo("\n".join((title, *found.lines())), err=True)
    while True:
        number = int(typer.prompt("Number of the person to keep", type=int, err=True))
        if 1 <= number <= len(found.faces):
            return number
        typer.echo(f"Enter a number from 1 to {len(found.faces)}.", err=True)
