"""Tracks x gallery -> keep or hide, with the reason.

Decided for a track, never for a frame. A track is kept when its best crops lie near enough to a target; nothing
else keeps it, but that it surely shows the same person as a track that was kept. One person can't be two faces
in one frame: the nearer one stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from functions.engine.detect import Array
from functions.engine.gallery import Gallery
from functions.engine.track import Track

# Largest Euclidean distance at which a face is a target's. casia-webface: chosen on half of eight clips, checked on
# the other half, both ways (0.727 and 0.732), then rounded down: the nearest stranger's track of 2,433 pairs lies at
# 0.75, the nearest of those with a real target picture at 0.79. vggface2: what the 2019 project used with it, not
# measured here.
KEEP_DISTANCE = {"casia-webface": 0.72, "vggface2": 0.8}
BEST_VIEWS = 3  # a track's distance is the mean of this many nearest views
SAME_PERSON = 0.75  # of the keep distance: two tracks this near show one person
NOT_CONTRARY = 1.3  # of the keep distance: a track farther than this from the target inherits nothing


@dataclass(frozen=True)
class Decision:
    """Keep or hide. `person` and `distance` are the nearest target's, None without a gallery or a crop."""

    keep: bool
    reason: str
    person: str | None = None
    distance: float | None = None


def decide(tracks: Sequence[Track], gallery: Gallery | None, keep_distance: float) -> list[Decision]:
    """One decision for each track, from its views."""
    if gallery is None or not gallery.people:
        return [Decision(False, "no targets: everyone is hidden") for _ in tracks]
    decisions = [_by_distance(track, gallery, keep_distance) for track in tracks]
    _one_person_is_one_face(tracks, decisions)
    _share(tracks, decisions, keep_distance)
    _one_person_is_one_face(tracks, decisions)
    return decisions


def _by_distance(track: Track, gallery: Gallery, keep_distance: float) -> Decision:
    if not len(track.embeddings):
        return Decision(False, "never seen clearly enough to be compared")
    distances = np.linalg.norm(track.embeddings[:, None] - gallery.embeddings[None], axis=2)
    by_person = {
        person: _nearest(distances[:, [name == person for name in gallery.people]].min(axis=1))
        for person in sorted(set(gallery.people))
    }
    person = min(by_person, key=lambda name: by_person[name])
    keep = by_person[person] <= keep_distance
    return Decision(keep, "near a target" if keep else "near no target", person, by_person[person])


def _one_person_is_one_face(tracks: Sequence[Track], decisions: list[Decision]) -> None:
    """Where two kept tracks of one person are seen in one frame, hide the one that is farther off."""
    taken: dict[tuple[str | None, int], int] = {}
    kept = (n for n, decision in enumerate(decisions) if decision.keep)
    for n in sorted(kept, key=lambda n: (decisions[n].distance or 0.0, n)):
        item = decisions[n]
        times = [(item.person, seen.pts) for seen in tracks[n].observations]
        rival = next((taken[time] for time in times if time in taken), None)
        if rival is None:
            taken.update(dict.fromkeys(times, tracks[n].id))
        else:
            reason = f"another face in the same frame (track {rival}) is nearer"
            decisions[n] = Decision(False, reason, item.person, item.distance)


def _share(tracks: Sequence[Track], decisions: list[Decision], keep_distance: float) -> None:
    """A hidden track that surely shows the person of a kept one is kept too."""
    kept = [n for n, decision in enumerate(decisions) if decision.keep]
    for n, item in enumerate(list(decisions)):
        if item.keep or item.distance is None or item.distance > NOT_CONTRARY * keep_distance:
            continue
        for other in kept:
            if (
                decisions[other].person == item.person
                and _distance_between(tracks[n], tracks[other]) <= SAME_PERSON * keep_distance
                and not _seen_together(tracks[n], tracks[other])
            ):
                reason = f"the same person as track {tracks[other].id}"
                decisions[n] = Decision(True, reason, item.person, item.distance)
                break


def _distance_between(one: Track, other: Track) -> float:
    pairs = np.linalg.norm(one.embeddings[:, None] - other.embeddings[None], axis=2).ravel()
    return _nearest(pairs) if len(pairs) else float("inf")


def _nearest(distances: Array) -> float:
    return float(np.sort(distances)[:BEST_VIEWS].mean())


def _seen_together(one: Track, other: Track) -> bool:
    return bool({seen.pts for seen in one.observations} & {seen.pts for seen in other.observations})
