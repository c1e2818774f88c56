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

BEST_CROPS = 3  # a track's distance is the mean of this many nearest crops
SAME_PERSON = 0.75  # of the keep distance: two tracks this near show one person
NOT_CONTRARY = 1.3  # of the keep distance: a track farther than this from the target inherits nothing


@dataclass(frozen=True)
class Decision:
    """Keep or hide. `person` and `distance` are the nearest target's, None without a gallery or a crop."""

    keep: bool
    reason: str
    person: str | None = None
    distance: float | None = None


@dataclass
class _Evidence:
    track: Track
    embeddings: Array
    person: str | None
    distance: float | None


def decide(
    tracks: Sequence[Track], embeddings: Sequence[Array], gallery: Gallery | None, keep_distance: float
) -> list[Decision]:
    """One decision for each track; `embeddings` (N, 512) are those of its best crops."""
    if gallery is None or not gallery.people:
        return [Decision(False, "no targets: everyone is hidden") for _ in tracks]
    evidence = [_gather(track, found, gallery) for track, found in zip(tracks, embeddings, strict=True)]
    decisions = [_by_distance(item, keep_distance) for item in evidence]
    _one_person_is_one_face(evidence, decisions)
    _share(evidence, decisions, keep_distance)
    _one_person_is_one_face(evidence, decisions)
    return decisions


def _gather(track: Track, embeddings: Array, gallery: Gallery) -> _Evidence:
    if not len(embeddings):
        return _Evidence(track, embeddings, None, None)
    distances = np.linalg.norm(embeddings[:, None] - gallery.embeddings[None], axis=2)
    best: tuple[float, str] | None = None
    for person in sorted(set(gallery.people)):
        columns = [index for index, name in enumerate(gallery.people) if name == person]
        nearest = np.sort(distances[:, columns].min(axis=1))[:BEST_CROPS]
        if best is None or nearest.mean() < best[0]:
            best = (float(nearest.mean()), person)
    if best is None:
        return _Evidence(track, embeddings, None, None)
    return _Evidence(track, embeddings, best[1], best[0])


def _by_distance(item: _Evidence, keep_distance: float) -> Decision:
    if item.distance is None:
        return Decision(False, "never seen clearly enough to be compared")
    if item.distance <= keep_distance:
        return Decision(True, "near a target", item.person, item.distance)
    return Decision(False, "near no target", item.person, item.distance)


def _one_person_is_one_face(evidence: list[_Evidence], decisions: list[Decision]) -> None:
    """Where two kept tracks of one person are seen in one frame, hide the one that is farther off."""
    order = sorted(
        (index for index, decision in enumerate(decisions) if decision.keep),
        key=lambda index: (decisions[index].distance or 0.0, index),
    )
    for position, index in enumerate(order):
        for nearer in order[:position]:
            if (
                decisions[nearer].keep
                and decisions[nearer].person == decisions[index].person
                and _seen_together(evidence[nearer].track, evidence[index].track)
            ):
                item = decisions[index]
                reason = f"another face in the same frame (track {evidence[nearer].track.id}) is nearer"
                decisions[index] = Decision(False, reason, item.person, item.distance)
                break


def _share(evidence: list[_Evidence], decisions: list[Decision], keep_distance: float) -> None:
    """A hidden track that surely shows the person of a kept one is kept too."""
    kept = [index for index, decision in enumerate(decisions) if decision.keep]
    for index, item in enumerate(evidence):
        if decisions[index].keep or item.distance is None or item.distance > NOT_CONTRARY * keep_distance:
            continue
        for other in kept:
            same = _distance_between(item.embeddings, evidence[other].embeddings)
            if (
                decisions[other].person == item.person
                and same <= SAME_PERSON * keep_distance
                and not _seen_together(item.track, evidence[other].track)
            ):
                reason = f"the same person as track {evidence[other].track.id}"
                decisions[index] = Decision(True, reason, item.person, item.distance)
                break


def _distance_between(one: Array, other: Array) -> float:
    pairs = np.sort(np.linalg.norm(one[:, None] - other[None], axis=2).ravel())
    return float(pairs[:BEST_CROPS].mean()) if len(pairs) else float("inf")


def _seen_together(one: Track, other: Track) -> bool:
    return bool({o.pts for o in one.observations} & {o.pts for o in other.observations})
