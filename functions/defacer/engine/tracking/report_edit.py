"""Apply a person's edits to a document of faces, one track at a time, because a long video's tracks fill the memory."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from defacer.engine.errors import EngineError
from defacer.engine.tracking.box_checks import find_uncovered, require_boxes_in_video
from defacer.engine.tracking.face_report import require_known_recognizer
from defacer.plurals import pluralize
from defacer.report.edits import AddedTrack, Edits
from defacer.report.faces import dump_head, load_head
from defacer.report.json_lines import ReportError, dump_track, join_report, load_track, split_report
from defacer.report.track_splits import SplitError, TrackSplits
from defacer.report.tracks import FacesHead, Origin, Reason, TrackRecord

NO_TRACK = -1  # no edit has this number


@dataclass(frozen=True)
class EditedReport:
    """A document of faces after edits.

    `people` are named in it. `unconsented_tracks` are kept tracks of people who are not allowed to be kept. `added` are
    the ids of the added tracks.
    """

    document: bytes = field(repr=False)
    people: tuple[str, ...]
    unconsented_tracks: tuple[int, ...]
    added: tuple[int, ...] = ()


def with_edits(document: bytes, edits: Edits, known: Collection[str] | None) -> EditedReport:
    """Return the document after the edits. All other tracks stay as they are.

    Only the people in `known` can be kept by their names (None: everyone), and a hidden track loses any other name. An
    added track that the document has already is not added again. Raises EngineError for any other document, and for
    edits that do not fit it: unknown tracks, boxes outside the video, boxes that can show more without permission, and
    person groups with two tracks in one frame.
    """
    try:
        head_line, lines = split_report(document)
        head = load_head(head_line)
        require_known_recognizer(head.recognizer)
        if edits.decisions:  # a manual decision ends the warnings
            head = replace(head, warnings=())
        rest = tuple(pair for pair in head.suggested_merges if pair not in edits.different)
        head = replace(head, suggested_merges=rest)
        numbering = _Numbering(lines, edits) if edits.added else _Numbering((), edits)
        editor = _Editor(head, edits, known, numbering)
        made = join_report(dump_head(head), editor.edit_lines(split_report(document)[1]))
    except (ReportError, SplitError) as error:
        raise EngineError(str(error)) from error
    if editor.missing:
        raise EngineError(_missing_tracks(editor.missing, made.count(b"\n") - 2))
    return EditedReport(made, tuple(sorted(editor.people)), tuple(editor.unconsented), tuple(editor.added))


class _Numbering:
    """The ids of the added tracks, in their order. `present` are those that the document has already."""

    def __init__(self, lines: Iterable[bytes], edits: Edits):
        self._edits = edits
        self.present: set[int] = set()
        next_id = 0
        for track in map(load_track, lines):
            next_id = max(next_id, track.id + 1)
            place = self._place(track.id)
            if place is not None and edits.added[place].is_track(track):
                self.present.add(track.id)
        self._first_id = next_id if edits.first_id is None else edits.first_id
        expected = range(self._first_id, self._first_id + len(edits.added))
        new_ids = count(next_id)
        self.ids = [number if number in self.present else next(new_ids) for number in expected]

    def number_of(self, track: int) -> int:
        """Return the number of a track of the document in the edits.

        The check of a result can have found a face, whose track has the id that an added track should get.
        """
        return NO_TRACK if self._place(track) is not None and track not in self.present else track

    def missing(self) -> Iterator[tuple[int, int, AddedTrack]]:
        """Yield the id, the number in the edits, and the track of each added track that the document does not have."""
        for number, (track, added) in enumerate(
            zip(self.ids, self._edits.added, strict=True), self._first_id
        ):
            if track not in self.present:
                yield track, number, added

    def _place(self, track: int) -> int | None:
        place = track - (self._edits.first_id or 0)
        return place if self._edits.first_id is not None and 0 <= place < len(self._edits.added) else None


class _Editor:
    """Applies edits to tracks in their order, and collects facts about the edited tracks."""

    def __init__(self, head: FacesHead, edits: Edits, known: Collection[str] | None, numbering: _Numbering):
        self._head = head
        self._edits = edits
        self._known = known
        self._numbering = numbering
        self._splits = TrackSplits(edits, numbering.ids)
        self._groups = _GroupCheck(edits)
        self.missing = edits.track_ids
        self.people: set[str] = set()
        self.unconsented: list[int] = []
        self.added: list[int] = []

    def edit_lines(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the lines of the edited tracks, and then those of the added ones."""
        next_group = 0
        for line in lines:
            before = load_track(line)
            if before.id in self._numbering.present:
                self.added.append(before.id)
            track = self._edit(before, self._numbering.number_of(before.id))
            next_group = max(next_group, track.group + 1)
            yield line if track == before else dump_track(track)
        next_group = max(next_group, *(group + 1 for group in self._edits.groups.values()), 0)
        for new_id, number, added in self._numbering.missing():
            if added.split_from is None:
                track = _record_of(added, new_id, next_group)
                require_boxes_in_video(track, self._head)
            else:
                part = self._splits.make_part(new_id, added.split_from)
                track = _decide_part(part, added, next_group)
                if track.decision != added.decision:
                    self.unconsented.append(new_id)
            self.added.append(new_id)
            track = self._edit(track, number)
            next_group = max(next_group, track.group + 1)
            yield dump_track(track)

    def _edit(self, track: TrackRecord, number: int) -> TrackRecord:
        """Return the track after the edits to the track `number`."""
        track = self._splits.relink(track)
        edits = self._edits
        self.missing.discard(number)
        if number in edits.moved:
            track = self._move(track, number)
        track = self._splits.cut(track, number)
        if number in edits.groups:
            track = replace(track, group=edits.groups[number])
        self._groups.add(track, is_edited=number in edits.groups)
        if number in edits.people:
            track = replace(track, person=edits.people[number])
        decision = edits.decisions.get(number)
        if self._is_withdrawn(track):  # the reason stays, so that no later edit can keep the track
            if decision == "keep":
                self.unconsented.append(track.id)
        elif decision is not None:
            track = replace(
                track, decision=decision, reason=Reason.MANUAL, rival=None, strangers_per_10000=None
            )
        return self._finish(track)

    def _move(self, track: TrackRecord, number: int) -> TrackRecord:
        boxes = self._edits.moved[number]
        moved = replace(track, detections=boxes, start=boxes[0].pts, end=boxes[-1].pts, unconfirmed=())
        require_boxes_in_video(moved, self._head)
        is_withdrawn = self._is_withdrawn(track)
        decision = "hide" if is_withdrawn else self._edits.decisions.get(number, track.decision)
        is_allowed = number in self._edits.uncovered and not is_withdrawn
        if not is_allowed and find_uncovered(track, boxes, decision, self._head):
            if is_withdrawn:
                raise EngineError(
                    f"the new boxes of track {number} do not cover its old ones, and it shows a person whose consent "
                    "was withdrawn. Make the boxes larger."
                )
            problem, size = (
                ("do not cover its old ones, and it is hidden", "larger")
                if decision == "hide"
                else ("are outside its old ones, and it is kept", "smaller")
            )
            raise EngineError(
                f"the new boxes of track {number} {problem}. Allow this on purpose, or make the boxes {size}."
            )
        return moved

    def _is_withdrawn(self, track: TrackRecord) -> bool:
        """Return whether the track must stay hidden, because the person withdrew their consent."""
        return self._known is not None and track.reason == Reason.CONSENT_WITHDRAWN

    def _finish(self, track: TrackRecord) -> TrackRecord:
        """Record the person of a track. Return a hidden track without an unknown name."""
        if track.person is None:
            return track
        if self._known is not None and track.person not in self._known:
            if track.decision == "hide":
                return replace(track, person=None)
            self.unconsented.append(track.id)
        self.people.add(track.person)
        return track


class _GroupCheck:
    """Refuses to merge the person groups of two tracks that are in one sampled frame."""

    def __init__(self, edits: Edits):
        self._changed = frozenset(edits.groups.values())
        self._edited: dict[int, dict[int, int]] = defaultdict(dict)  # by group and time: the track
        self._others: dict[int, dict[int, int]] = defaultdict(dict)

    def add(self, track: TrackRecord, *, is_edited: bool) -> None:
        """Add a track with its final group. Raise EngineError if an edit joined it with a track that it met."""
        if track.group not in self._changed:
            return
        edited, others = self._edited[track.group], self._others[track.group]
        for sample in track.detections:
            met = edited.get(sample.pts)
            if met is None and is_edited:
                met = others.get(sample.pts)
            if met is not None:
                raise EngineError(
                    f"tracks {met} and {track.id} are seen in one frame. Tracks seen in one frame cannot be merged."
                )
        (edited if is_edited else others).update((sample.pts, track.id) for sample in track.detections)


def _record_of(added: AddedTrack, number: int, group: int) -> TrackRecord:
    is_undecided = added.origin == Origin.SEARCH and added.decision == "hide"
    return TrackRecord(
        id=number,
        start=added.detections[0].pts,
        end=added.detections[-1].pts,
        decision=added.decision,
        person=added.person,
        reason=Reason.FOUND_BY_SEARCH if is_undecided else Reason.MANUAL,
        distance=None,
        margin=None,
        continues=None,
        detections=added.detections,
        group=group if added.group is None else added.group,
        origin=added.origin,
        unconfirmed=added.unconfirmed,
    )


def _decide_part(part: TrackRecord, added: AddedTrack, group: int) -> TrackRecord:
    """Return the part of a split track. It is hidden unless a person keeps it, because it can show another person."""
    part = replace(part, group=group if added.group is None else added.group, person=added.person)
    if part.reason == Reason.CONSENT_WITHDRAWN or (part.decision == added.decision == "hide"):
        return part
    return replace(part, decision=added.decision, reason=Reason.MANUAL, rival=None, strangers_per_10000=None)


def _missing_tracks(missing: Collection[int], count: int) -> str:
    numbers = ", ".join(map(str, sorted(missing)))
    return f"its report has no track {numbers}; it has {pluralize(count, 'track')}. List the tracks, and decide again."
