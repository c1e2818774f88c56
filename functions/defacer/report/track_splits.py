"""Split tracks: from a moment on, a track becomes a track of its own, because it shows another person."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import AddedTrack, Edits
from defacer.report.tracks import TrackRecord


class SplitError(ValueError):
    """A track can't be split there. The message says why."""


def split_track(track: TrackRecord, pts: int) -> AddedTrack:
    """Return the part of the track from this time on, for `Edits.added`. Raise SplitError if a part has no box."""
    before, after = track.detections.split_at(pts)
    if track.is_manual_mask:
        raise SplitError(f"track {track.id} is a drawn mask. Change its range instead of splitting it.")
    if not len(before) or not len(after):
        raise SplitError(
            f"track {track.id} has no box before that moment, or none after it. Choose a moment inside the track."
        )
    return AddedTrack(after, track.origin, split_from=track.id)


def without_parts(
    boxes: CompactBoxes, number: int, edits: Edits, added: AddedTrack | None = None
) -> CompactBoxes:
    """Return the boxes of a track, or of an added one, before the first part that the edits split off it."""
    siblings = added.split_from if added is not None else None
    starts = [
        part.detections[0].pts
        for part in edits.added
        if part.split_from is not None and part.split_from in (number, siblings)
    ]
    start = min((start for start in starts if start > boxes[0].pts), default=None)
    return boxes if start is None else boxes.split_at(start)[0]


@dataclass(frozen=True)
class _Part:
    start: int
    id: int


class TrackSplits:
    """The splits of one document. `ids` are the ids of the tracks that the edits add."""

    def __init__(self, edits: Edits, ids: Sequence[int]):
        self._parts: dict[int, list[_Part]] = defaultdict(list)  # by the number of the split track
        self._last: dict[int | None, int] = {}  # by the id of the split track: the id of its last part
        self._split_from: dict[int, int] = {}  # by the id of a part: the id of the split track
        self._made: dict[int, TrackRecord] = {}
        numbers = dict(enumerate(ids, start=edits.first_id or 0))
        for track, number in zip(edits.added, ids, strict=True):
            if track.split_from is not None:
                self._parts[track.split_from].append(_Part(track.detections[0].pts, number))
                self._split_from[number] = numbers.get(track.split_from, track.split_from)
        for number, parts in self._parts.items():
            parts.sort(key=lambda part: part.start)
            self._last[numbers.get(number, number)] = parts[-1].id

    def cut(self, track: TrackRecord, number: int) -> TrackRecord:
        """Return the track without its parts, which `make_part` returns. `number` is its number in the edits."""
        parts = self._parts.get(number)
        if not parts:
            return track
        own, rest = track.detections.split_at(parts[0].start)
        if len(rest):
            split_track(track, parts[0].start)
        ends = [*(part.start for part in parts[1:]), None]
        before = track.id
        for part, end in zip(parts, ends, strict=True):
            boxes, rest = (rest, CompactBoxes()) if end is None else rest.split_at(end)
            if len(boxes):
                self._made[part.id] = replace(
                    track,
                    id=part.id,
                    detections=boxes,
                    start=boxes[0].pts,
                    end=boxes[-1].pts,
                    continues=before,
                )
            before = part.id
        return replace(track, detections=own, end=own[-1].pts)

    def make_part(self, part: int, split_from: int) -> TrackRecord:
        """Return a part by its id, with the decision of the split track. Raise SplitError if it has no box."""
        if part not in self._made:
            raise SplitError(f"track {split_from} has no box after the moment of the split.")
        return self._made.pop(part)

    def relink(self, track: TrackRecord) -> TrackRecord:
        """Return the track so that it continues the last part of a split track."""
        before = track.continues
        while before in self._last and self._split_from.get(track.id) != before:
            before = self._last[before]  # a part can be split itself
        return track if before == track.continues else replace(track, continues=before)
