"""The command line of the engine: hide the faces in one video file, or re-render it with other decisions.

python -m defacer.engine IN.mp4 OUT.mp4 --target ME.jpg --report IN.jsonl
python -m defacer.engine rerender IN.mp4 IN.jsonl OUT.mp4 --keep 3
"""

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from defacer.engine.errors import CheckError, EngineError, VideoError
from defacer.engine.media.joiner import fingerprint_of
from defacer.engine.media.reader import Segment, probe
from defacer.engine.models import weights
from defacer.engine.options import MODES, VERIFY_LEVELS, Options
from defacer.engine.output_paths import OutputPathError, check_outputs
from defacer.engine.recognition import recognition_levels
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer.engine.rendering.render_file import Rendered, render
from defacer.engine.runtime import torch_package
from defacer.engine.tracking.face_report import read_faces_between
from defacer.engine.tracking.linking import link_faces
from defacer.engine.tracking.report_edit import Decision, with_decisions
from defacer.engine.verification.release_gate import Checked
from defacer.plurals import pluralize, resemblance
from defacer.report.faces import Faces, dump_head
from defacer.report.json_lines import ReportError, dump_track, join_report, split_report
from defacer.report.texts import ADVICE, describe_decision
from defacer.report.tracks import VERSION

EXAMPLES = """examples:
  python -m defacer.engine street.mp4 safe.mp4                         hide everyone
  python -m defacer.engine vlog.mp4 safe.mp4 --target me.jpg           hide everyone but me
  python -m defacer.engine vlog.mp4 safe.mp4 --target me.jpg --target friend.png --mode pixelate
  python -m defacer.engine vlog.mp4 safe.mp4 --mode image --replacement smiley.png
  python -m defacer.engine vlog.mp4 safe.mp4 --target me.jpg --report vlog.jsonl
  python -m defacer.engine rerender vlog.mp4 vlog.jsonl safe.mp4 --hide 4       change a decision
"""
RERENDER_EXAMPLES = """examples:
  python -m defacer.engine rerender vlog.mp4 vlog.jsonl safe.mp4 --hide 4 --keep 7
  python -m defacer.engine rerender vlog.mp4 vlog.jsonl safe.mp4 --mode pixelate
"""
BLACK = "#000000"


def main() -> int:
    """Run the command. Return the exit code: 0 success, 1 failure, 2 wrong arguments, 130 interrupted."""
    words = sys.argv[1:]
    again = words[:1] == ["rerender"]
    arguments = _rerender_parser().parse_args(words[1:]) if again else _parser().parse_args(words)
    console = Console(stderr=True)
    # Clean up after a termination, or when the terminal is closed, as after Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        _check_paths(arguments)
        _rerender(arguments, console) if again else _run(arguments, console)
    except ArgumentError as error_:
        console.print(f"error: {error_}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2
    except OSError as error:
        console.print(
            f"error: {error.filename or ''}: {error.strerror}.",
            style="red",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return 1
    except EngineError as error:
        name = f"{arguments.video}: " if isinstance(error, VideoError) else ""
        console.print(f"error: {name}{error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print(f"stopped; {arguments.out} was not written.", highlight=False, soft_wrap=True)
        return 130
    return 0


class ArgumentError(Exception):
    """An argument is wrong, or names a file that does not exist or can't be used."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m defacer.engine",
        description="Hide every face in a video except those of the people in the target pictures.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    parser.add_argument("--mode", choices=MODES, default="blur", help="how a face is hidden (default blur)")
    parser.add_argument(
        "--strength", type=float, default=1.0, help="1 to 3: how much coarser than usual (default 1)"
    )
    parser.add_argument("--color", default=BLACK, metavar="#RRGGBB", help="for --mode solid (black)")
    parser.add_argument("--replacement", type=Path, metavar="PNG", help="the picture for --mode image")
    parser.add_argument(
        "--detector",
        choices=["centerface", "mtcnn"],
        default="centerface",
        help="what finds faces (default centerface)",
    )
    parser.add_argument(
        "--recognizer",
        choices=list(recognition_levels.MEASURED),
        help="which model recognises people (default: sface)",
    )
    parser.add_argument(
        "--recognition",
        choices=recognition_levels.LEVELS,
        help=f"how much a face must look like a target to stay (default: balanced). Measured: {_rates()}",
    )
    parser.add_argument(
        "--match-threshold",
        type=float,
        metavar="D",
        help="for experts, instead of --recognition: the largest distance that matches a target; needs --recognizer",
    )
    parser.add_argument(
        "--quality", type=int, default=18, help="x264's rate factor, 0 lossless to 40 poor (default 18)"
    )
    parser.add_argument(
        "--on-decode-error",
        choices=["refuse", "hide"],
        default="refuse",
        help="frames that can't be decoded: refuse the video, or make them black (default refuse)",
    )
    parser.add_argument(
        "--verify",
        choices=VERIFY_LEVELS,
        default="standard",
        help="check the result with a second detector: not at all, in five frames a second (default), or in every "
        "frame",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="JSONL",
        help="also write a report with the decisions and their reasons",
    )
    _add_force(parser)
    return parser


def _rates() -> str:
    levels = recognition_levels.MEASURED["sface"].levels.items()
    return "; ".join(
        f"{name} keeps {recognition_levels.strangers_at('sface', level.match) or 'fewer than 1'} in "
        "10,000 strangers and "
        f"{level.kept} %% of the targets' tracks"
        for name, level in levels
    )


def _rerender_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m defacer.engine rerender",
        description="Re-render a video from its report with other decisions. The detector does not run again.",
        epilog=RERENDER_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("video", type=Path, metavar="IN", help="the video that the report is about")
    parser.add_argument(
        "report", type=Path, metavar="REPORT", help="a report that --report wrote, or a job's report"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="the MP4 to write")
    for wish in ("hide", "keep"):
        parser.add_argument(
            f"--{wish}",
            type=int,
            action="append",
            default=[],
            metavar="TRACK",
            help=f"{wish} the track of this id; repeat it for several tracks",
        )
    parser.add_argument("--mode", choices=MODES, help="how a face is hidden (default: as the report says)")
    parser.add_argument("--strength", type=float, help="1 to 3 (default: as the report says)")
    parser.add_argument("--color", metavar="#RRGGBB", help="for --mode solid (default: as the report says)")
    parser.add_argument("--replacement", type=Path, metavar="PNG", help="the picture for --mode image")
    parser.add_argument(
        "--quality", type=int, help="x264's rate factor, 0 to 40 (default: as the report says)"
    )
    parser.add_argument(
        "--verify",
        choices=VERIFY_LEVELS,
        help="how the result is checked with a second detector (default: as the report says)",
    )
    parser.add_argument("--write-report", type=Path, metavar="JSONL", help="also write the new report")
    _add_force(parser)
    parser.set_defaults(target=[], recognition=None, match_threshold=None)
    return parser


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="replace OUT and the report if they exist")


def _check_paths(arguments: argparse.Namespace) -> None:
    again = "keep" in arguments
    reads = [arguments.video, *arguments.target, arguments.replacement, arguments.report if again else None]
    report = arguments.write_report if again else arguments.report
    writes = [arguments.out, *filter(None, [report])]
    for path in filter(None, reads):
        if not path.is_file():
            raise ArgumentError(f"{path} does not exist. Name an existing file.")
    try:
        check_outputs(writes, filter(None, reads), force=arguments.force)
    except OutputPathError as error:
        raise ArgumentError(str(error)) from error
    if arguments.out.suffix.lower() != ".mp4":
        name = arguments.out.with_suffix(".mp4")
        raise ArgumentError(f"the output is an MP4. Name it {name}, not {arguments.out.name}.")
    if arguments.color and arguments.color != BLACK and arguments.mode not in (None, "solid"):
        raise ArgumentError(
            f"--color {arguments.color} is for --mode solid, not {arguments.mode}. Remove it, or change the mode."
        )
    for name in ("recognition", "match_threshold"):
        if getattr(arguments, name) is not None and not arguments.target:
            option = name.replace("_", "-")
            raise ArgumentError(f"--{option} decides which faces match a --target: add --target PICTURE.")
    if arguments.match_threshold is not None:
        _check_distance(arguments.match_threshold, arguments.recognizer, arguments.recognition)
    _check_options(arguments)


def _check_distance(distance: float, recognizer: str | None, recognition: str | None) -> None:
    if recognition is not None:
        raise ArgumentError(f"--match-threshold and --recognition {recognition} are both given: remove one.")
    if recognizer is None:
        raise ArgumentError(
            f"--match-threshold {distance:g} is given without --recognizer. Name the recogniser that the distance was "
            "measured for, such as --recognizer sface."
        )
    largest = recognition_levels.calibration_of(recognizer).max_match_threshold
    if not 0 < distance <= largest:
        raise ArgumentError(
            f"--match-threshold {distance:g} is out of range. For {recognizer} it is above 0 and at most {largest:g}, "
            "so that at most 1 stranger in 1,000 is kept."
        )


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.mode == "image" and not arguments.replacement:
        raise ArgumentError("--mode image needs a picture: add --replacement PICTURE.png.")
    if arguments.strength is not None and not 1 <= arguments.strength <= 3:
        raise ArgumentError(f"--strength {arguments.strength} is out of range. Use a value from 1 to 3.")
    if arguments.quality is not None and not 0 <= arguments.quality <= 40:
        raise ArgumentError(f"--quality {arguments.quality} is out of range. Use a value from 0 to 40.")
    digits = (arguments.color or "#000000").removeprefix("#")
    if len(digits) != 6 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise ArgumentError(f"--color {arguments.color} is not a colour. Write it like #1a2b3c.")


def _run(arguments: argparse.Namespace, console: Console) -> None:
    if arguments.detector == "mtcnn":
        torch_package.require("--detector mtcnn", instead="centerface")
    if arguments.recognizer == "facenet-vggface2":
        torch_package.require("--recognizer facenet-vggface2", instead="sface")
    options = _given(Options(), arguments)
    if options.match_threshold is not None:
        options = dataclasses.replace(options, recognition=None)
    faces = _find(arguments, options, console)  # frees the models before the video is written
    rendered = _write_video(arguments, faces, options, console)
    if arguments.report:
        _print_tracks(rendered.faces)
        _write_report(arguments.report, options, rendered)


def _write_report(path: Path, options: Options, rendered: Rendered) -> None:
    checked = rendered.checked
    head = {
        "version": VERSION,
        "black_frames": rendered.black_frames,
        "policy": dataclasses.asdict(options),
        "fingerprint": rendered.joined.fingerprint,
        "dropped": rendered.joined.dropped,
        "checked": checked and checked.to_json(),
        "faces": json.loads(dump_head(rendered.faces.head)),
    }
    path.write_bytes(join_report(json.dumps(head).encode(), map(dump_track, rendered.faces.tracks)))


def _find(arguments: argparse.Namespace, options: Options, console: Console) -> Faces:
    frames = _frame_count(arguments.video)
    weights.fetch_all(progress=lambda line: console.print(f"{line} ..."))
    # Imported here, because it loads the models, and the arguments are valid now.
    from defacer.engine.engine import Engine

    engine = Engine()
    gallery: Gallery | None = None
    if arguments.target:
        pictures = [Picture(path.stem, str(path), path.read_bytes()) for path in arguments.target]
        gallery = engine.gallery(pictures, options.recognizer)
        for warning in gallery.warnings:
            _warn(f"{warning.message} {ADVICE[warning.code]}", console)
    with _frame_bar(console, "detecting faces", frames) as bar:
        findings = engine.detect_subsegments(Segment(str(arguments.video)), gallery, options, bar)
        faces = link_faces(findings, gallery, options)
    for warning in faces.warnings:
        if gallery is None or warning not in gallery.warnings:
            by_hand = ""
            if warning.track is not None:
                report = arguments.report or "REPORT"
                by_hand = (
                    " Or keep a track by hand: python -m defacer.engine rerender "
                    f"{arguments.video} {report} OUT --keep {warning.track}"
                )
                by_hand += "." if arguments.report else " (add --report REPORT to this command first)."
            _warn(f"{warning.message} {ADVICE[warning.code]}{by_hand}", console)
    return faces


def _warn(text: str, console: Console) -> None:
    console.print(f"warning: {text}", style="yellow", highlight=False, markup=False, soft_wrap=True)


def _rerender(arguments: argparse.Namespace, console: Console) -> None:
    try:
        head_line, lines = split_report(arguments.report.read_bytes())
        head = json.loads(head_line)
        document = join_report(json.dumps(head["faces"]).encode(), lines)
        fingerprint = str(head["fingerprint"])
        options = _recorded_options(head["policy"])
        read_faces_between(document)
    except (EngineError, ReportError) as error:
        raise ArgumentError(f"{arguments.report} can't be used as a report: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArgumentError(
            f"{arguments.report} can't be used as a report: --report did not write it ({type(error).__name__}). "
            "Name another file."
        ) from error
    both = set(arguments.hide) & set(arguments.keep)
    if both:
        raise ArgumentError(f"track {min(both)} can't be hidden and kept at once. Remove one of the options.")
    options = _given(options, arguments)
    if options.mode == "image" and not arguments.replacement:
        raise ArgumentError("the report says mode image: add --replacement PICTURE.png, or another --mode.")
    _check_options(
        argparse.Namespace(**{**dataclasses.asdict(options), "replacement": arguments.replacement})
    )
    if fingerprint_of(str(arguments.video)) != fingerprint:
        raise CheckError(
            f"{arguments.video} is not the video that {arguments.report} is about. Name the original video."
        )
    decisions: dict[int, Decision] = {
        **dict.fromkeys(arguments.hide, "hide"),
        **dict.fromkeys(arguments.keep, "keep"),
    }
    faces = read_faces_between(with_decisions(document, decisions, None).document)
    rendered = _write_video(arguments, faces, options, console)
    if arguments.write_report:
        _write_report(arguments.write_report, options, rendered)


def _given(options: Options, arguments: argparse.Namespace) -> Options:
    """Return `options` with the values that are set on the command line."""
    given = {field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(Options)}
    return dataclasses.replace(options, **{name: value for name, value in given.items() if value is not None})


def _recorded_options(policy: dict[str, Any]) -> Options:
    """Return the options in a report. A job's policy has more fields, which the engine ignores."""
    options = Options(**{field.name: policy[field.name] for field in dataclasses.fields(Options)})
    if options.mode not in MODES or options.verify not in VERIFY_LEVELS:
        raise ValueError(f"unknown mode {options.mode!r} or check {options.verify!r}")
    recognition_levels.calibration_of(options.recognizer)
    return options


def _write_video(arguments: argparse.Namespace, faces: Faces, options: Options, console: Console) -> Rendered:
    """Redact the video, check it, join it with the sound of the source, and print a summary.

    The output file appears when it is complete.
    """
    replacement = arguments.replacement.read_bytes() if arguments.replacement else None
    if options.verify != "off":
        weights.yunet()
    with _frame_bar(console, "redacting faces", faces.frames) as bar:
        rendered = render(str(arguments.video), faces, options, replacement, arguments.out, bar)
    faces, joined, black_frames = rendered.faces, rendered.joined, rendered.black_frames
    kept = [track for track in faces.tracks if track.decision == "keep"]
    people = ", ".join(sorted({track.person or "by hand" for track in kept})) or "no one"
    print(
        f"{arguments.out}: {pluralize(faces.frames, 'frame')}, {pluralize(len(faces.tracks), 'track')}: "
        f"{len(kept)} kept ({people}), {len(faces.tracks) - len(kept)} hidden"
    )
    if rendered.checked:
        print(_describe_check(rendered.checked))
    if black_frames:
        print(
            f"black: {pluralize(black_frames, 'frame')} that could not be decoded, or that depend on such frames"
        )
    if joined.dropped:
        print(f"left out, because they can identify a person or a place: {', '.join(joined.dropped)}")
    return rendered


def _describe_check(checked: Checked) -> str:
    found = ", ".join(str(track.id) for track in checked.tracks)
    what = (
        f"{pluralize(len(checked.tracks), 'face')} found and hidden (track {found})"
        if found
        else "no visible face found"
    )
    return f"check: {pluralize(checked.frames, 'frame')} of the result sampled, {what}"


def _print_tracks(faces: Faces) -> None:
    """Print one line for each track. Its number is an argument of `rerender`."""
    base = Fraction(faces.time_base)
    for track in faces.tracks:
        start, end = (float(pts * base) for pts in (track.start, track.end))
        done = f"kept ({track.person})" if track.decision == "keep" else "hidden"
        alike = resemblance(track.distance, track.strangers_per_10000)
        alike = f" ({alike})" if alike else ""
        x1, y1, x2, y2 = (round(side) for side in track.detections[0].box)
        print(
            f"track {track.id}: {start:.2f} to {end:.2f} s, first at {x1},{y1} to {x2},{y2}: {done}, "
            f"{describe_decision(track)}{alike}"
        )


def _frame_count(video: Path) -> int | None:
    info = probe(str(video))
    return round((info.duration_seconds or 0) * (info.frame_rate or 0)) or None


@contextmanager
def _frame_bar(console: Console, what: str, frames: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar. Yield a function that sets the number of processed frames."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed} frames"),
        TextColumn("{task.fields[rate]:.0f} fps"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task_id = progress.add_task(f"{what:17}", total=frames, rate=0.0)

        def update(done: int) -> None:
            task = progress.tasks[task_id]
            progress.update(task_id, completed=done, rate=done / task.elapsed if task.elapsed else 0.0)

        yield update
        progress.update(task_id, total=progress.tasks[task_id].completed)


if __name__ == "__main__":
    sys.exit(main())
