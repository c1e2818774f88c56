"""All tracks of a video with their decisions, and the document that stores them between two steps of a job.

Linking writes the document `faces`, and each worker reads it to redact its segment. The same tracks become the body of
the published report (`json_lines.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Self

from pydantic import TypeAdapter

from defacer.report.json_lines import ReportError, dump_track, join_report, load_track, split_report
from defacer.report.tracks import FacesHead, Reason, TrackRecord

_HEAD = TypeAdapter(FacesHead)


@dataclass(frozen=True)
class Faces(FacesHead):
    """All tracks of a video. The document is a report whose head is the `FacesHead`."""

    tracks: tuple[TrackRecord, ...]

    @classmethod
    def from_head(cls, head: FacesHead, tracks: Iterable[TrackRecord]) -> Self:
        """Return the faces with this head and these tracks."""
        return cls(
            **{part.name: getattr(head, part.name) for part in fields(FacesHead)}, tracks=tuple(tracks)
        )

    @property
    def head(self) -> FacesHead:
        """The facts about the whole video, without the tracks."""
        return FacesHead(**{part.name: getattr(self, part.name) for part in fields(FacesHead)})

    def without_manual_masks(self) -> Self:
        """Return the faces without the masks that a person drew."""
        return replace(self, tracks=tuple(track for track in self.tracks if not track.is_manual_mask))

    def to_bytes(self) -> bytes:
        """Return the document."""
        return join_report(dump_head(self.head), map(dump_track, self.tracks))

    @classmethod
    def from_bytes(cls, document: bytes) -> Self:
        """Return the faces of a document. Raise ReportError if it is not complete or of another version."""
        head, lines = split_report(document)
        return cls.from_head(load_head(head), map(load_track, lines))


def hide_unconfirmed(document: bytes) -> bytes:
    """Return a document of faces with everyone hidden, because no person confirmed them.

    Raises ReportError for any other document.
    """
    head, lines = split_report(document)
    return join_report(head, (dump_track(_hide_unconfirmed(load_track(line))) for line in lines))


def _hide_unconfirmed(track: TrackRecord) -> TrackRecord:
    if track.decision == "hide":
        return track
    return replace(track, decision="hide", person=None, reason=Reason.NOT_CONFIRMED, rival=None)


def dump_head(head: FacesHead) -> bytes:
    """Return the first line of a document of faces."""
    return _HEAD.dump_json(head)


def load_head(line: bytes) -> FacesHead:
    """Return the head of a document of faces. Raise ReportError for any other line."""
    try:
        return _HEAD.validate_json(line)
    except ValueError as error:
        raise ReportError(
            "it is not a report of this version: its first line is not a head of faces."
        ) from error
