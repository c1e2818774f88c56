"""Tracks x gallery -> keep or hide, with the reason.

Decided for a track, never for a frame. A track is kept when its best crops lie near enough to a target; nothing
else keeps it, but that it surely shows the same person as a track that was kept. One person can't be two faces
in one frame: the nearer one stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from functions.engine.detect import Array
from functions.engine.faces import TargetWarning
from functions.engine.gallery import Gallery
from functions.engine.options import Options
from functions.engine.track import Track

# Largest Euclidean distance at which a face is a target's. casia-webface: chosen on half of eight clips, checked on
# the other half, both ways (0.727 and 0.732), then rounded down: the nearest stranger's track of 2,433 pairs lies at
# 0.75, the nearest of those with a real target picture at 0.79. vggface2: what the 2019 project used with it, not
# measured here.
KEEP_DISTANCE = {"sface": 0.97, "facenet-casia": 0.72, "facenet-vggface2": 0.8}
BEST_VIEWS = 3  # a track's distance is the mean of this many nearest views
MAYBE = (
    1.3  # of the keep distance: all views of a face this near are embedded, so that each moment has its own
)
SAME_PERSON = 0.75  # of the keep distance: two tracks this near show one person
TWINS = 0.07  # of the keep distance: of two faces in one frame the nearer one must be nearer by so much
NOT_CONTRARY = 1.3  # of the keep distance: a track farther than this from the target inherits nothing


def keep_distance_of(options: Options) -> float:
    """The largest distance at which a face is a target's."""
    return KEEP_DISTANCE[options.recognizer] if options.keep_distance is None else options.keep_distance


@dataclass(frozen=True)
class Decision:
    """Keep or hide. `person` and `distance` are the nearest target's, None without a gallery or a crop."""

    keep: bool
    reason: str
    person: str | None = None
    distance: float | None = None


def decide(
    tracks: Sequence[Track],
    gallery: Gallery | None,
    keep_distance: float,
    progress: Callable[[], None] = lambda: None,
) -> list[Decision]:
    """One decision for each track, from its views. `progress` is called often, and may raise to stop."""
    if gallery is None or not gallery.people:
        return [Decision(False, "no targets: everyone is hidden") for _ in tracks]
    decisions = []
    for track in tracks:
        progress()
        decisions.append(_by_distance(track, gallery, keep_distance))
    _one_person_is_one_face(tracks, decisions, keep_distance)
    _share(tracks, decisions, keep_distance, progress)
    _one_person_is_one_face(tracks, decisions, keep_distance)
    return decisions


def may_be_target(embedding: Array, gallery: Gallery, keep_distance: float) -> bool:
    """Return whether a face is near enough to a target to embed all its views."""
    return nearest_target(embedding, gallery) < MAYBE * keep_distance


def nearest_target(embedding: Array, gallery: Gallery) -> float:
    """The distance of an embedding (512,) to the nearest picture of a target."""
    return float(np.linalg.norm(gallery.embeddings - embedding, axis=1).min())


def _by_distance(track: Track, gallery: Gallery, keep_distance: float) -> Decision:
    by_person = distances_of(track, gallery)
    if not by_person:
        return Decision(False, "never seen clearly enough to be compared")
    person = min(by_person, key=lambda name: by_person[name])
    keep = by_person[person] <= keep_distance
    return Decision(keep, "near a target" if keep else "near no target", person, by_person[person])


def distances_of(track: Track, gallery: Gallery) -> dict[str, float]:
    """Return a track's distance to each person in the gallery; empty if it was never seen clearly."""
    embeddings = track.embeddings
    if not len(embeddings):
        return {}
    distances = np.linalg.norm(embeddings[:, None] - gallery.embeddings[None], axis=2)
    return {
        person: _nearest(distances[:, [name == person for name in gallery.people]].min(axis=1))
        for person in sorted(set(gallery.people))
    }


def warnings_about(
    tracks: Sequence[Track],
    decisions: Sequence[Decision],
    gallery: Gallery | None,
    keep_distance: float,
    progress: Callable[[], None] = lambda: None,
) -> tuple[TargetWarning, ...]:
    """Return the gallery's warnings, and one for each person without a kept track.

    `progress` is called often, and might raise to stop.
    """
    if gallery is None:
        return ()
    kept = {decision.person for decision in decisions if decision.keep}
    missing = sorted(set(gallery.people) - kept)
    nearest: dict[str, tuple[float, int]] = {}  # distance and index of the track
    for number, track in enumerate(tracks if missing else ()):
        progress()
        for person, distance in distances_of(track, gallery).items():
            nearest[person] = min(nearest.get(person, (distance, number)), (distance, number))
    warnings = list(gallery.warnings)
    for person in missing:
        if person not in nearest:
            what = "no face was seen clearly enough to compare it" if tracks else "the video shows no face"
            warnings.append(TargetWarning("no-track-kept", person, f"No track of {person} was kept: {what}."))
            continue
        distance, number = nearest[person]
        nearest_id, decision = tracks[number].id, decisions[number]
        message = (
            f"No track of {person} was kept. The nearest is track {nearest_id} at distance {distance:.2f}, "
            f"and the match threshold is {keep_distance:.2f}."
        )
        if distance <= keep_distance:
            outcome = "kept as another person" if decision.keep else f"hidden because {decision.reason}"
            message += f" That track is {outcome}."
        warnings.append(TargetWarning("no-track-kept", person, message, nearest_id))
    return tuple(warnings)


def _one_person_is_one_face(tracks: Sequence[Track], decisions: list[Decision], keep_distance: float) -> None:
    """Where two kept tracks of one person are seen in one frame, hide the one that is farther off.

    Both, if they are about as near: either may be the other one.
    """
    taken: dict[tuple[str | None, int], int] = {}  # person and time to the track
    kept = (n for n, decision in enumerate(decisions) if decision.keep)
    for n in sorted(kept, key=lambda n: (decisions[n].distance or 0.0, n)):
        item = decisions[n]
        times = [(item.person, seen.pts) for seen in tracks[n].looks]
        rival = next((taken[time] for time in times if time in taken), None)
        if rival is None:
            taken.update(dict.fromkeys(times, n))
            continue
        reason = f"another face in the same frame (track {tracks[rival].id}) is nearer"
        decisions[n] = Decision(False, reason, item.person, item.distance)
        first = decisions[rival]
        if (item.distance or 0.0) - (first.distance or 0.0) < TWINS * keep_distance:
            reason = f"another face in the same frame (track {tracks[n].id}) is as near"
            decisions[rival] = Decision(False, reason, first.person, first.distance)


def _share(
    tracks: Sequence[Track], decisions: list[Decision], keep_distance: float, progress: Callable[[], None]
) -> None:
    """A hidden track that surely shows the person of a kept one is kept too."""
    limit = SAME_PERSON * keep_distance
    kept = [n for n, decision in enumerate(decisions) if decision.keep]
    if not kept:
        return
    views = np.concatenate([tracks[n].embeddings for n in kept])
    owners = np.repeat(kept, [len(tracks[n].views) for n in kept])
    for n, item in enumerate(list(decisions)):
        progress()
        if item.keep or item.distance is None or item.distance > NOT_CONTRARY * keep_distance:
            continue
        # Of unit vectors; |a - b|^2 = 2 - 2 a.b
        distances = np.sqrt(np.maximum(2 - 2 * tracks[n].embeddings @ views.T, 0))
        near = np.unique(owners[distances.min(axis=0) <= limit])
        for other in map(int, near):
            if (
                decisions[other].person == item.person
                and _nearest(distances[:, owners == other].ravel()) <= limit
                and not _seen_together(tracks[n], tracks[other])
            ):
                reason = f"the same person as track {tracks[other].id}"
                decisions[n] = Decision(True, reason, item.person, item.distance)
                break


def _nearest(distances: Array) -> float:
    return float(np.sort(distances)[:BEST_VIEWS].mean())


def _seen_together(one: Track, other: Track) -> bool:
    return bool({seen.pts for seen in one.looks} & {seen.pts for seen in other.looks})
