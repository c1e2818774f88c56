"""The options of `render` and `job rerender` that correct a report: drawn masks, new searches, imported tracks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defacer.commands.common.exit_codes import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from defacer.commands.common.terminal import Terminal
    from defacer.engine.manual_corrections import Corrections as Corrections  # for `job.py`
    from defacer.engine.media.clock.clocked_source import Source
    from defacer.report.edits import AddedTrack, Edits
    from defacer.report.faces import Faces
    from defacer.report.tracks import Decision

MaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        metavar="FROM-TO@X,Y,W,H",
        help="Hide a box from FROM to TO, such as 0:12-0:14.5@100,50,80,90. It follows the face inside it. "
        "Around several faces, it stays in its place and is marked to check. Add ;TIME@X,Y,W,H to correct it at a "
        "time. Without FROM-TO@, hide it in the whole video. Repeatable.",
    ),
]
MasksOption = Annotated[
    Path | None, typer.Option("--masks", metavar="FILE", help="A JSON file with many masks.")
]
NoFollowOption = Annotated[
    bool,
    typer.Option("--no-follow", help="Keep masks where they are drawn. They move only between corrections."),
]
LookAgainOption = Annotated[
    list[str] | None,
    typer.Option(
        "--look-again",
        metavar="FROM-TO",
        help="Search this time span again, and hide the faces that were missed. Repeatable.",
    ),
]


SplitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        metavar="TRACK@TIME",
        help="Split a track at a time, such as 4@0:12.5. The later part gets a number of its own, and is hidden unless "
        "--keep has this number. Repeatable.",
    ),
]
TracksOption = Annotated[
    Path | None,
    typer.Option(
        "--tracks",
        metavar="FILE",
        help="Import the tracks of a MOT, CVAT or COCO file that `defacer tracks --format` exported. New tracks are "
        "hidden, and a track that is missing in FILE stays.",
    ),
]
DecisionsOption = Annotated[
    Path | None,
    typer.Option(
        "--decisions", metavar="FILE", help='A JSON file with decisions by track: {"4": "keep", "7": "hide"}.'
    ),
]
AllowUncoverOption = Annotated[
    bool,
    typer.Option(
        "--allow-uncover",
        help="Let --tracks shrink the boxes of hidden tracks and enlarge those of kept ones. They are listed first.",
    ),
]


def read_decisions(file: Path | None, keep: "Collection[int]", hide: "Collection[int]") -> "Edits":
    """Return the decisions of a JSON file, and those of --keep and --hide, which count more.

    Raise UsageError for any other file, and for a track that is kept and hidden.
    """
    from defacer.report.edits import Edits, parse_decisions

    if both := set(keep) & set(hide):
        raise UsageError(
            f"Track {min(both)} can't be kept and hidden at once. Remove it from --keep or --hide."
        )
    given = Edits(decisions={**dict.fromkeys(keep, "keep"), **dict.fromkeys(hide, "hide")})
    if file is None:
        return given
    _require_file(file)
    try:
        return Edits(decisions=parse_decisions(file.read_bytes())).merge(given)
    except ValueError as error:
        raise UsageError(
            f'{file} is not an object of decisions, such as {{"4": "keep"}}. Correct it.'
        ) from error


def import_file(
    file: Path,
    source: "Source",
    faces: "Faces",
    fingerprint: str,
    decisions: "Mapping[int, Decision]",
    terminal: "Terminal",
    *,
    allow_uncover: bool,
) -> "Edits":
    """Return the edits that a file of tracks makes to a report, whose faces and fingerprint these are.

    List the tracks whose boxes can show more after these decisions, and refuse them unless allowed. `source` is the
    video of the report.
    """
    from dataclasses import replace

    from defacer.commands.track_table import uncovered_lines
    from defacer.engine.corrections.track_exchange import import_tracks, read_frame_times
    from defacer.engine.errors import ArgumentError
    from defacer.report.exchange.formats import parse_track_file
    from defacer.report.exchange.track_file import TrackFileError

    _require_file(file)
    try:
        found = parse_track_file(file.read_bytes())
        imported = import_tracks(found, faces, fingerprint, read_frame_times(source, faces), decisions)
    except (TrackFileError, ArgumentError) as error:
        raise UsageError(f"{file} can't be imported: {error}") from error
    lines = list(uncovered_lines(imported.uncovered, faces))
    if lines and not allow_uncover:
        listed = "\n".join(lines)
        raise UsageError(
            f"{file} can show more of these tracks:\n{listed}\nCorrect the file, or add --allow-uncover."
        )
    for line in lines:
        terminal.print_line(line)
    return replace(imported.edits, uncovered=frozenset(imported.uncovered))


def _require_file(file: Path) -> None:
    if not file.is_file():
        raise UsageError(f"{file} does not exist. Name an existing file.")


def require_tracks(numbers: "Iterable[int]", count: int, listing: str) -> None:
    """Raise UsageError unless there are tracks with these numbers. `listing` is the command that lists all `count`."""
    wrong = sorted(number for number in numbers if not 0 <= number < count)
    if not wrong:
        return
    which = f"is no track {wrong[0]}" if len(wrong) == 1 else f"are no tracks {', '.join(map(str, wrong))}"
    expected = {0: "the report has no tracks", 1: "the report has only track 0"}.get(
        count, f"the report has tracks 0 to {count - 1}"
    )
    raise UsageError(f"There {which}, {expected}. To list the tracks: {listing}")


def split_tracks(splits: list[str] | None, faces: "Faces", listing: str) -> "tuple[AddedTrack, ...]":
    """Return the parts that `--split` makes of a report's tracks. Raise UsageError for a wrong track or time.

    `listing` is the command that lists the tracks.
    """
    from defacer.engine.corrections.drawn_mask import parse_seconds, to_pts
    from defacer.report.track_splits import SplitError, split_track

    by_id, parts = {track.id: track for track in faces.tracks}, []
    for text in splits or ():
        number, at, time = text.partition("@")
        if not (at and number.isascii() and number.isdigit()):
            raise UsageError(
                f"--split {text!r} is not a track and a time. Write TRACK@TIME, such as 4@0:12.5."
            )
        require_tracks([int(number)], len(by_id), listing)
        try:
            parts.append(split_track(by_id[int(number)], to_pts(parse_seconds(time), faces)))
        except SplitError as error:
            raise UsageError(f"--split {text}: {error}") from error
    return tuple(parts)


def read_corrections(
    masks: list[str] | None, file: Path | None, look_again: list[str] | None, *, follow: bool
) -> "Corrections | None":
    """Return the corrections of these options, or None without any. Raise ArgumentError for a wrong one."""
    if not (masks or file or look_again):
        return None
    from defacer.engine.corrections.drawn_mask import parse_mask, parse_range, read_masks
    from defacer.engine.manual_corrections import Corrections

    drawn = [parse_mask(text, follow=follow) for text in masks or ()]
    drawn += read_masks(file, follow=follow) if file else []
    return Corrections(tuple(drawn), tuple(map(parse_range, look_again or ())))
