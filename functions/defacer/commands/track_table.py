"""Print tracks as a table for a terminal, and tracks and results as JSON for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any, Protocol

from defacer.plurals import pluralize, printable, resemblance
from defacer.report.changes import SourceChange
from defacer.report.edits import AddedTrack
from defacer.report.texts import describe_decision, describe_place
from defacer.report.tracks import FacesHead, Origin, TrackRecord

_ORIGIN_TEXT = {
    Origin.MANUAL: "a drawn mask",
    Origin.SEARCH: "a face that was found, and is hidden until you keep it",
    Origin.IMPORTED: "imported",
}


class Tracked(Protocol):
    """The report of a job or of a file."""

    @property
    def faces(self) -> FacesHead: ...
    @property
    def tracks(self) -> tuple[TrackRecord, ...]: ...


class Redacted(Tracked, Protocol):
    """The report of a job or of a file, with its black and copied frames and the changes of other data."""

    @property
    def black_frames(self) -> int: ...
    @property
    def copied_frames(self) -> int: ...
    @property
    def dropped(self) -> Sequence[str]: ...
    @property
    def changes(self) -> Sequence[SourceChange]: ...


def track_lines(report: Tracked) -> Iterator[str]:
    """Yield a table of the tracks: their times, people, where they begin, decisions, and likeness to a target.

    People without a name have the same numbers as on the console.
    """
    people = [name_person(track) for track in report.tracks]
    width = max(map(len, ["WHO", *people]))
    yield f"{'TRACK':>5}  {'FROM':>9}  {'TO':>9}  {'WHO':<{width}}  {'BEGINS AT':<32}  DECISION"
    base, first = Fraction(report.faces.time_base), report.faces.start or 0
    for track, person in zip(report.tracks, people, strict=True):
        start, end = (float((pts - first) * base) for pts in (track.start, track.end))
        who = f" as {printable(track.person)}" if track.person and track.decision == "keep" else ""
        alike = _describe_likeness(track)
        place = describe_place(track.detections[0].box, report.faces.width)
        yield (
            f"{track.id:>5}  {start:>8.2f}s  {end:>8.2f}s  {person:<{width}}  {place:<32}  "
            f"{track.decision}{who}: {describe_decision(track)}{alike}{_unconfirmed(track, first, base)}"
        )


def _describe_likeness(track: TrackRecord) -> str:
    """Return how much a track looks like a target, as the end of a line. Strangers matter only where one is kept."""
    alike = resemblance(track.distance, track.strangers_per_10000 if track.decision == "keep" else None)
    return f" ({alike})" if alike else ""


def name_person(track: TrackRecord) -> str:
    if track.person:
        return printable(track.person)
    return "a drawn mask" if track.origin == Origin.MANUAL else f"Person {track.group + 1}"


def _unconfirmed(track: TrackRecord | AddedTrack, first: int, base: Fraction) -> str:
    """Return the spans of a drawn mask to check, as the end of a line. `first` is the time of the first frame."""
    spans = [" to ".join(f"{float((pts - first) * base):.2f}s" for pts in span) for span in track.unconfirmed]
    return f" (no detection confirms its place: watch {', '.join(spans)})" if spans else ""


def uncovered_lines(uncovered: Mapping[int, tuple[int, int]], faces: FacesHead) -> Iterator[str]:
    """Yield a line for each track whose new boxes can show more, with the first and the last time."""
    base, first = Fraction(faces.time_base), faces.start or 0
    for number, span in sorted(uncovered.items()):
        start, end = (float((pts - first) * base) for pts in span)
        yield f"track {number} can show more between {start:.2f}s and {end:.2f}s"


def added_lines(tracks: Sequence[AddedTrack], first_id: int, faces: FacesHead) -> Iterator[str]:
    """Yield a line for each added track, with what to check."""
    base, first = Fraction(faces.time_base), faces.start or 0
    for number, track in enumerate(tracks, start=first_id):
        start, end = (float((track.detections[n].pts - first) * base) for n in (0, -1))
        yield (
            f"track {number}, {_describe_added(track)}: {start:.2f}s to {end:.2f}s, "
            f"{describe_place(track.detections[0].box, faces.width)}{_unconfirmed(track, first, base)}"
        )


def _describe_added(track: AddedTrack) -> str:
    if track.split_from is not None:
        return f"split off track {track.split_from} and {'hidden' if track.decision == 'hide' else 'kept'}"
    return _ORIGIN_TEXT[track.origin]


def describe_copied(copied: int, frames: int) -> str:
    """Return how many frames of a result were copied without encoding them."""
    return f"{copied} of {pluralize(frames, 'frame')}, without encoding them"


def result_as_json(report: Redacted, checked: Any) -> dict[str, Any]:
    """Return the facts about a result. `checked` is the outcome of its check as JSON, or None without one."""
    kept = [track for track in report.tracks if track.is_kept_face]
    return {
        "frames": report.faces.frames,
        "black_frames": report.black_frames,
        "copied_frames": report.copied_frames,
        "kept": len(kept),
        "hidden": sum(track.decision == "hide" for track in report.tracks),
        "people": sorted({track.person for track in kept if track.person}),
        "dropped": report.dropped,
        "changes": [asdict(change) for change in report.changes],
        "checked": checked,
        "warnings": [asdict(warning) for warning in report.faces.warnings],
    }


def tracks_as_json(report: Tracked) -> list[dict[str, Any]]:
    """Return an object for each track. `box` is x1, y1, x2, y2 in pixels, in its first detection."""
    base, first = Fraction(report.faces.time_base), report.faces.start or 0
    return [
        {
            "id": track.id,
            "start_seconds": round(float((track.start - first) * base), 3),
            "end_seconds": round(float((track.end - first) * base), 3),
            "decision": track.decision,
            "person": track.person,
            "reason": track.reason,
            "distance": track.distance,
            "strangers_per_10000": track.strangers_per_10000,
            "group": track.group,
            "origin": track.origin,
            "unconfirmed_seconds": [
                [round(float((pts - first) * base), 3) for pts in span] for span in track.unconfirmed
            ],
            "box": [round(side) for side in track.detections[0].box],
        }
        for track in report.tracks
    ]
