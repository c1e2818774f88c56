"""Read the document of faces that linking wrote: all of it, or what the redaction of one segment needs."""

from dataclasses import replace
from fractions import Fraction

from defacer.engine.errors import EngineError
from defacer.engine.recognition.recognition_levels import calibration_of
from defacer.report.faces import Faces, load_head
from defacer.report.json_lines import ReportError, load_track, split_report

# A mask can begin this long before a track's first detection, or end this long after its last one, at most: see
# rendering/masks.py, rendering/mask_extension.py and tracker.py.
MASK_REACH_SECONDS = 5


def read_faces_between(document: bytes, start: int | None = None, end: int | None = None) -> Faces:
    """Return the tracks that matter for the frames between these times (None: open), with their detections there.

    Parses one track at a time. Raises EngineError for any other document.
    """
    try:
        head_line, lines = split_report(document)
        head = load_head(head_line)
        require_known_recognizer(head.recognizer)
        reach = round(MASK_REACH_SECONDS / Fraction(head.time_base))
        first = None if start is None else start - reach
        last = None if end is None else end + reach
        tracks = [
            replace(track, detections=track.detections.around(first, last))
            for track in map(load_track, lines)
            if (first is None or track.end >= first) and (last is None or track.start <= last)
        ]
    except ReportError as error:
        raise EngineError(str(error)) from error
    ids = {track.id for track in tracks}
    return Faces.from_head(
        head, (track if track.continues in ids else replace(track, continues=None) for track in tracks)
    )


def require_known_recognizer(version: str | None) -> None:
    """Raise EngineError for faces that were found with an unknown recognizer. None means without a recognizer."""
    if version is not None:
        calibration_of(version)
