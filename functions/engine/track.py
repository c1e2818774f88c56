"""Detections to tracks: one face through time, linked, gaps filled, cut at scene cuts.

A track holds only links that are beyond doubt (the boxes overlap, no other face contends). Where a face is lost
for a moment, moves far, or meets another one, a new track begins that `continues` the old one: the gap between
them is filled, but who it is gets decided for each on its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from functions.engine.detect import Array, Detection, Image, overlap

SURE_LINK = 0.35  # overlap of prediction and detection
CONTENDED = 0.25  # two faces overlapping this much may be taken for each other
LOST_SECONDS = 0.8
SIZE_RATIO = 0.6
REACH = 0.8  # of a face's size: how far a lost face may turn up from where it was expected
CROPS_PER_TRACK = 8
CROP_SLOT_SECONDS = 0.5

CropOf = Callable[[Detection], Image]


@dataclass
class Observation:
    """A face seen at time `pts`: box x1, y1, x2, y2 in displayed pixels."""

    pts: int
    box: Array
    score: float


@dataclass(eq=False)
class Track:
    """One face through time. `crops` are (quality, crop), the best of each half second."""

    id: int
    observations: list[Observation] = field(default_factory=list)
    crops: dict[int, tuple[float, Image]] = field(default_factory=dict)
    continues: int | None = None
    contended: bool = False

    @property
    def first(self) -> int:
        return self.observations[0].pts

    @property
    def last(self) -> int:
        return self.observations[-1].pts

    def best_crops(self) -> list[Image]:
        """The crops that say most about who it is, best first."""
        ranked = sorted(self.crops.values(), key=lambda item: -item[0])
        return [crop for _, crop in ranked[:CROPS_PER_TRACK]]

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

    def look(self, pts: int, detections: list[Detection], crop_of: CropOf | None) -> None:
        """Take what was seen at `pts`. `crop_of` is asked for a crop only where it is worth keeping."""
        self._active = [track for track in self._active if self._seconds(pts - track.last) <= LOST_SECONDS]
        free = set(range(len(detections)))
        linked: set[int] = set()
        for _, track, index in self._candidates(pts, detections):
            if index not in free or track.id in linked:
                continue
            free.discard(index)
            linked.add(track.id)
            contended = self._contended(detections, index)
            if self._is_sure(track, pts, detections[index].box, contended):
                self._observe(track, pts, detections[index], contended, crop_of)
            else:
                self._active.remove(track)
                self._begin(pts, detections[index], contended, crop_of, continues=track.id)
        for index in sorted(free):
            if detections[index].score >= self._sure:
                self._begin(pts, detections[index], self._contended(detections, index), crop_of)

    def _candidates(self, pts: int, detections: list[Detection]) -> list[tuple[float, Track, int]]:
        """Possible links, best first: by overlap with the prediction, then by nearness."""
        links = []
        boxes = np.array([face.box for face in detections], np.float32).reshape(-1, 4)
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

    def _contended(self, detections: list[Detection], index: int) -> bool:
        others = [face.box for n, face in enumerate(detections) if n != index and face.score >= self._sure]
        return bool(others) and bool((overlap(detections[index].box, np.array(others)) > CONTENDED).any())

    @staticmethod
    def _is_sure(track: Track, pts: int, box: Array, contended: bool) -> bool:
        if track.contended and not contended:
            return False  # who came out of an encounter has to be asked anew
        expected = np.stack([track.predicted(pts), track.observations[-1].box])
        return bool(overlap(box, expected).max() >= SURE_LINK)

    def _begin(
        self, pts: int, face: Detection, contended: bool, crop_of: CropOf | None, continues: int | None = None
    ) -> None:
        track = Track(len(self.tracks), continues=continues)
        self.tracks.append(track)
        self._active.append(track)
        self._observe(track, pts, face, contended, crop_of)

    def _observe(
        self, track: Track, pts: int, face: Detection, contended: bool, crop_of: CropOf | None
    ) -> None:
        track.observations.append(Observation(pts, face.box, face.score))
        track.contended = contended
        if crop_of is None or contended:
            return
        slot = int(self._seconds(pts) / CROP_SLOT_SECONDS)
        quality = crop_quality(face)
        if slot not in track.crops or quality > track.crops[slot][0]:
            track.crops[slot] = (quality, crop_of(face))


def crop_quality(face: Detection) -> float:
    """How much a face says about who it is, 0..1: by size, by the detector's score, by how frontal it is."""
    left_eye, right_eye, nose = face.landmarks[:3]
    eyes = float(np.linalg.norm(right_eye - left_eye))
    width = float(face.box[2] - face.box[0])
    # Seen from the front the nose lies midway between the eyes, and these are far apart.
    middle = (left_eye + right_eye) / 2
    off = abs(float(nose[0] - middle[0])) / max(eyes, 1e-3)
    frontal = max(0.1, 1 - off) * min(1.0, eyes / max(0.4 * width, 1e-3))
    size = min(1.0, width / 80)
    return size * face.score * frontal


def boxes_at(
    observations: list[Observation], times: list[int], lead: int, tail: int
) -> list[tuple[int, Array]]:
    """The box at each of `times` from `lead` before the first observation to `tail` after the last one.

    Between observations boxes are interpolated; outside they stay where they were, growing by a tenth.
    """
    seen = np.array([o.pts for o in observations])
    boxes = np.stack([o.box for o in observations])
    inside = [pts for pts in times if seen[0] - lead <= pts <= seen[-1] + tail]
    if not inside:
        return []
    sides = np.stack([np.interp(inside, seen, boxes[:, side]) for side in range(4)], axis=1)
    result = []
    for pts, box in zip(inside, sides, strict=True):
        if pts < seen[0] or pts > seen[-1]:
            grow = (box[2:] - box[:2]) * 0.05
            box = np.concatenate([box[:2] - grow, box[2:] + grow])
        result.append((pts, box.astype(np.float32)))
    return result
