"""Person groups: the tracks of a video that show one person, known or not, and groups that a person can merge.

Each track, in the order of time, joins the group that is most alike, unless that is seen at the same time; else it is a
group of its own (leader clustering). Only numbers leave this module: a group names no one.

Two kinds of weaker evidence suggest to merge two groups: a track that continues another one in its place, and views
that are alike on average. A person decides, because in crowds of similar faces both are often wrong.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence

import numpy as np

from defacer.engine.models.arrays import Array, compute_overlaps
from defacer.engine.tracking.identity import (
    Limits,
    TrackDecision,
    adjoining_distance,
    clear_views,
    mean_of_nearest,
)
from defacer.engine.tracking.tracker import MAX_UNLIKE_VIEWS, Track
from defacer.report.tracks import Reason

# Overlap of the boxes where a track ends and the next one begins, to suggest that they are one person.
MIN_OVERLAP = 0.2
# Groups whose views are compared with those of all others, the longest ones: the time grows as n^2.
MAX_COMPARED = 1000


def person_groups(
    tracks: Sequence[Track],
    decisions: Sequence[TrackDecision],
    limits: Limits,
    progress: Callable[[], None] = lambda: None,
) -> list[int]:
    """Return the number of each track's group. `progress` is called often, and can raise to stop.

    The tracks that are kept for one person are one group. Groups are numbered from 0 in the order of their tracks.
    """
    groups = _Groups(limits.alike)
    found: dict[int, object] = {}
    for n in sorted(range(len(tracks)), key=lambda n: tracks[n].first):
        progress()
        found[n] = decisions[n].person if decisions[n].keep else groups.add(tracks[n])
    numbers = {key: number for number, key in enumerate(dict.fromkeys(found[n] for n in range(len(tracks))))}
    return [numbers[found[n]] for n in range(len(tracks))]


def suggest_merges(
    tracks: Sequence[Track],
    decisions: Sequence[TrackDecision],
    groups: Sequence[int],
    limits: Limits,
    max_gap: int,
    progress: Callable[[], None] = lambda: None,
) -> tuple[tuple[int, int], ...]:
    """Return pairs of tracks by id whose groups probably show one person, the likeliest first.

    Merging them in this order never joins tracks that are seen at the same time, or two targets. A track continues
    another one if at most `max_gap` units of time are between them.
    """
    people = _People(tracks, decisions, groups)
    by_id = {track.id: number for number, track in enumerate(tracks)}
    links: list[tuple[float, int, int]] = []
    for number, track in enumerate(tracks):
        progress()
        before = by_id.get(-1 if track.continues is None else track.continues)
        is_stranger = decisions[number].reason == Reason.UNLIKE_TARGET
        if (
            before is not None
            and not is_stranger
            and _continues_in_place(tracks[before], track, max_gap)
            and not _look_unlike(tracks[before], track, limits.match)
        ):
            links.append((adjoining_distance(tracks[before], track), before, number))
    for _, before, number in sorted(links):
        people.try_merge(groups[before], groups[number])
    _merge_alike(people, limits.resembles, progress)
    return tuple(people.merged)


def _continues_in_place(before: Track, track: Track, max_gap: int) -> bool:
    if track.first - before.last > max_gap:
        return False
    ends = np.array([before.detections[-1].box, track.detections[0].box])
    return bool(compute_overlaps(ends[0], ends[1:])[0] >= MIN_OVERLAP)


def _look_unlike(before: Track, track: Track, limit: float) -> bool:
    """Return whether the last clear view of a track and the first one of the next track are of two people."""
    last, first = clear_views(before)[-1:], clear_views(track)[:1]
    return bool(len(last) and len(first)) and float(np.linalg.norm(last - first)) > limit


def _merge_alike(people: "_People", limit: float, progress: Callable[[], None]) -> None:
    """Merge the two groups whose views are most alike on average, until none are (average linkage)."""
    clear = [(group, people.clear_views_of(group)) for group in people.longest_first()]
    known = [(group, views) for group, views in clear if len(views)][:MAX_COMPARED]
    if len(known) < 2:
        return
    names = [group for group, _ in known]
    counts = np.array([len(views) for _, views in known], float)
    means = np.stack([views.mean(axis=0) for _, views in known])
    likeness = means @ means.T  # the mean over all pairs of views
    np.fill_diagonal(likeness, -1)
    while True:
        progress()
        one, other = divmod(int(likeness.argmax()), len(names))
        if likeness[one, other] < 1 - limit**2 / 2:
            return
        if not people.try_merge(names[one], names[other]):
            likeness[one, other] = likeness[other, one] = -1
            continue
        means[one] = np.average(means[[one, other]], axis=0, weights=counts[[one, other]])
        counts[one] += counts[other]
        refused = (likeness[one] < 0) | (likeness[other] < 0)
        likeness[one] = likeness[:, one] = np.where(refused, -1, means @ means[one])
        likeness[other] = likeness[:, other] = -1


class _People:
    """The groups while they are merged. `merged` has a track of each of two groups that became one."""

    def __init__(self, tracks: Sequence[Track], decisions: Sequence[TrackDecision], groups: Sequence[int]):
        self._members: dict[int, list[Track]] = {}
        self._targets: dict[int, set[str | None]] = {}
        self._into: dict[int, int] = {}
        self.merged: list[tuple[int, int]] = []
        for track, decision, group in zip(tracks, decisions, groups, strict=True):
            self._members.setdefault(group, []).append(track)
            self._targets.setdefault(group, set()).update({decision.person} if decision.keep else ())

    def try_merge(self, one: int, other: int) -> bool:
        """Merge two groups, unless they are one already, show two targets, or are seen at the same time."""
        one, other = self._find(one), self._find(other)
        targets = self._targets[one] | self._targets[other]
        if one == other or len(targets) > 1 or self._meet(one, other):
            return False
        first, second = max(self._members[one], key=_length), max(self._members[other], key=_length)
        self.merged.append((first.id, second.id))
        self._members[one] += self._members.pop(other)
        self._targets[one] = targets
        self._into[other] = one
        return True

    def longest_first(self) -> list[int]:
        return sorted(self._members, key=lambda group: -sum(map(_length, self._members[group])))

    def clear_views_of(self, group: int) -> Array:
        """Return the clear views (N, D) of a group."""
        views = [clear_views(track)[:MAX_UNLIKE_VIEWS] for track in self._members[group]]
        return np.concatenate([part for part in views if len(part)] or [np.zeros((0, 0), np.float32)])

    def _find(self, group: int) -> int:
        while group in self._into:
            group = self._into[group]
        return group

    def _meet(self, one: int, other: int) -> bool:
        return any(
            first.first <= second.last and second.first <= first.last
            for first in self._members[one]
            for second in self._members[other]
        )


def _length(track: Track) -> int:
    return track.last - track.first


class _Groups:
    """The groups: their clear views, and the spans of time that each is visible, in order."""

    def __init__(self, alike: float):
        self._alike = alike
        self._spans: list[list[tuple[int, int]]] = []
        self._views: Array | None = None  # (N, D); only the first `_used` rows are in use
        self._owners = np.zeros(0, np.int64)
        self._used = 0

    def add(self, track: Track) -> int:
        """Return the index of the group that the track joins."""
        views = clear_views(track)[:MAX_UNLIKE_VIEWS]
        likely = (index for _, index in sorted(self._alike_groups(views)) if self._is_apart(index, track))
        group = next(likely, len(self._spans))
        if group == len(self._spans):
            self._spans.append([])
        insort(self._spans[group], (track.first, track.last))
        self._remember(views, group)
        return group

    def _alike_groups(self, views: Array) -> list[tuple[float, int]]:
        if self._views is None or not len(views):
            return []
        owners = self._owners[: self._used]
        distances = np.sqrt(np.maximum(2 - 2 * views @ self._views[: self._used].T, 0))
        near = np.unique(owners[(distances <= self._alike).any(axis=0)])
        means = [(mean_of_nearest(distances[:, owners == group].ravel()), int(group)) for group in near]
        return [(distance, group) for distance, group in means if distance <= self._alike]

    def _is_apart(self, group: int, track: Track) -> bool:
        """Return whether no track of the group is seen at the same time as this one."""
        spans = self._spans[group]
        place = bisect_left(spans, (track.first, track.first))
        near = spans[max(0, place - 1) :]
        for start, end in near:
            if start > track.last:
                break
            if end >= track.first:
                return False
        return True

    def _remember(self, views: Array, group: int) -> None:
        """Add the views to the group, in an array that doubles when it is full."""
        if not len(views):
            return
        room = self._used + len(views)
        if self._views is None or room > len(self._views):
            larger = np.zeros((2 * room, views.shape[1]), np.float32)
            owners = np.zeros(2 * room, np.int64)
            if self._views is not None:
                larger[: self._used], owners[: self._used] = (
                    self._views[: self._used],
                    self._owners[: self._used],
                )
            self._views, self._owners = larger, owners
        self._views[self._used : room], self._owners[self._used : room] = views, group
        self._used = room
