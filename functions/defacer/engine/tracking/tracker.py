"""Link detections to tracks: one face through time, never across a shot cut.

A track has only certain links: the boxes overlap, no other face is near, and consecutive views are alike. A new track
that `continues` the old one begins where a face is lost for a moment, moves far, meets another face, or changes into
another face. The gap between them is masked, but each track is identified on its own.

A face can be covered, turned away, or appear slowly. Then the detector is unsure of it. Unsure detections away from
sure ones are followed too. They become a track if a sure detection continues them, or if they last for FAINT_SECONDS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from defacer.engine.models.arrays import Array, compute_overlaps, is_part_of_any
from defacer.engine.tracking.segment_detections import DetectedFace, FrameDetections
from defacer.report.compact_boxes import CompactBoxes

MIN_CERTAIN_OVERLAP = 0.35  # overlap of prediction and detection
OCCLUSION_OVERLAP = 0.1  # two faces with this overlap can be confused
LOST_SECONDS = 0.8  # after a longer gap a face is not linked at all
GAP_SECONDS = 0.3  # after a longer gap the face in the same place is a new track
ANOTHER_FACE = 1.0  # distance of two consecutive views that show different people
SIZE_RATIO = 0.6
MAX_DISTANCE = 0.8  # of a face's size, between a face that was lost and its predicted place
FAINT_SECONDS, MIN_FAINT = 0.4, 3  # time and number of unsure detections that are a face
MAX_UNLIKE_VIEWS = 8  # views that are kept for a face that is unlike all targets


@dataclass(eq=False)
class Observation:
    """A face detected at time `pts`. It `is_occluded` if another face is so near that the two can be confused."""

    pts: int
    face: DetectedFace
    is_occluded: bool

    @property
    def box(self) -> Array:
        return self.face.box


@dataclass(frozen=True, eq=False)
class EmbeddedView:
    """An embedding (D,), its quality (see `DetectedFace`), and the index of its observation in the track."""

    quality: float
    embedding: Array = field(repr=False)
    place: int = 0


@dataclass(eq=False)
class Track:
    """One face through time, and its `views` in the order of time.

    `continues` is the number of the track before it, and `link` says why that track ended: the face "moved" far or was
    lost for a moment, a view showed that it "changed", or it "met" another face.
    """

    id: int
    observations: list[Observation] = field(default_factory=list)
    views: list["EmbeddedView"] = field(default_factory=list, repr=False)
    continues: int | None = None
    link: str | None = None
    is_near_target: bool = False  # a view was like a target's: all views are kept
    compact_boxes: CompactBoxes | None = field(
        default=None, repr=False
    )  # replaces the observations once the track has ended

    @property
    def detections(self) -> CompactBoxes:
        """Return its boxes in the sampled frames."""
        return self.compact_boxes or CompactBoxes((seen.pts, seen.box) for seen in self.observations)

    @property
    def first(self) -> int:
        return self.compact_boxes[0].pts if self.compact_boxes else self.observations[0].pts

    @property
    def last(self) -> int:
        return self.compact_boxes[-1].pts if self.compact_boxes else self.observations[-1].pts

    @property
    def last_view(self) -> EmbeddedView | None:
        return self.views[-1] if self.views else None

    @property
    def embeddings(self) -> Array:
        """Return the embeddings (N, D) of its views."""
        return _stack([view.embedding for view in self.views])

    def best_observation(self) -> Observation | None:
        """Return the observation with the highest quality, or None if each is occluded."""
        alone = [observation for observation in self.observations if not observation.is_occluded]
        return max(alone, key=lambda observation: observation.face.quality, default=None)

    def observe(self, observation: Observation, is_near: Callable[[Array], bool]) -> None:
        """Add the latest observation. Its embedding is stored in the views only."""
        embedding = observation.face.embedding
        if embedding is not None:
            if not observation.is_occluded:
                self.views.append(EmbeddedView(observation.face.quality, embedding, len(self.observations)))
                self.is_near_target = self.is_near_target or is_near(embedding)
                if (
                    not self.is_near_target and len(self.views) > MAX_UNLIKE_VIEWS
                ):  # the last view stays: it is compared
                    self.views.remove(min(self.views[:-1], key=lambda view: view.quality))
            observation = replace(observation, face=replace(observation.face, embedding=None))
        self.observations.append(observation)

    def shows_other_person(self, observation: Observation) -> bool:
        """Return whether the observation's view shows another person than the track's last view."""
        embedding = observation.face.embedding
        if embedding is None or observation.is_occluded or self.last_view is None:
            return False
        return float(np.linalg.norm(embedding - self.last_view.embedding)) > ANOTHER_FACE

    def forget_before(self, before: int) -> None:
        """Drop the observations before that time, except the last two, which define the speed."""
        more = sum(seen.pts < before for seen in self.observations[:-2])
        self.observations = self.observations[more:]
        views = [replace(view, place=max(0, view.place - more)) for view in self.views]
        old = [view for view in views if not view.place]
        self.views = old[-MAX_UNLIKE_VIEWS:] + views[len(old) :]

    def split(self, place: int, number: int) -> "Track":
        """End the track before the index `place` of its observations. Return the rest as the track `number`."""
        rest = Track(number, continues=self.id, link="changed", is_near_target=self.is_near_target)
        if self.compact_boxes:
            rest.compact_boxes, self.compact_boxes = (
                self.compact_boxes.part(place, None),
                self.compact_boxes.part(0, place),
            )
        else:
            rest.observations, self.observations = self.observations[place:], self.observations[:place]
        rest.views = [replace(view, place=view.place - place) for view in self.views if view.place >= place]
        self.views = [view for view in self.views if view.place < place]
        return rest

    def predicted(self, pts: int) -> Array:
        """Return the expected box (4,) at `pts`: moved on at the last speed."""
        last = self.observations[-1]
        if len(self.observations) < 2 or last.pts == self.observations[-2].pts:
            return last.box
        before = self.observations[-2]
        ahead = min((pts - last.pts) / (last.pts - before.pts), 2.0)
        shift = ((last.box - before.box).reshape(2, 2).mean(axis=0)) * ahead
        expected: Array = (last.box + np.tile(shift, 2)).astype(np.float32)
        return expected


def _stack(embeddings: Sequence[Array]) -> Array:
    return np.stack(embeddings) if embeddings else np.zeros((0, 0), np.float32)


class Tracker:
    """Links detections in the order of time. A face with at least the score `sure` begins a track.

    Detections with a lower score begin one if they last (FAINT_SECONDS), or if a sure detection continues them.

    `seconds` converts a difference of two times. `is_near` returns whether an embedding is like a target's. For other
    faces only MAX_UNLIKE_VIEWS views are stored.
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
        self._faint: list[Track] = []  # unsure detections that can become a track
        self._numbers, self._faint_numbers = count(), count()
        self.tracks: list[Track] = []

    def end_shot(self) -> None:
        """End all tracks, because a shot cut follows."""
        self._active.clear()
        self._faint.clear()

    def compact(self) -> None:
        """Reduce the memory of tracks that have ended: keep only their boxes and views."""
        for track in self.tracks:
            if track.observations and track not in self._active:
                track.compact_boxes, track.observations = track.detections, []

    def forget_before(self, before: int) -> None:
        """Drop tracks and observations before that time, because a live stream has no end. The views stay."""
        self.tracks = [track for track in self.tracks if track.last >= before or track in self._active]
        for track in self.tracks:
            track.forget_before(before)
        left = {track.id for track in self.tracks}
        for track in self.tracks:
            track.continues = track.continues if track.continues in left else None

    def add_sample(self, sample: FrameDetections) -> None:
        """Link the faces of a sampled frame. End all tracks first if a shot starts there."""
        if sample.starts_shot:
            self.end_shot()
        self.add_faces(sample.pts, sample.faces)

    def add_faces(self, pts: int, faces: Sequence[DetectedFace]) -> None:
        """Link the faces that were detected at `pts`."""
        self._active, self._faint = (
            [track for track in tracks if self._seconds(pts - track.last) <= LOST_SECONDS]
            for tracks in (self._active, self._faint)
        )
        seen = [Observation(pts, face, self._is_occluded(faces, n)) for n, face in enumerate(faces)]
        free = set(range(len(faces)))
        linked: set[int] = set()
        for _, track, index in self._candidate_links(pts, faces, self._active):
            if index not in free or track.id in linked:
                continue
            free.discard(index)
            linked.add(track.id)
            if self._is_certain(track, seen[index]):
                if track.shows_other_person(seen[index]):
                    track = self._split_track(track)
                track.observe(seen[index], self._is_near)
            else:
                self._active.remove(track)
                met = track.observations[-1].is_occluded or seen[index].is_occluded
                self._start_track(seen[index], continues=track.id, link="met" if met else "moved")
        self._follow_faint(pts, seen, free)
        for index in sorted(free):
            if faces[index].score >= self._sure:
                self._start_track(seen[index])

    def _follow_faint(self, pts: int, seen: Sequence[Observation], free: set[int]) -> None:
        """Follow unsure detections, and make them tracks. Remove the indices from `free` that belong to a track."""
        faces = [observation.face for observation in seen]
        known = np.array(
            [face.box for n, face in enumerate(faces) if n not in free or face.score >= self._sure],
            np.float32,
        ).reshape(-1, 4)
        alone = {n for n in free if faces[n].score >= self._sure or not is_part_of_any(faces[n].box, known)}
        linked: set[Track] = set()  # a track that is made here gets another number
        for _, track, index in self._candidate_links(pts, faces, self._faint):
            if index not in alone or track in linked or not self._is_certain(track, seen[index]):
                continue
            if track.shows_other_person(seen[index]):
                continue
            alone.discard(index)
            linked.add(track)
            track.observe(seen[index], self._is_near)
            if faces[index].score >= self._sure or self._lasts(track):
                free.discard(index)
                self._faint.remove(track)
                track.id = next(self._numbers)
                self.tracks.append(track)
                self._active.append(track)
        for index in sorted(alone):
            if faces[index].score < self._sure:
                self._faint.append(Track(next(self._faint_numbers), [seen[index]]))

    def _lasts(self, track: Track) -> bool:
        seconds = self._seconds(track.last - track.first)
        return seconds >= FAINT_SECONDS and len(track.observations) >= MIN_FAINT

    def _candidate_links(
        self, pts: int, faces: Sequence[DetectedFace], tracks: Sequence[Track]
    ) -> list[tuple[float, Track, int]]:
        """Return possible links, best first: by overlap with the prediction, then by distance."""
        links = []
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        for track in tracks:
            if not len(boxes):
                break
            expected = track.predicted(pts)
            shares = np.maximum(
                compute_overlaps(expected, boxes), compute_overlaps(track.observations[-1].box, boxes)
            )
            size = np.sqrt(np.prod(expected[2:] - expected[:2]))
            sizes = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
            ratio = np.minimum(size, sizes) / np.maximum(size, sizes)
            centers = (boxes[:, :2] + boxes[:, 2:]) / 2
            away = np.linalg.norm(centers - (expected[:2] + expected[2:]) / 2, axis=1) / max(size, 1.0)
            for index in np.flatnonzero((shares >= 0.1) | ((away <= MAX_DISTANCE) & (ratio >= SIZE_RATIO))):
                links.append((float(shares[index] - 0.1 * away[index]), track, int(index)))
        return sorted(links, key=lambda link: (-link[0], link[1].id, link[2]))

    def _is_occluded(self, faces: Sequence[DetectedFace], index: int) -> bool:
        others = [face.box for n, face in enumerate(faces) if n != index and face.score >= self._sure]
        return bool(others) and bool(
            (compute_overlaps(faces[index].box, np.array(others)) > OCCLUSION_OVERLAP).any()
        )

    def _is_certain(self, track: Track, observation: Observation) -> bool:
        if track.observations[-1].is_occluded and not observation.is_occluded:
            return False  # after an encounter the face has to be identified again
        if self._seconds(observation.pts - track.last) > GAP_SECONDS:
            return False
        expected = np.stack([track.predicted(observation.pts), track.observations[-1].box])
        return bool(compute_overlaps(observation.box, expected).max() >= MIN_CERTAIN_OVERLAP)

    def _split_track(self, track: Track) -> Track:
        """End a track after its last view, or its first observation. Return the track with the rest."""
        place = track.last_view.place + 1 if track.last_view else 0
        place = max(1, place)  # earlier observations might have been dropped
        rest = track.split(place, next(self._numbers))
        self.tracks.append(rest)
        self._active[self._active.index(track)] = rest
        return rest

    def _start_track(
        self, observation: Observation, continues: int | None = None, link: str | None = None
    ) -> None:
        track = Track(next(self._numbers), continues=continues, link=link)
        self.tracks.append(track)
        self._active.append(track)
        track.observe(observation, self._is_near)
