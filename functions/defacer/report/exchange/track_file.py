"""The tracks of one file of an annotation tool, and the video that they belong to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from defacer.report.compact_boxes import Box

FINGERPRINT = re.compile("[0-9a-f]{16,128}", re.ASCII)
MAX_SIDE = 1_000_000  # pixels from the frame's corner
MIN_SIZE = 0.02  # pixels: files have two decimals


class TrackFileError(ValueError):
    """A file of tracks can't be used. The message follows the name of the file."""


@dataclass(frozen=True)
class FileTrack:
    """One track: its number in the report (None: a new one), and its boxes by frame number, from 0.

    Boxes are `x1, y1, x2, y2` in pixels of the displayed frame.
    """

    number: int | None
    boxes: dict[int, Box] = field(repr=False)


@dataclass(frozen=True)
class TrackFile:
    """The tracks of a video, with the fingerprint and the number of frames of the video's source."""

    fingerprint: str
    frames: int
    width: int
    height: int
    tracks: tuple[FileTrack, ...]


def require_video(fingerprint: object, frames: object) -> tuple[str, int]:
    """Return the fingerprint and the number of frames. Raise TrackFileError if the file does not have both."""
    if not isinstance(fingerprint, str) or not FINGERPRINT.fullmatch(fingerprint):
        raise TrackFileError(
            "it does not name the video that it is about. Export it with `defacer tracks --format`."
        )
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        raise TrackFileError("it has no number of frames. Export it with `defacer tracks --format`.")
    return fingerprint, frames


def box_of(sides: Iterable[float], where: str) -> Box:
    """Return a box of `x1, y1, x2, y2`. Raise TrackFileError for a box without an area."""
    x1, y1, x2, y2 = sides
    is_near = all(abs(side) <= MAX_SIDE for side in (x1, y1, x2, y2))  # not for NaN
    if not is_near or x2 - x1 < MIN_SIZE or y2 - y1 < MIN_SIZE:
        raise TrackFileError(f"{where} has a box without an area. Correct or remove it.")
    return (x1, y1, x2, y2)


def merge_boxes(found: Iterable[tuple[int | None, dict[int, Box]]]) -> tuple[FileTrack, ...]:
    """Return the tracks. Parts of one number without a common frame are one track, and all others are new tracks."""
    known: dict[int, dict[int, Box]] = {}
    new: list[FileTrack] = []
    for number, boxes in found:
        if not boxes:
            continue
        before = None if number is None else known.setdefault(number, {})
        if before is None or before.keys() & boxes.keys():
            new.append(FileTrack(None, boxes))
        else:
            before.update(boxes)
    return (*(FileTrack(number, boxes) for number, boxes in known.items()), *new)
