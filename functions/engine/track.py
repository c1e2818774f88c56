"""Detections to tracks: one face through time, linked, gaps filled, cut at scene cuts.

A track holds only links that are beyond doubt (the boxes overlap, no other face contends, neighbouring views are
alike). Where a face is lost for a moment, moves far, meets another one, or becomes another one, a new track begins
that `continues` the old one: the gap between them is filled, but who it is gets decided for each on its own. So it
does where a face that was like a target's is like nobody's for a while, or the other way round.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from functions.engine.detect import Array, overlap
from functions.engine.findings import Face, Sighting
from functions.engine.looks import Looks

SURE_LINK = 0.35  # overlap of prediction and detection
CONTENDED = 0.1  # two faces overlapping this much may be taken for each other
LOST_SECONDS = 0.8
GAP_SECONDS = 0.3  # after a face was not seen for so long, who is at its place is asked anew
ANOTHER_FACE = 1.0  # distance of two views, one after the other, that do not show one person
NEAR, FAR = 1.0, 1.1  # of the keep distance: views that are like a target's face, and such that are not
TURN_VIEWS, TURN_SECONDS = 3, 0.5  # so many, or two that are so far apart, say that somebody else came
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


@dataclass(frozen=True, eq=False)
class ViewOfFace:
    """An embedding (D,), how much it says about who it is, and the place of its observation in the track."""

    quality: float
    embedding: Array = field(repr=False)
    place: int = 0


@dataclass(eq=False)
class Track:
    """One face through time. `views` are those that say most about who it is, best first."""

    id: int
    observations: list[Observation] = field(default_factory=list)
    views: list["ViewOfFace"] = field(default_factory=list, repr=False)
    continues: int | None = None
    last_view: "ViewOfFace | None" = field(default=None, repr=False)
    side: str | None = None  # "near" a target or "far" from all, by its clear views so far
    last_on_side: int = 0  # the observation of the last of these
    turning: list[int] = field(default_factory=list)  # observations since then whose views say otherwise
    packed: Looks | None = field(default=None, repr=False)  # in place of the observations, once it has ended

    @property
    def looks(self) -> Looks:
        """Where it was seen."""
        return self.packed or Looks((seen.pts, seen.box) for seen in self.observations)

    @property
    def first(self) -> int:
        return self.packed[0].pts if self.packed else self.observations[0].pts

    @property
    def last(self) -> int:
        return self.packed[-1].pts if self.packed else self.observations[-1].pts

    @property
    def embeddings(self) -> Array:
        """Embeddings (N, D) of its best views, best first."""
        return _stacked([view.embedding for view in self.views])

    def clearest(self) -> Observation | None:
        """The observation that says most about who it is; None if others were always too near."""
        alone = [observation for observation in self.observations if not observation.contended]
        return max(alone, key=lambda observation: observation.face.quality, default=None)

    def observe(self, observation: Observation) -> None:
        """Go on with this observation, the latest. Its embedding is remembered only among the track's views."""
        embedding = observation.face.embedding
        if embedding is not None:
            if not observation.contended:
                view = ViewOfFace(observation.face.quality, embedding, len(self.observations))
                self.views = sorted([*self.views, view], key=lambda view: -view.quality)[:VIEWS_PER_TRACK]
                self.last_view = view
            observation = replace(observation, face=replace(observation.face, embedding=None))
        self.observations.append(observation)

    def shows_another(self, observation: Observation) -> bool:
        """Whether the observation's view is of somebody else than the track's last one."""
        embedding = observation.face.embedding
        if embedding is None or observation.contended or self.last_view is None:
            return False
        return float(np.linalg.norm(embedding - self.last_view.embedding)) > ANOTHER_FACE

    def turned_at(self, distance: float, seconds: Callable[[int], float]) -> int | None:
        """Take the distance of the latest view (1: the keep distance). The place from which on it is another face.

        What lies between the last view of a target and the first of the other one goes with the other one: in
        doubt a face is hidden.
        """
        side = "near" if distance <= NEAR else "far" if distance >= FAR else None
        place = len(self.observations) - 1
        if side is None:
            return None
        if self.side in (None, side):
            self.side, self.last_on_side, self.turning = side, place, []
            return None
        self.turning.append(place)
        since = self.observations[place].pts - self.observations[self.turning[0]].pts
        if len(self.turning) < TURN_VIEWS and (len(self.turning) < 2 or seconds(since) < TURN_SECONDS):
            return None
        return self.last_on_side + 1 if side == "far" else self.turning[0]

    def forget(self, before: int) -> None:
        """Let go of the observations before that time, but for two: its speed is told from them."""
        more = sum(seen.pts < before for seen in self.observations[:-2])
        self.observations = self.observations[more:]
        self.views = [replace(view, place=view.place - more) for view in self.views]
        self.last_view = self.last_view and replace(self.last_view, place=self.last_view.place - more)
        self.last_on_side -= more
        self.turning = [max(0, place - more) for place in self.turning]

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


def _stacked(embeddings: Sequence[Array]) -> Array:
    return np.stack(embeddings) if embeddings else np.zeros((0, 0), np.float32)


class Tracker:
    """Links looks in the order of time. `sure` is the score at which a face may begin a track.

    `distance` is that of an embedding to the nearest target, with the keep distance as its unit; without it nobody is
    told from the targets.
    """

    def __init__(
        self, seconds: Callable[[int], float], sure: float, distance: Callable[[Array], float] | None = None
    ):
        self._seconds = seconds
        self._sure = sure
        self._distance = distance
        self._active: list[Track] = []
        self._numbers = count()
        self.tracks: list[Track] = []

    def cut(self) -> None:
        """The picture was cut: no face goes on."""
        self._active.clear()

    def pack(self) -> None:
        """Hold the tracks that have ended in little memory: only where they were seen, and their views."""
        for track in self.tracks:
            if track.observations and track not in self._active:
                track.packed, track.observations = track.looks, []

    def forget(self, before: int) -> None:
        """Let go of what was seen before that time, where a video has no end; not of the views that tell who it is."""
        self.tracks = [track for track in self.tracks if track.last >= before or track in self._active]
        for track in self.tracks:
            track.forget(before)
        left = {track.id for track in self.tracks}
        for track in self.tracks:
            track.continues = track.continues if track.continues in left else None

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
                    track = self._split(track, track.last_view.place + 1 if track.last_view else 0)
                self._observe(track, seen[index])
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

    def _observe(self, track: Track, observation: Observation) -> None:
        track.observe(observation)
        embedding = observation.face.embedding
        if self._distance is None or embedding is None or observation.contended:
            return
        place = track.turned_at(self._distance(embedding), self._seconds)
        if place is not None:
            rest = self._split(track, place)
            rest.side, rest.last_on_side = (
                "near" if track.side == "far" else "far",
                len(rest.observations) - 1,
            )

    def _split(self, track: Track, place: int) -> Track:
        """End a track before its observation at `place`, or after its first one. Gives the track that goes on."""
        place = max(1, place)  # what came before it may be forgotten
        rest = Track(next(self._numbers), track.observations[place:], continues=track.id)
        rest.views = [replace(view, place=view.place - place) for view in track.views if view.place >= place]
        track.observations = track.observations[:place]
        track.views = [view for view in track.views if view.place < place]
        if track.last_view and track.last_view.place >= place:
            rest.last_view = replace(track.last_view, place=track.last_view.place - place)
        self.tracks.append(rest)
        self._active[self._active.index(track)] = rest
        return rest

    def _begin(self, observation: Observation, continues: int | None = None) -> None:
        track = Track(next(self._numbers), continues=continues)
        self.tracks.append(track)
        self._active.append(track)
        self._observe(track, observation)
