"""Command line: hide the faces in one video file.

python -m functions.engine IN.mp4 OUT.mp4 --target ME.jpg
"""

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from functions.engine import weights
from functions.engine.errors import EngineError, VideoError
from functions.engine.gallery import Gallery, Picture
from functions.engine.join import SegmentFile, join
from functions.engine.video import probe

EXAMPLES = """examples:
  python -m functions.engine street.mp4 safe.mp4                         hide everyone
  python -m functions.engine vlog.mp4 safe.mp4 --target me.jpg           hide everyone but me
  python -m functions.engine vlog.mp4 safe.mp4 --target me.jpg --target friend.png --mode pixelate
  python -m functions.engine vlog.mp4 safe.mp4 --mode image --replacement smiley.png
"""


def main() -> int:
    """Run the command; give the exit code: 0 done, 1 the video can't be done, 2 bad arguments, 130 stopped."""
    arguments = _parser().parse_args()
    console = Console(stderr=True)
    # Ended from outside, or the terminal closed: clean up as after Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        _check_paths(arguments)
        _run(arguments, console)
    except ArgumentError as error_:
        console.print(f"error: {error_}", style="red", highlight=False, soft_wrap=True)
        return 2
    except OSError as error:
        console.print(
            f"error: {error.filename or ''}: {error.strerror}.", style="red", highlight=False, soft_wrap=True
        )
        return 1
    except EngineError as error:
        name = f"{arguments.video}: " if isinstance(error, VideoError) else ""
        console.print(f"error: {name}{error}", style="red", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print(f"stopped; {arguments.out} was not written.", highlight=False, soft_wrap=True)
        return 130
    return 0


class ArgumentError(Exception):
    """An argument names a file that is not there or can't be used."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m functions.engine",
        description="Hide every face in a video except those of the people in the target pictures.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("video", type=Path, metavar="IN", help="the video to read")
    parser.add_argument("out", type=Path, metavar="OUT", help="the MP4 to write")
    parser.add_argument(
        "--target",
        type=Path,
        action="append",
        default=[],
        metavar="PICTURE",
        help="a picture of a person who stays visible; may be given again (default: hide everyone)",
    )
    parser.add_argument("--mode", choices=["blur", "pixelate", "solid", "image"], default="blur")
    parser.add_argument(
        "--strength", type=float, default=1.0, help="1 to 3: how much coarser than usual (default 1)"
    )
    parser.add_argument("--color", default="#000000", metavar="#RRGGBB", help="for --mode solid (black)")
    parser.add_argument("--replacement", type=Path, metavar="PNG", help="the picture for --mode image")
    parser.add_argument("--detector", choices=["centerface", "mtcnn"], default="centerface")
    parser.add_argument("--recognizer", choices=["casia-webface", "vggface2"], default="casia-webface")
    parser.add_argument(
        "--keep-distance",
        type=float,
        metavar="D",
        help="how near to a target a face must be to stay, above 0 up to 2; smaller hides more (default: the model's)",
    )
    parser.add_argument(
        "--quality", type=int, default=18, help="x264's rate factor, 0 lossless to 40 poor (default 18)"
    )
    parser.add_argument("--report", type=Path, metavar="JSON", help="also write what was decided, and why")
    return parser


def _check_paths(arguments: argparse.Namespace) -> None:
    for path in [arguments.video, *arguments.target, *filter(None, [arguments.replacement])]:
        if not path.is_file():
            raise ArgumentError(f"there is no file {path}.")
    if arguments.mode == "image" and not arguments.replacement:
        raise ArgumentError("--mode image needs a picture: add --replacement PICTURE.png.")
    for path in filter(None, [arguments.out, arguments.report]):
        if path.is_dir():
            raise ArgumentError(f"{path} is a folder: name a file to write.")
        if not path.parent.is_dir():
            raise ArgumentError(f"there is no folder {path.parent} to write {path.name} into.")
        if path.exists() and path.samefile(arguments.video):
            raise ArgumentError(f"{path} is the video itself: write to another file.")
    if not 1 <= arguments.strength <= 3:
        raise ArgumentError(f"--strength {arguments.strength} is not between 1 and 3.")
    if not 0 <= arguments.quality <= 40:
        raise ArgumentError(f"--quality {arguments.quality} is not between 0 and 40.")
    if arguments.keep_distance is not None and not 0 < arguments.keep_distance <= 2:
        raise ArgumentError(f"--keep-distance {arguments.keep_distance} is not above 0 and up to 2.")
    digits = arguments.color.removeprefix("#")
    if len(digits) != 6 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise ArgumentError(f"--color {arguments.color} is not a colour like #1a2b3c.")


def _run(arguments: argparse.Namespace, console: Console) -> None:
    info = probe(str(arguments.video))
    weights.fetch_all(None, lambda line: console.print(f"{line} ..."))
    # Loads torch and the models: only once the arguments have proved good.
    from functions.engine.deface import Engine, Options, Segment

    engine = Engine()
    gallery: Gallery | None = None
    if arguments.target:
        pictures = [Picture(path.stem, str(path), path.read_bytes()) for path in arguments.target]
        gallery = engine.gallery(pictures, arguments.recognizer)
    options = Options(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Options)})
    replacement = arguments.replacement.read_bytes() if arguments.replacement else None
    frames = round((info.duration_seconds or 0) * (info.frame_rate or 0)) or None
    with tempfile.TemporaryDirectory(prefix="defacer-", dir=arguments.out.parent) as folder:
        segment, joined = Path(folder) / "segment.nut", Path(folder) / "joined.mp4"
        with _frame_bar(console, frames) as bar:
            result = engine.deface_segment(
                Segment(str(arguments.video)), str(segment), gallery, options, replacement, bar
            )
        join(str(arguments.video), [SegmentFile(str(segment), result.frames)], str(joined))
        joined.replace(arguments.out)
    kept = [track for track in result.tracks if track.decision == "keep"]
    people = ", ".join(sorted({track.person for track in kept if track.person})) or "nobody"
    print(
        f"{arguments.out}: {len(result.frames)} frames, {len(result.tracks)} tracks: "
        f"{len(kept)} kept ({people}), {len(result.tracks) - len(kept)} hidden"
    )
    if arguments.report:
        arguments.report.write_text(json.dumps(dataclasses.asdict(result), indent=1) + "\n")


@contextmanager
def _frame_bar(console: Console, frames: int | None) -> Iterator["FrameBar"]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[frames]} frames  {task.fields[rate]:.0f} fps"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield FrameBar(progress, frames)


class FrameBar:
    """A progress bar over the two passes of `deface_segment`."""

    def __init__(self, progress: Progress, frames: int | None):
        self._progress = progress
        total = frames * 2 if frames else None
        self._task = progress.add_task("hiding faces", total=total, frames="0", rate=0.0)
        self._frames = frames

    def __call__(self, done: int) -> None:
        task = self._progress.tasks[self._task]
        rate = done / 2 / task.elapsed if task.elapsed else 0.0
        of_all = f"/{self._frames}" if self._frames else ""
        self._progress.update(self._task, completed=done, frames=f"{done // 2}{of_all}", rate=rate)


if __name__ == "__main__":
    sys.exit(main())
