"""Print the result of a local file: lines for people, or one JSON object a line for programs."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from defacer.commands.common.exit_codes import sentence_of
from defacer.commands.files.local_files import LocalFile
from defacer.commands.track_table import describe_copied, name_person, result_as_json
from defacer.engine.file_report import Report
from defacer.plurals import pluralize, printable
from defacer.program import program, quote_words
from defacer.report.changes import describe_changes
from defacer.report.texts import ADVICE, CHECK_OFF

MAX_NAMED = 10  # ignored files in one line


def print_result(file: LocalFile, report: Report, *, json_output: bool) -> None:
    """Print a summary of a written video to standard output."""
    if json_output:
        print(json.dumps({**_names(file), **result_as_json(report, report.checked)}), flush=True)
    else:
        print(*_lines(file.out, report), sep="\n", flush=True)


def print_skipped(file: LocalFile, *, json_output: bool) -> None:
    """Print that a video has a current result, which stays."""
    if json_output:
        print(json.dumps({**_names(file), "skipped": True}), flush=True)
    else:
        print(f"skipped, {printable(str(file.out))} exists; --force writes it again", flush=True)


def ignored_line(files: Sequence[Path]) -> str:
    """Return a line that names the first files of folders that are not videos."""
    names = ", ".join(printable(str(file)) for file in files[:MAX_NAMED])
    more = f" and {pluralize(len(files) - MAX_NAMED, 'more file')}" if len(files) > MAX_NAMED else ""
    return f"ignored, because they are not videos: {names}{more}"


def print_failure(video: Path, error: Exception, *, json_output: bool) -> None:
    """Print why a video was not written: to standard error, and as JSON to standard output."""
    sentence = sentence_of(error)
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    if json_output:
        print(json.dumps({"video": str(video), "error": sentence}), flush=True)


def _names(file: LocalFile) -> dict[str, str | None]:
    report = None if file.report is None else str(file.report)
    return {"video": str(file.video), "result": str(file.out), "report": report}


@contextmanager
def name_interrupted_files(file: LocalFile, print_line: Callable[[str], None]) -> Iterator[None]:
    """After Ctrl-C in the block, print which outputs were written. After another error, if any of them was."""
    before = {path: _version(path) for path in (file.out, file.report) if path is not None}
    try:
        yield
    except BaseException as error:
        written = {path: _version(path) != version for path, version in before.items()}
        if isinstance(error, KeyboardInterrupt) or any(written.values()):
            for path, is_written in written.items():
                print_line(f"{printable(str(path))} was {'' if is_written else 'not '}written.")
        raise


def _version(path: Path) -> tuple[int, int] | None:
    """Return what differs after a file was replaced. None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def warning_lines(file: LocalFile, report: Report) -> Iterator[str]:
    """Yield a sentence for each likely problem with a target picture, with what to do."""
    for warning in report.warnings:
        manual = ""
        if warning.track is not None:
            words = ("render", file.video, file.report or "REPORT", "OUT", "--keep", warning.track)
            command = printable(f"{program()} {quote_words(words)}")
            add = "" if file.report else " (add --report REPORT to this command first)"
            manual = f" Or decide manually: {command}{add}."
        yield f"{warning.message} {ADVICE[warning.code]}{manual}"


def correction_hint(file: LocalFile) -> str:
    """Return how to change a decision in the result of this file."""
    if file.report is None:
        return "To be able to change a decision later, add --report FILE|DIR."
    listing = f"{program()} {quote_words(('tracks', file.report))}"
    change = f"{program()} {quote_words(('render', file.video, file.report, 'OUT.mp4'))}"
    return printable(f"To change a decision: {listing}, then {change} --hide TRACK --keep TRACK")


def _lines(out: Path, report: Report) -> Iterator[str]:
    tracks = report.tracks
    kept = [track for track in tracks if track.is_kept_face]
    hidden = sum(track.decision == "hide" for track in tracks)
    removed = len(tracks) - len(kept) - hidden
    masks = f", {pluralize(removed, 'mask')} removed" if removed else ""
    people = ", ".join(sorted({name_person(track) for track in kept})) or "no one"
    yield (
        f"{printable(str(out))}: {pluralize(report.faces.frames, 'frame')}, {pluralize(len(tracks), 'track')}: "
        f"{len(kept)} kept ({people}), {hidden} hidden{masks}"
    )
    if report.checked is None:
        yield CHECK_OFF
    else:
        found = report.checked["tracks"]
        numbers = ", ".join(map(str, found))
        outcome = (
            f"{pluralize(len(found), 'face')} found and hidden (track {numbers})"
            if found
            else "no other face to hide"
        )
        yield f"check: {pluralize(report.checked['frames'], 'frame')} of the result sampled, {outcome}"
    if report.black_frames:
        frames = pluralize(report.black_frames, "frame")
        yield f"black: {frames} that could not be decoded, or that depend on such frames"
    if report.options.copy_untouched:
        yield f"copied: {describe_copied(report.copied_frames, report.faces.frames)}"
    yield from map(printable, describe_changes(report.changes))
