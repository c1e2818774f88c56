"""What a person changes in a report: decisions, new tracks, other boxes, person groups and names.

A re-render request carries the edits to the job that applies them. The console and the commands write them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, TypeAdapter

from defacer.report.compact_boxes import StoredBoxes
from defacer.report.tracks import STRICT, Decision, Origin, TrackRecord

_CHECKED: ConfigDict = {**STRICT, "revalidate_instances": "always"}
TrackId = Annotated[int, Field(ge=0, lt=2**31)]
MAX_ADDED = 1000  # tracks of one request: each drawn mask takes time in every frame
ADDED_ORIGINS = (Origin.MANUAL, Origin.SEARCH, Origin.IMPORTED)


@dataclass(frozen=True)
class AddedTrack:
    """A track that a person adds: a drawn mask, a face that a new search found, or an imported track.

    The detections of a drawn mask (`manual`) are its corrected moments, from the first moment to the last one. Between
    two of them the mask moves in a straight line.

    With `split_from`, it is the part of that track from its first time on, which becomes a track of its own. It has the
    boxes and the origin of that track.
    """

    __pydantic_config__ = _CHECKED

    detections: StoredBoxes
    origin: Origin = Origin.MANUAL
    decision: Decision = "hide"
    unconfirmed: tuple[tuple[int, int], ...] = ()
    group: TrackId | None = None
    person: str | None = None
    split_from: TrackId | None = None

    def __post_init__(self) -> None:
        if self.split_from is None and self.origin not in ADDED_ORIGINS:
            raise ValueError(
                f"the origin of an added track is {self.origin}, allowed are {', '.join(ADDED_ORIGINS)}"
            )

    def is_track(self, track: TrackRecord) -> bool:
        """Return whether an earlier re-render added this track, whose id was expected for it."""
        if self.split_from is not None:
            return track.continues is not None and track.start >= self.detections[0].pts
        return (self.origin, self.detections) == (track.origin, track.detections)


@dataclass(frozen=True)
class Edits:
    """The changes to a report. Tracks are named by their ids.

    `added` tracks get the ids from `first_id` on, which is the number of tracks before them. The other fields can
    refer to these ids. `moved` has other boxes for existing tracks. The boxes of a hidden track are allowed to shrink,
    and those of a kept track to reach outside its old ones, only if `uncovered` has its id. `groups` has person groups:
    merging and splitting people are both other groups. `people` has names, and None removes a name.

    `different` has pairs of `suggested_merges` that show two people. They alone request no re-render.
    """

    __pydantic_config__ = _CHECKED

    decisions: dict[TrackId, Decision] = field(default_factory=dict)
    first_id: TrackId | None = None
    added: Annotated[tuple[AddedTrack, ...], Field(max_length=MAX_ADDED)] = ()
    moved: dict[TrackId, StoredBoxes] = field(default_factory=dict)
    uncovered: frozenset[TrackId] = frozenset()
    groups: dict[TrackId, TrackId] = field(default_factory=dict)
    people: dict[TrackId, str | None] = field(default_factory=dict)
    different: frozenset[tuple[TrackId, TrackId]] = frozenset()

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.decisions or self.added or self.moved or self.groups or self.people)

    @property
    def track_ids(self) -> set[int]:
        """The ids of all tracks that change, without those that are only added."""
        return {*self.decisions, *self.moved, *self.groups, *self.people, *self.split_tracks}

    @property
    def split_tracks(self) -> set[int]:
        """The ids of the tracks that are split."""
        return {track.split_from for track in self.added if track.split_from is not None}

    @property
    def names(self) -> set[str]:
        """The names of people in these edits."""
        given = {*self.people.values(), *(track.person for track in self.added)}
        return {name for name in given if name is not None}

    def without_names(self, is_removed: Callable[[str], bool]) -> Self:
        """Return the edits without these names of people."""
        people = {track: name for track, name in self.people.items() if name is None or not is_removed(name)}
        added = tuple(
            replace(track, person=None) if track.person is not None and is_removed(track.person) else track
            for track in self.added
        )
        return replace(self, people=people, added=added)

    def merge(self, later: Self) -> Self:
        """Return these edits with later ones to the same report. For one track, the later edit counts.

        The later tracks are added after the earlier ones. If the later edits number them as if there were no earlier
        ones, their numbers change. Raises ValueError if both add tracks, but to reports with different numbers of
        tracks.
        """
        starts = [edits.first_id for edits in (self, later) if edits.added and edits.first_id is not None]
        first_id = starts[0] if starts else None
        if first_id is not None and self.added and later.added:
            if later.first_id == first_id:
                later = later._shift(first_id, len(self.added))
            elif later.first_id not in (None, first_id + len(self.added)):
                raise ValueError("the two edits are about different reports")
        return replace(
            self,
            first_id=first_id,
            added=self.added + later.added,
            uncovered=(self.uncovered - later.moved.keys()) | later.uncovered,
            different=self.different | later.different,
            **{name: getattr(self, name) | getattr(later, name) for name in _BY_TRACK},
        )

    def _shift(self, first_id: int, count: int) -> Self:
        """Return the edits with numbers that are higher by `count` for the tracks from `first_id` on."""

        def new_id(track: int) -> int:
            return track + count if track >= first_id else track

        return self.renumber(new_id)

    def renumber(self, new_id: Callable[[int], int]) -> Self:
        """Return the edits with other numbers of tracks."""
        by_track: dict[str, Any] = {
            name: {new_id(track): value for track, value in getattr(self, name).items()} for name in _BY_TRACK
        }
        added = tuple(
            track if track.split_from is None else replace(track, split_from=new_id(track.split_from))
            for track in self.added
        )
        return replace(self, added=added, uncovered=frozenset(map(new_id, self.uncovered)), **by_track)

    def only_hiding(self) -> Self:
        """Return the edits that can only hide more."""
        return replace(
            self,
            decisions={track: decision for track, decision in self.decisions.items() if decision == "hide"},
            added=tuple(replace(track, decision="hide") for track in self.added),
            moved={},
            groups={},
            people={},
        )

    def to_bytes(self) -> bytes:
        """Return the JSON form."""
        return _EDITS.dump_json(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Edits":
        """Return the edits in JSON. Raise ValueError for any other bytes."""
        return _EDITS.validate_json(data)


_BY_TRACK = ("decisions", "moved", "groups", "people")  # the fields by track
_EDITS = TypeAdapter(Edits)
_DECISIONS = TypeAdapter(dict[TrackId, Decision])


def parse_decisions(data: bytes) -> dict[int, Decision]:
    """Return the decisions by track in JSON, such as `{"4": "keep"}`. Raise ValueError for any other bytes."""
    return _DECISIONS.validate_json(data)
