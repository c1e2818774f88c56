"""Which videos `defacer run` reads, and where each result goes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from defacer.by_products import is_beside_videos
from defacer.commands.common.exit_codes import UsageError
from defacer.commands.common.result_files import report_beside
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

    @property
    def outputs(self) -> list[Path]:
        return [self.out] if self.report is None else [self.out, self.report]

    def is_up_to_date(self) -> bool:
        """Return whether all outputs were written after the video."""
        changed = self.video.stat().st_mtime_ns if self.video.is_file() else 0
        return all(path.is_file() and path.stat().st_mtime_ns >= changed for path in self.outputs)


@dataclass(frozen=True)
class FilePlan:
    """The files to process, those that need no work, the folders to create, and the files that are ignored."""

    to_do: list[LocalFile]
    done: list[LocalFile]
    new_folders: frozenset[Path]
    ignored: list[Path]

    @contextmanager
    def created_folders(self) -> Iterator[None]:
        """Create the new folders. Remove those that are empty after the block."""
        for folder in self.new_folders:
            folder.mkdir()
        try:
            yield
        finally:
            for folder in self.new_folders:
                with suppress(OSError):  # it is not empty
                    folder.rmdir()


def plan_files(
    inputs: Sequence[Path],
    out: Path | None,
    report: Path | None,
    others: Sequence[Path],
    *,
    force: bool,
    skip_existing: bool,
) -> FilePlan:
    """Plan the files to process. A folder stands for the videos in it.

    `out` and `report` are files for one video, and folders for several. With `skip_existing`, a video whose outputs are
    newer than it is done. `others` are further inputs, which no result replaces. Raises UsageError or ArgumentError,
    and writes nothing.
    """
    ignored: list[Path] = []
    videos = [video for path in inputs for video in _videos_of(path, ignored)]
    several = len(videos) > 1 or any(path.is_dir() for path in inputs)
    named = [(path, option) for path, option in ((out, "-o"), (report, "--report")) if path is not None]
    if several:
        for path, option in named:
            _require_folder(path, option)
    files = [_outputs_of(video, out, report, several=several) for video in videos]
    new = frozenset(path for path, _ in named if several and not path.exists())
    done = [file for file in files if skip_existing and not force and file.is_up_to_date()]
    option = "--skip-existing to keep it, or --force" if several and not skip_existing else "--force"
    for file in files:
        check_files([file.video], file.outputs, force=force or file in done, option=option, new_folders=new)
    every = [path for file in files for path in file.outputs]
    check_outputs(every, [*videos, *others], force=True, new_folders=new)
    return FilePlan([file for file in files if file not in done], done, new, ignored)


def _videos_of(path: Path, ignored: list[Path]) -> Iterator[Path]:
    """Yield a file, or the videos in a folder without results of earlier runs. Add all other files to `ignored`."""
    if not path.is_dir():
        yield path
        return
    files = [file for file in sorted(path.iterdir()) if file.is_file()]
    found = [file for file in files if _is_video(file)]
    if not found:
        raise UsageError(f"The folder {path} has no video. Name a video, or another folder.")
    ignored += [file for file in files if file not in found and ".defaced." not in file.name]
    yield from found


def _is_video(file: Path) -> bool:
    """Return whether a file in a folder is a video, by its name: not a by-product, an empty file or a result."""
    return (
        file.suffix.lower() in VIDEO_SUFFIXES
        and not file.name.startswith(".")
        and not file.stem.endswith(".defaced")
        and not is_beside_videos(file.name)
        and file.stat().st_size > 0
    )


def _require_folder(path: Path, option: str) -> None:
    if path.is_dir():
        return
    if path.exists() or path.suffix.lower() in VIDEO_SUFFIXES | {".jsonl"}:
        is_a = "is" if path.exists() else "names"
        raise UsageError(f"{option} {path} {is_a} a file. For several videos, name a folder.")
    if not path.parent.is_dir():
        raise UsageError(
            f"{option} {path} can't be created, because {path.parent} does not exist. Create it first."
        )


def _outputs_of(video: Path, out: Path | None, report: Path | None, *, several: bool) -> LocalFile:
    """Name the outputs of a video. A report in a folder is named as in the output bucket."""
    result = default_out(video)
    if out is not None:
        result = out / result.name if several or out.is_dir() else out
    if report is not None and (several or report.is_dir()):
        report /= report_beside(result).name
    return LocalFile(video, result, report)
