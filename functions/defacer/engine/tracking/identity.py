"""Which tracks show a target: tracks x gallery -> keep or hide, with the reason.

A distance to one picture is weak evidence, and what the video itself shows is stronger. So the tracks that are surely a
target's are found first. Every other track is then compared with the target's pictures and with the views of the sure
tracks, and is kept only with evidence of its own:

| evidence for a target | kept if |
|---|---|
| near the pictures (`sure`) | it also resembles the nearest sure track, if the views of both are clear |
| inside the match threshold, no sure track | nothing else speaks against it |
| inside it, beside a sure track | it resembles the kept views, or is hardly farther than the sure track |
| beyond it, up to `limit` | it resembles the kept views closely, or continues a kept track without meeting a face |

Two faces in one frame are never one person. A part of a kept track whose views are clearly unlike the target is split
off and hidden. In doubt a face is hidden.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from defacer.engine.models.arrays import Array
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.recognition.recognition_levels import MEASURED, match_threshold_of
from defacer.engine.tracking.tracker import ANOTHER_FACE, EmbeddedView, Track
from defacer.report.texts import describe_reason
from defacer.report.tracks import Reason, TargetWarning

BEST_VIEWS = 3  # a track's distance is the mean of this many nearest views
CLEAR = 0.6  # smallest quality of views that are compared within a video: small dark faces are all alike
VERY_CLEAR = 0.85  # one such view is enough to say that another person is there
BLOCK = 256  # views that are compared at once: a person is shown for hours
TWINS = 0.07  # the nearer one of two faces in one frame must be nearer by this distance


@dataclass(frozen=True)
class Limits:
    """The distances that decide; `match` is the match threshold. All are between unit vectors.

    To the pictures: `sure` needs no other evidence, `limit` is the largest that other evidence can outweigh, and up to
    `maybe` all views are embedded. `lag` is how much farther than the nearest kept track another one can be. Between
    views of the video: `resembles` for a track inside the match threshold, `alike` for a track beyond it, `unlike` for
    a view of another person, `apart` for a track of another person. `together` is for the mean of both distances.
    """

    match: float
    sure: float
    lag: float
    limit: float
    maybe: float
    resembles: float
    alike: float
    together: float
    unlike: float
    apart: float

    @classmethod
    def of(cls, recognizer: str, match: float) -> "Limits":
        """Return the limits that were chosen for SFace, in the unit of another recognizer, around `match`."""
        unit = MEASURED[recognizer].levels["balanced"].match / MEASURED["sface"].levels["balanced"].match
        return cls(
            match=match,
            sure=min(0.8 * unit, match),
            lag=0.4 * unit,
            limit=match + 0.18 * unit,
            maybe=match + 0.23 * unit,
            resembles=0.85 * unit,
            alike=0.73 * unit,
            together=unit,
            unlike=1.05 * unit,
            apart=1.15 * unit,
        )


def limits_of(options: Options) -> Limits:
    """Return the distances that decide for a recognizer and a match threshold."""
    return Limits.of(options.recognizer, match_threshold_of(options))


@dataclass(frozen=True)
class TrackDecision:
    """Keep or hide. `person` and `distance` are the nearest target's, None without a gallery or a view.

    `strangers` are the parts of a kept track, from one place to before another, whose views are unlike the target.
    `rival` is the id of the track that `reason` refers to.
    """

    keep: bool
    reason: Reason
    person: str | None = None
    distance: float | None = None
    strangers: tuple[tuple[int, int], ...] = ()
    rival: int | None = None


def may_be_target(embedding: Array, gallery: Gallery, limits: Limits) -> bool:
    """Return whether a face is near enough to a target to embed and remember all its views."""
    return nearest_target(embedding, gallery) < limits.maybe


def nearest_target(embedding: Array, gallery: Gallery) -> float:
    """Return the distance of an embedding (D,) to the nearest picture of a target."""
    return float(np.linalg.norm(gallery.embeddings - embedding, axis=1).min())


def decide_tracks(
    tracks: Sequence[Track],
    gallery: Gallery | None,
    limits: Limits,
    progress: Callable[[], None] = lambda: None,
) -> list[TrackDecision]:
    """Return one decision for each track, from its views. `progress` is called often, and can raise to stop."""
    if gallery is None or not gallery.people:
        return [TrackDecision(False, Reason.NO_TARGETS) for _ in tracks]
    distances = []
    for track in tracks:
        progress()
        distances.append(distances_of(track, gallery))
    decisions = [_nearest(by_person) for by_person in distances]
    for person in sorted(set(gallery.people)):
        _decide_person(_Person(person, tracks, distances, limits, gallery), decisions, progress)
    return decisions


def _nearest(by_person: Mapping[str, float]) -> TrackDecision:
    if not by_person:
        return TrackDecision(False, Reason.NOT_COMPARABLE)
    person = min(by_person, key=lambda name: by_person[name])
    return TrackDecision(False, Reason.NO_MATCH, person, by_person[person])


class _Person:
    """One target's evidence: distances to the pictures, and the views of the tracks that are kept for the target."""

    def __init__(
        self,
        name: str,
        tracks: Sequence[Track],
        distances: Sequence[Mapping[str, float]],
        limits: Limits,
        gallery: Gallery,
    ):
        self.name = name
        self.pictures: Array = gallery.embeddings[[person == name for person in gallery.people]]
        self.tracks = tracks
        self.limits = limits
        # A track is compared with its nearest target alone: one face is not two people.
        self.distances = {
            n: by_person[name]
            for n, by_person in enumerate(distances)
            if by_person and min(by_person, key=lambda key: by_person[key]) == name
        }
        self.kept: dict[int, Reason] = {}  # by the index of the track
        self.refused: dict[int, tuple[Reason, int | None]] = {}  # with the id of the rival
        self.views: Array | None = None  # (N, D), of trusted tracks, inside the match threshold
        self._trusted: dict[int, Array] = {}  # the same by the index of the track
        self._times: dict[int, int] = {}

    def nearest_first(self, above: float, up_to: float) -> list[int]:
        found = (n for n, distance in self.distances.items() if above < distance <= up_to)
        return sorted(found, key=lambda n: (self.distances[n], n))

    def keep(self, n: int, reason: Reason, trusted: bool = True) -> None:
        """Keep the track; if it is `trusted`, its views inside the match threshold are compared with others.

        Its other views may show a stranger, so they vouch for no one.
        """
        self.kept[n] = reason
        self._times.update(dict.fromkeys((detection.pts for detection in self.tracks[n].detections), n))
        views = clear_views(self.tracks[n])
        if len(views):
            views = views[_to_nearest(views, self.pictures) <= self.limits.match]
        if trusted and len(views):
            self._trusted[n] = views
            self.views = views if self.views is None else np.concatenate([self.views, views])

    def stop_keeping(self, n: int) -> None:
        """Keep the track no longer, and do not compare others with its views. It stays a rival of other tracks."""
        del self.kept[n]
        if self._trusted.pop(n, None) is not None:
            self.views = np.concatenate(list(self._trusted.values())) if self._trusted else None

    def rival(self, n: int) -> int | None:
        """Return a kept track that is seen in one frame with this one."""
        return next(
            (self._times[seen.pts] for seen in self.tracks[n].detections if seen.pts in self._times), None
        )

    def unlikeness(self, n: int) -> float:
        """Return the distance of a track to the kept views; infinite without clear views."""
        return _between(clear_views(self.tracks[n]), self.views)

    def can_be(self, n: int) -> bool:
        """Return whether nothing rules out that the track shows this target."""
        return self.distances.get(n, 2.0) <= self.limits.limit and self.rival(n) is None

    @property
    def best(self) -> float | None:
        return min((self.distances[n] for n in self.kept), default=None)


def _decide_person(person: _Person, decisions: list[TrackDecision], progress: Callable[[], None]) -> None:
    limits = person.limits
    _keep_near(person, progress)
    for n in person.nearest_first(limits.match, limits.limit):
        progress()
        if person.kept and person.can_be(n) and _resembles_the_kept(person, n):
            person.keep(n, Reason.SAME_PERSON, trusted=False)
    _keep_continuations(person, progress)
    for n, (reason, rival) in person.refused.items():
        decisions[n] = TrackDecision(False, reason, person.name, person.distances[n], rival=rival)
    for n, reason in person.kept.items():
        decisions[n] = TrackDecision(
            True, reason, person.name, person.distances[n], tuple(_strangers(person, n))
        )


def _resembles_the_kept(person: _Person, n: int) -> bool:
    """Return whether a track beyond the match threshold shows the target by its likeness to the kept tracks."""
    limits, distance, unlikeness = person.limits, person.distances[n], person.unlikeness(n)
    if unlikeness <= limits.alike:
        return True
    hardly_farther = person.best is not None and distance <= person.best + limits.lag
    return hardly_farther and (distance + unlikeness) / 2 <= limits.together


def _keep_near(person: _Person, progress: Callable[[], None]) -> None:
    """Keep the tracks inside the match threshold, nearest first, that do not disagree with those kept before."""
    limits = person.limits
    twins: set[int] = set()
    for n in person.nearest_first(-1.0, limits.match):
        progress()
        distance, best, unlikeness = person.distances[n], person.best, person.unlikeness(n)
        rival = person.rival(n)
        if rival is not None:
            person.refused[n] = (Reason.RIVAL_NEARER, person.tracks[rival].id)
            if distance - person.distances[rival] < TWINS:
                person.refused[n] = (Reason.RIVAL_AS_NEAR, person.tracks[rival].id)
                twins.add(rival)
                person.refused[rival] = (Reason.RIVAL_AS_NEAR, person.tracks[n].id)
            continue
        agrees = unlikeness <= limits.apart or unlikeness == float("inf")  # infinite: nothing to compare
        if best is None or (distance <= limits.sure and agrees):
            person.keep(n, Reason.MATCHED)
        elif unlikeness <= limits.resembles or (distance <= best + limits.lag and unlikeness <= limits.apart):
            person.keep(n, Reason.MATCHED, trusted=unlikeness <= limits.resembles)
        else:
            person.refused[n] = (Reason.AMBIGUOUS, None)
    for n in twins:
        person.stop_keeping(n)


def _keep_continuations(person: _Person, progress: Callable[[], None]) -> None:
    """Keep the tracks that continue a kept one, or that a kept one continues, where the face met no other one.

    On one side the adjoining views must be alike. Between two kept tracks a face can look otherwise for a moment.
    """
    by_id = {track.id: n for n, track in enumerate(person.tracks)}
    before = {n: by_id[track.continues] for n, track in enumerate(person.tracks) if track.continues in by_id}
    after = {other: n for n, other in before.items()}
    waiting = list(person.kept)
    while waiting:
        progress()
        kept = waiting.pop()
        for n in (before.get(kept), after.get(kept)):
            if n is None or n in person.kept or n in person.refused or not person.can_be(n):
                continue
            first, second = (n, kept) if before.get(kept) == n else (kept, n)
            moved = person.tracks[second].link == "moved"
            alike = adjoining_distance(person.tracks[first], person.tracks[second]) < ANOTHER_FACE
            between = before.get(n) in person.kept and after.get(n) in person.kept
            met = "met" in (person.tracks[n].link, person.tracks[after[n]].link if n in after else None)
            if (moved and alike) or (between and not met):
                person.keep(n, Reason.CONTINUATION, trusted=False)
                waiting.append(n)


def _strangers(person: _Person, n: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a kept track whose views are clearly unlike the target, up to the views before and after.

    The detections after a change that no view shows belong to them too: they can be of the face before.
    """
    track = person.tracks[n]
    unlike = _unlike_views(track.views, person)
    run: list[EmbeddedView] = []
    start = track.views[0].place if track.link == "changed" and track.views else 0
    if start:
        yield 0, start
    for number, view in enumerate((*track.views, None)):
        if view is not None and number in unlike:
            run.append(view)
            continue
        if len(run) >= 2 or any(other.quality >= VERY_CLEAR for other in run):
            yield start, len(track.detections) if view is None else view.place
        run = []
        start = 0 if view is None else view.place + 1


def _unlike_views(views: Sequence[EmbeddedView], person: _Person) -> set[int]:
    """Return the numbers of the views that are unlike the target, and of those between them without evidence."""
    unlike: set[int] = set()
    last: int | None = None  # the last unlike view, if no view of the target came after it
    for number, view in enumerate(views):
        embedding = view.embedding[None]
        distance = _to_nearest(embedding, person.pictures)[0]
        if distance <= person.limits.match:
            last = None
        elif distance > person.limits.limit and _between(embedding, person.views) > person.limits.unlike:
            unlike.update(range(number if last is None else last, number + 1))
            last = number
    return unlike


def adjoining_distance(before: Track, after: Track) -> float:
    """Return the distance between the last view of a track and the first of the next one."""
    if not before.views or not after.views:
        return 2.0
    return float(np.linalg.norm(before.views[-1].embedding - after.views[0].embedding))


def _to_nearest(views: Array, pictures: Array) -> Array:
    """Return the distance of each view (N, D) to the nearest picture."""
    distances: Array = np.sqrt(np.maximum(2 - 2 * views @ pictures.T, 0)).min(axis=1)
    return distances


def clear_views(track: Track) -> Array:
    """Return the embeddings (N, D) of the views that can be compared with others of the video."""
    clear = [view.embedding for view in track.views if view.quality >= CLEAR]
    return np.stack(clear) if clear else np.zeros((0, 0), np.float32)


def _between(views: Array, others: Array | None) -> float:
    """Return the mean of the BEST_VIEWS nearest distances; infinite without views."""
    if others is None or not len(views) or not len(others):
        return float("inf")
    nearest: list[float] = []
    for first in range(0, len(views), BLOCK):
        products = (views[first : first + BLOCK] @ others.T).ravel()
        place = max(0, len(products) - BEST_VIEWS)
        nearest += np.partition(products, place)[place:].tolist()
    return mean_of_nearest(np.sqrt(np.maximum(2 - 2 * np.array(nearest), 0)))


def mean_of_nearest(distances: Array) -> float:
    best = min(BEST_VIEWS, len(distances))
    return float(np.partition(distances, best - 1)[:best].mean())


def distances_of(track: Track, gallery: Gallery) -> dict[str, float]:
    """Return a track's distance to each person in the gallery; empty if it was never seen clearly."""
    embeddings = track.embeddings
    if not len(embeddings):
        return {}
    distances = np.linalg.norm(embeddings[:, None] - gallery.embeddings[None], axis=2)
    return {
        person: mean_of_nearest(distances[:, [name == person for name in gallery.people]].min(axis=1))
        for person in sorted(set(gallery.people))
    }


def warnings_about(
    tracks: Sequence[Track],
    decisions: Sequence[TrackDecision],
    gallery: Gallery | None,
    match: float,
    progress: Callable[[], None] = lambda: None,
) -> tuple[TargetWarning, ...]:
    """Return the gallery's warnings, and one for each person without a kept track.

    `progress` is called often, and can raise to stop.
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
            f"and the match threshold is {match:.2f}."
        )
        if distance <= match:
            outcome = (
                "kept as another person"
                if decision.keep
                else f"hidden ({describe_reason(decision.reason, decision.rival)})"
            )
            message += f" That track is {outcome}."
        warnings.append(TargetWarning("no-track-kept", person, message, nearest_id))
    return tuple(warnings)
