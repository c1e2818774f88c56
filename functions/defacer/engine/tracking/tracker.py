"""Detections to tracks: one face through time, linked, gaps filled, cut at scene cuts.

A track holds only links that are beyond doubt: the boxes overlap, no other face is near, and views that follow each
other are alike. Where a face is lost for a moment, moves far, meets another face, or changes into another face, a new
track begins that `continues` the old one. The gap between them is filled, but each is identified on its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from defacer.engine.models.arrays import Array, overlap
from defacer.engine.tracking.segment_detections import DetectedFace, FrameDetections
from defacer.report.compact_boxes import CompactBoxes

SURE_LINK = 0.35  # overlap of prediction and detection
OCCLUDED = 0.1  # two faces overlapping this much may be taken for each other
LOST_SECONDS = 0.8
GAP_SECONDS = 0.3  # after a longer gap the face in the same place is a new track
ANOTHER_FACE = 1.0  # distance of two views in a row that do not show one person
SIZE_RATIO = 0.6
REACH = 0.8  # of a face's size: how far a lost face may turn up from where it was expected
FAR_VIEWS = 8  # views that are kept for a face that is unlike all targets


@dataclass(eq=False)
class Observation:
    """A face detected at time `pts`. `is_occluded` means that another face is near enough to confuse the two."""

    pts: int
    face: DetectedFace
    is_occluded: bool

    @property
    def box(self) -> Array:
        return self.face.box


@dataclass(frozen=True, eq=False)
class EmbeddedView:
    """An embedding (D,), how clear it is (`Face.quality`), and the place of its observation in the track."""

    quality: float
    embedding: Array = field(repr=False)
    place: int = 0


@dataclass(eq=False)
class Track:
    """One face through time, and its `views` in the order of time.

    `continues` is the track before it, and `link` says why that one ended: the face "moved" far or was lost for a
    moment, a view showed that it "changed", or it "met" another face.
    """

    id: int
    observations: list[Observation] = field(default_factory=list)
    views: list["EmbeddedView"] = field(default_factory=list, repr=False)
    continues: int | None = None
    link: str | None = None
    near: bool = False  # a view was like a target's: all views are kept
    packed: CompactBoxes | None = field(
        default=None, repr=False
    )  # replaces the observations once the track has ended

    @property
    def detections(self) -> CompactBoxes:
        """Where it was detected."""
        return self.packed or CompactBoxes((seen.pts, seen.box) for seen in self.observations)

    @property
    def first(self) -> int:
        return self.packed[0].pts if self.packed else self.observations[0].pts

    @property
    def last(self) -> int:
        return self.packed[-1].pts if self.packed else self.observations[-1].pts

    @property
    def last_view(self) -> EmbeddedView | None:
        return self.views[-1] if self.views else None

    @property
    def embeddings(self) -> Array:
        """Return the embeddings (N, D) of its views."""
        return _stacked([view.embedding for view in self.views])

    def best_observation(self) -> Observation | None:
        """Return the observation that probably says most about the person; None if others were always too near."""
        alone = [observation for observation in self.observations if not observation.is_occluded]
        return max(alone, key=lambda observation: observation.face.quality, default=None)

    def observe(self, observation: Observation, is_near: Callable[[Array], bool]) -> None:
        """Add the latest observation. Only the views remember embeddings."""
        embedding = observation.face.embedding
        if embedding is not None:
            if not observation.is_occluded:
                self.views.append(EmbeddedView(observation.face.quality, embedding, len(self.observations)))
                self.near = self.near or is_near(embedding)
                if not self.near and len(self.views) > FAR_VIEWS:  # the last one shows when the face changes
                    self.views.remove(min(self.views[:-1], key=lambda view: view.quality))
            observation = replace(observation, face=replace(observation.face, embedding=None))
        self.observations.append(observation)

    def shows_another(self, observation: Observation) -> bool:
        """Return whether the observation's view shows another person than the track's last view."""
        embedding = observation.face.embedding
        if embedding is None or observation.is_occluded or self.last_view is None:
            return False
        return float(np.linalg.norm(embedding - self.last_view.embedding)) > ANOTHER_FACE

    def forget(self, before: int) -> None:
        """Drop the observations before that time, except the last two, which define the speed."""
        more = sum(seen.pts < before for seen in self.observations[:-2])
        self.observations = self.observations[more:]
        views = [replace(view, place=max(0, view.place - more)) for view in self.views]
        old = [view for view in views if not view.place]
        self.views = old[-FAR_VIEWS:] + views[len(old) :]

    def split(self, place: int, number: int) -> "Track":
        """End the track before the index `place` of its looks. Return the track `number` with the rest."""
        rest = Track(number, continues=self.id, link="changed", near=self.near)
        if self.packed:
            rest.packed, self.packed = self.packed.part(place, None), self.packed.part(0, place)
        else:
            rest.observations, self.observations = self.observations[place:], self.observations[:place]
        rest.views = [replace(view, place=view.place - place) for view in self.views if view.place >= place]
        self.views = [view for view in self.views if view.place < place]
        return rest

    def predicted(self, pts: int) -> Array:
        """Return where the face is expected at `pts`: straight on, at its last speed."""
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
    """Links detections in the order of time. A face with the score `sure` can begin a track.

    `is_near` returns whether an embedding is like a target's. For other faces only FAR_VIEWS views are kept.
    """

    def __init__(
        self,
        seconds: Callable[[int], float],
        sure: float,
        is_near: Callable[[Array], bool] = lambda _: False,
    ):
        self._seconds = seconds
        self._sure = sure
        self._is_near = is_near
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
                track.packed, track.observations = track.detections, []

    def forget(self, before: int) -> None:
        """Let go of what was seen before that time, where a video has no end; not of the views that tell who it is."""
        self.tracks = [track for track in self.tracks if track.last >= before or track in self._active]
        for track in self.tracks:
            track.forget(before)
        left = {track.id for track in self.tracks}
        for track in self.tracks:
            track.continues = track.continues if track.continues in left else None

    def take(self, sample: FrameDetections) -> None:
        """Take a sample, and the cut before it if there was one."""
        if sample.starts_shot:
            self.cut()
        self.look(sample.pts, sample.faces)

    def look(self, pts: int, faces: Sequence[DetectedFace]) -> None:
        """Take what was seen at `pts`."""
        self._active = [track for track in self._active if self._seconds(pts - track.last) <= LOST_SECONDS]
        seen = [Observation(pts, face, self._is_occluded(faces, n)) for n, face in enumerate(faces)]
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
                track.observe(seen[index], self._is_near)
            else:
                self._active.remove(track)
                met = track.observations[-1].is_occluded or seen[index].is_occluded
                self._begin(seen[index], continues=track.id, link="met" if met else "moved")
        for index in sorted(free):
            if faces[index].score >= self._sure:
                self._begin(seen[index])

    def _candidates(self, pts: int, faces: Sequence[DetectedFace]) -> list[tuple[float, Track, int]]:
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

    def _is_occluded(self, faces: Sequence[DetectedFace], index: int) -> bool:
        others = [face.box for n, face in enumerate(faces) if n != index and face.score >= self._sure]
        return bool(others) and bool((overlap(faces[index].box, np.array(others)) > OCCLUDED).any())

    def _is_sure(self, track: Track, observation: Observation) -> bool:
        if track.observations[-1].is_occluded and not observation.is_occluded:
            return False  # who came out of an encounter has to be asked anew
        if self._seconds(observation.pts - track.last) > GAP_SECONDS:
            return False
        expected = np.stack([track.predicted(observation.pts), track.observations[-1].box])
        return bool(overlap(observation.box, expected).max() >= SURE_LINK)

    def _split(self, track: Track) -> Track:
        """End a track after its last view, or its first look. Return the track with the rest."""
        place = track.last_view.place + 1 if track.last_view else 0
        place = max(1, place)  # what came before it may be forgotten
        rest = track.split(place, next(self._numbers))
        self.tracks.append(rest)
        self._active[self._active.index(track)] = rest
        return rest

    def _begin(self, observation: Observation, continues: int | None = None, link: str | None = None) -> None:
        track = Track(next(self._numbers), continues=continues, link=link)
        self.tracks.append(track)
        self._active.append(track)
        track.observe(observation, self._is_near)
