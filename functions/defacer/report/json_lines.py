"""A report as JSON Lines: the head, one line for each track, and a last line with their count and hash.

So a reader parses one track at a time, and detects a report that was cut off or changed.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from pydantic import TypeAdapter

from defacer.report.tracks import STRICT, TrackRecord


class ReportError(ValueError):
    """A document is not a complete report. The message follows the name of the document."""


@dataclass(frozen=True)
class LastLine:
    """The last line of a report: the number of tracks, and the SHA-256 of their lines with their line breaks."""

    __pydantic_config__ = STRICT

    tracks: int
    sha256: str


_TRACK = TypeAdapter(TrackRecord)
_LAST_LINE = TypeAdapter(LastLine)


def join_report(head: bytes, tracks: Iterable[bytes]) -> bytes:
    """Return the report with this head and these lines of tracks."""
    report, digest, count = io.BytesIO(), hashlib.sha256(), 0
    report.write(head.rstrip(b"\n") + b"\n")
    for line in tracks:
        report.write(line)
        digest.update(line)
        count += 1
    report.write(_LAST_LINE.dump_json(LastLine(count, digest.hexdigest())) + b"\n")
    return report.getvalue()


def split_report(report: bytes) -> tuple[bytes, Iterator[bytes]]:
    """Return the head and the lines of the tracks. Raise ReportError unless the report is complete."""
    start = report.find(b"\n") + 1
    end = report.rfind(b"\n", 0, max(0, len(report) - 1)) + 1
    try:
        last = _LAST_LINE.validate_json(report[end:])
    except ValueError as error:
        raise ReportError(
            "it is not a complete report: its last line is missing. Name the .jsonl file that --report wrote, or fetch "
            "it again."
        ) from error
    tracks = memoryview(report)[start:end]
    if last.sha256 != hashlib.sha256(tracks).hexdigest() or last.tracks != report.count(b"\n", start, end):
        raise ReportError(
            "it is not a complete report: its last line does not match its tracks. Fetch it again."
        )
    lines = io.BytesIO(report)
    lines.seek(start)
    return report[:start], islice(lines, last.tracks)


def dump_track(track: TrackRecord) -> bytes:
    """Return the line of a track."""
    return _TRACK.dump_json(track) + b"\n"


def load_track(line: bytes) -> TrackRecord:
    """Return the track of a line. Raise ReportError for any other line."""
    try:
        return _TRACK.validate_json(line)
    except ValueError as error:
        raise ReportError("it is not a report of this version: a line is not a track.") from error
