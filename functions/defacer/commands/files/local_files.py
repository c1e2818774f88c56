"""Which videos `defacer run` reads, and where each result goes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from defacer.commands.common.exit_codes import UsageError
from defacer.engine.output_paths import check_outputs
from defacer.engine.redact_file import check_files, default_out

VIDEO_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("3gp", "avi", "flv", "m2ts", "m4v", "mkv", "mov", "mp4"),
        *("mpeg", "mpg", "mts", "mxf", "ogv", "ts", "webm", "wmv"),
    )
)


@dataclass(frozen=True)
class LocalFile:
    """A video, the path of its result, and the path of its report or None."""

    video: Path
    out: Path
    report: Path | None


def plan_files(
    inputs: Sequence[Path], out: Path | None, report: Path | None, others: Sequence[Path], *, force: bool
) -> list[LocalFile]:
    """Return the files to process. A folder stands for the videos in it.

    `out` and `report` are files for one video, and folders for several, which are created. `others` are further
    inputs, which no result replaces. Raises UsageError or ArgumentError before any file is written.
    """
    videos = [video for path in inputs for video in _videos_of(path)]
    several = len(videos) > 1 or any(path.is_dir() for path in inputs)
    if several:
        for path, option in ((out, "-o"), (report, "--report")):
            _require_folder(path, option)
            if path is not None:
                path.mkdir(exist_ok=True)
    files = [
        LocalFile(
            video,
            _in_folder(default_out(video), out) if out is None or several or out.is_dir() else out,
            _report_of(video, report, several=several),
        )
        for video in videos
    ]
    for file in files:
        check_files([file.video], [file.out], force=force)
    writes = [path for file in files for path in (file.out, file.report) if path is not None]
    check_outputs(writes, [*videos, *others], force=force)
    return files


def _videos_of(path: Path) -> Iterator[Path]:
    """Yield a file, or the videos in a folder without hidden files and results of earlier runs."""
    if not path.is_dir():
        yield path
        return
    found = [
        file
        for file in sorted(path.iterdir())
        if file.suffix.lower() in VIDEO_SUFFIXES
        and not file.name.startswith(".")
        and not file.stem.endswith(".defaced")
        and file.is_file()
    ]
    if not found:
        raise UsageError(f"The folder {path} has no video. Name a video, or another folder.")
    yield from found


def _require_folder(path: Path | None, option: str) -> None:
    if path is None or path.is_dir():
        return
    if path.exists():
        raise UsageError(f"{option} {path} is a file. For several videos, name a folder.")
    if not path.parent.is_dir():
        raise UsageError(
            f"{option} {path} can't be created, because {path.parent} does not exist. Create it first."
        )


def _in_folder(path: Path, folder: Path | None) -> Path:
    return path if folder is None else folder / path.name


def _report_of(video: Path, report: Path | None, *, several: bool) -> Path | None:
    if report is None or not (several or report.is_dir()):
        return report
    return report / f"{video.stem}.defaced.report.jsonl"
