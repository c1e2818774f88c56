"""MOT Challenge: a CSV file with a line for each box. Frames and tracks count from 1.

The first line is a comment that names the video. MOT has no field for that.
"""

import json
from collections import defaultdict

from defacer.report.compact_boxes import Box
from defacer.report.exchange.track_file import TrackFile, TrackFileError, box_of, merge_boxes, require_video

MARK = "# defacer "


def dump_mot(file: TrackFile) -> str:
    """Return the file. Its lines are `frame,id,left,top,width,height,confidence,class,visibility`."""
    head = {
        "fingerprint": file.fingerprint,
        "frames": file.frames,
        "width": file.width,
        "height": file.height,
    }
    rows = sorted(
        (frame + 1, (track.number or 0) + 1, box)
        for track in file.tracks
        for frame, box in track.boxes.items()
    )
    lines = [
        f"{frame},{number},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},1,1,1"
        for frame, number, (x1, y1, x2, y2) in rows
    ]
    return "\n".join([MARK + json.dumps(head), *lines]) + "\n"


def parse_mot(text: str) -> TrackFile:
    """Return the tracks of a file. Raise TrackFileError if it can't be used."""
    head: dict[str, object] = {}
    tracks: defaultdict[int, dict[int, Box]] = defaultdict(dict)
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(MARK):
            head = _parse_head(line.removeprefix(MARK))
        elif line.strip() and not line.startswith("#"):
            frame, track, box = _parse_row(line, number)
            tracks[track - 1][frame - 1] = box
    fingerprint, frames = require_video(head.get("fingerprint"), head.get("frames"))
    width, height = (value if isinstance(value := head.get(side), int) else 0 for side in ("width", "height"))
    return TrackFile(fingerprint, frames, width, height, merge_boxes(tracks.items()))


def _parse_head(text: str) -> dict[str, object]:
    try:
        head = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TrackFileError(
            "its first line can't be read. Export it with `defacer tracks --format`."
        ) from error
    return head if isinstance(head, dict) else {}


def _parse_row(line: str, number: int) -> tuple[int, int, Box]:
    try:
        frame, track, *sides = line.split(",")[:6]
        left, top, width, height = map(float, sides)
        return (
            int(frame),
            int(float(track)),
            box_of((left, top, left + width, top + height), f"line {number}"),
        )
    except TrackFileError:
        raise
    except (ValueError, OverflowError) as error:
        raise TrackFileError(f"line {number} is not frame,id,left,top,width,height. Correct it.") from error
