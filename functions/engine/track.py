"""Detections to tracks: one face through time, linked, gaps filled, cut at scene cuts.

A track holds only links that are beyond doubt (the boxes overlap, no other face contends, neighbouring views are
alike). Where a face is lost for a moment, moves far, meets another one, or becomes another one, a new track begins
that `continues` the old one: the gap between them is filled, but who it is gets decided for each on its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from functions.engine.detect import Array, overlap
from functions.engine.findings import Face, Sighting

SURE_LINK = 0.35  # overlap of prediction and detection
CONTENDED = 0.25  # two faces overlapping this much may be taken for each other
LOST_SECONDS = 0.8
GAP_SECONDS = 0.3  # after a face was not seen for so long, who is at its place is asked anew
ANOTHER_FACE = 1.0  # distance of two views, one after the other, that do not show one person
SIZE_RATIO = 0.6
REACH = 0.8  # of a face's size: how far a lost face may turn up from where it was expected
VIEWS_PER_TRACK = 8


@dataclass(eq=False)
class Observation:
    """A face seen at time `pts`. `contended`: another face is so near that it may be taken for this one."""

    pts: int
    face: Face
    contended: bool

    @property
    def box(self) -> Array:
        return self.face.box


@dataclass(eq=False)
class Track:
    """One face through time. `views` are (quality, embedding) of those that say most about who it is."""

    id: int
    observations: list[Observation] = field(default_factory=list)
    views: list[tuple[float, Array]] = field(default_factory=list, repr=False)
    continues: int | None = None
    last_view: tuple[int, Array] | None = field(
        default=None, repr=False
    )  # which observation, and its embedding

    @property
    def first(self) -> int:
        return self.observations[0].pts

    @property
    def last(self) -> int:
        return self.observations[-1].pts

    @property
    def embeddings(self) -> Array:
        """Embeddings (N, 512) of its best views, best first."""
        return np.array([embedding for _, embedding in self.views], np.float32).reshape(-1, 512)

    def clearest(self) -> Observation | None:
        """The observation that says most about who it is; None if others were always too near."""
        alone = [observation for observation in self.observations if not observation.contended]
        return max(alone, key=lambda observation: observation.face.quality, default=None)

    def observe(self, observation: Observation) -> None:
        """Go on with this observation, the latest. Its embedding is remembered only among the track's views."""
        embedding = observation.face.embedding
        if embedding is not None:
            if not observation.contended:
                ranked = sorted(
                    [*self.views, (observation.face.quality, embedding)], key=lambda view: -view[0]
                )
                self.views = ranked[:VIEWS_PER_TRACK]
                self.last_view = len(self.observations), embedding
            observation = replace(observation, face=replace(observation.face, embedding=None))
        self.observations.append(observation)

    def shows_another(self, observation: Observation) -> bool:
        """Whether the observation's view is of somebody else than the track's last one."""
        embedding = observation.face.embedding
        if embedding is None or observation.contended or self.last_view is None:
            return False
        return float(np.linalg.norm(embedding - self.last_view[1])) > ANOTHER_FACE

    def predicted(self, pts: int) -> Array:
        """Where the face is expected at `pts`: straight on, at its last speed."""
        last = self.observations[-1]
        if len(self.observations) < 2 or last.pts == self.observations[-2].pts:
            return last.box
        before = self.observations[-2]
        ahead = min((pts - last.pts) / (last.pts - before.pts), 2.0)
        shift = ((last.box - before.box).reshape(2, 2).mean(axis=0)) * ahead
        expected: Array = (last.box + np.tile(shift, 2)).astype(np.float32)
        return expected


class Tracker:
    """Links looks in the order of time. `sure` is the score at which a face may begin a track."""

    def __init__(self, seconds: Callable[[int], float], sure: float):
        self._seconds = seconds
        self._sure = sure
        self._active: list[Track] = []
        self.tracks: list[Track] = []

    def cut(self) -> None:
        """The picture was cut: no face goes on."""
        self._active.clear()

    def take(self, sighting: Sighting) -> None:
        """Take a sighting, and the cut before it if there was one."""
        if sighting.starts_shot:
            self.cut()
        self.look(sighting.pts, sighting.faces)

    def look(self, pts: int, faces: Sequence[Face]) -> None:
        """Take what was seen at `pts`."""
        self._active = [track for track in self._active if self._seconds(pts - track.last) <= LOST_SECONDS]
        seen = [Observation(pts, face, self._contended(faces, n)) for n, face in enumerate(faces)]
        free = set(range(len(faces)))
        linked: set[int] = set()
        for _, track, index in self._candidates(pts, faces):
            if index not in free or track.id in linked:
                continue
            free.discard(index)
            linked.add(track.id)
            if self._is_sure(track, seen[index]):
                if track.shows_another(seen[index]):
                    track = self._split(track)
                track.observe(seen[index])
            else:
                self._active.remove(track)
                self._begin(seen[index], continues=track.id)
        for index in sorted(free):
            if faces[index].score >= self._sure:
                self._begin(seen[index])

    def _candidates(self, pts: int, faces: Sequence[Face]) -> list[tuple[float, Track, int]]:
        """Possible links, best first: by overlap with the prediction, then by nearness."""
        links = []
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        for track in self._active:
            if not len(boxes):
                break
            expected = track.predicted(pts)
            shares = np.maximum(overlap(expected, boxes), overlap(track.observations[-1].box, boxes))
            size = np.sqrt(np.prod(expected[2:] - expected[:2]))
            sizes = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
            ratio = np.minimum(size, sizes) / np.maximum(size, sizes)
            centers = (boxes[:, :2] + boxes[:, 2:]) / 2
            away = np.linalg.norm(centers - (expected[:2] + expected[2:]) / 2, axis=1) / max(size, 1.0)
            for index in np.flatnonzero((shares >= 0.1) | ((away <= REACH) & (ratio >= SIZE_RATIO))):
                links.append((float(shares[index] - 0.1 * away[index]), track, int(index)))
        return sorted(links, key=lambda link: (-link[0], link[1].id, link[2]))

    def _contended(self, faces: Sequence[Face], index: int) -> bool:
        others = [face.box for n, face in enumerate(faces) if n != index and face.score >= self._sure]
        return bool(others) and bool((overlap(faces[index].box, np.array(others)) > CONTENDED).any())

    def _is_sure(self, track: Track, observation: Observation) -> bool:
        if track.observations[-1].contended and not observation.contended:
            return False  # who came out of an encounter has to be asked anew
        if self._seconds(observation.pts - track.last) > GAP_SECONDS:
            return False
        expected = np.stack([track.predicted(observation.pts), track.observations[-1].box])
        return bool(overlap(observation.box, expected).max() >= SURE_LINK)

    def _split(self, track: Track) -> Track:
        """End a track with its last view: whose face was there since is not known. Gives the track that goes on."""
        kept = track.last_view[0] + 1 if track.last_view else len(track.observations)
        rest = Track(len(self.tracks), track.observations[kept:], continues=track.id)
        track.observations = track.observations[:kept]
        self.tracks.append(rest)
        self._active[self._active.index(track)] = rest
        return rest

    def _begin(self, observation: Observation, continues: int | None = None) -> None:
        track = Track(len(self.tracks), continues=continues)
        self.tracks.append(track)
        self._active.append(track)
        track.observe(observation)
