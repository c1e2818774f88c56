"""The formats by name, and reading a file of any of them."""

from collections.abc import Callable
from typing import Literal

from defacer.report.exchange.coco import dump_coco, parse_coco
from defacer.report.exchange.cvat import dump_cvat, parse_cvat
from defacer.report.exchange.mot import dump_mot, parse_mot
from defacer.report.exchange.track_file import TrackFile, TrackFileError

FormatName = Literal["mot", "cvat", "coco"]
DUMP: dict[FormatName, Callable[[TrackFile], str]] = {"mot": dump_mot, "cvat": dump_cvat, "coco": dump_coco}
# In these formats a box is needed in every frame. In the others, boxes between keyframes are interpolated.
EVERY_FRAME: tuple[FormatName, ...] = ("mot", "coco")


def parse_track_file(data: bytes) -> TrackFile:
    """Return the tracks of a file in any of the formats. Raise TrackFileError if it can't be used."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrackFileError("it is not a text in UTF-8. Export it again.") from error
    start = text.lstrip()[:1]
    parse = {"<": parse_cvat, "{": parse_coco}.get(start, parse_mot)
    file = parse(text)
    for track in file.tracks:
        wrong = [frame for frame in track.boxes if not 0 <= frame < file.frames]
        if wrong:
            raise TrackFileError(f"it has a box in frame {wrong[0]}, but the video has {file.frames} frames.")
    return file
