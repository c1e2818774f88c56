"""Who stays visible: the target pictures and faces that `defacer run` names."""

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from defacer.commands.common.exit_codes import UsageError
from defacer.engine.engine import Engine
from defacer.engine.errors import ArgumentError, VideoError
from defacer.engine.models import weights
from defacer.engine.recognition.gallery import Picture, TargetFace
from defacer.engine.recognition.target_files import read_people, read_people_folder
from defacer.engine.tracking.frame_faces import choose_face, find_faces_at, parse_moment


def read_pictures(keep: Sequence[Path], keep_people: Path | None) -> list[Picture]:
    """Return the pictures of `--keep` and `--keep-people`, which exist."""
    if keep_people and not keep_people.is_dir():
        raise ArgumentError(f"{keep_people} is not a folder. Use --keep for a picture.")
    return [*read_people(keep), *(read_people_folder(keep_people) if keep_people else [])]


def choose_faces(videos: Sequence[Path], moments: Sequence[str], detector: str) -> list[TargetFace]:
    """Return the faces of `--keep-at`. Ask on a terminal if there are several at a time."""
    if not moments:
        return []
    if len(videos) > 1:
        raise UsageError("--keep-at names a time of one video, and several are given. Run each video alone.")
    (video,) = videos
    times = [parse_moment(text) for text in moments]
    weights.fetch_all(progress=lambda line: typer.echo(line, err=True))
    model = Engine().detector(detector)
    ask = _ask if sys.stdin.isatty() and sys.stderr.isatty() else None
    try:
        return [choose_face(time, find_faces_at(str(video), time.seconds, model), ask) for time in times]
    except VideoError as error:
        raise VideoError(f"{video}: {error}") from error


def _ask(lines: Sequence[str]) -> int:
    typer.echo("\n".join(lines), err=True)
    return int(typer.prompt("Which face stays visible", type=int, err=True))
