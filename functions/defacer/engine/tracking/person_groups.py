"""Person groups: the tracks of a video that show one person, known or not.

Each track, in the order of time, joins the group that is most alike, unless that is seen at the same time; else it is a
group of its own (leader clustering). Only numbers leave this module: a group names no one.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence

import numpy as np

from defacer.engine.models.arrays import Array
from defacer.engine.tracking.identity import Limits, TrackDecision, clear_views, mean_of_nearest
from defacer.engine.tracking.tracker import MAX_UNLIKE_VIEWS, Track


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
