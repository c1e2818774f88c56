"""Detect faces in turned copies of an image.

CenterFace detects most faces that are not upright, but not all, and with wrong landmarks. Then no target is recognized.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from defacer.engine.models.arrays import (
    MAX_LEAN,
    OVERLAP_OF_ONE_FACE,
    Detection,
    Detector,
    Image,
    box_areas,
    compute_overlaps,
    shared_areas,
)

# A part of a face has this share of its area inside the face, this share of the face's area, and some of its landmarks.
# Its score is below this share of the face's. Anything else is the face of another person in front. Of 16 parts on 4
# clips, the smallest has a share of 0.26.
MIN_INSIDE, MIN_PART_SHARE, MIN_PART_LANDMARKS, MAX_PART_SCORE = 0.7, 0.25, 2, 0.9


@dataclass(frozen=True)
class TurnedFace:
    """A detection in the view with this turn, in pixels of the image."""

    face: Detection
    turn: int = 0

    @property
    def rank(self) -> tuple[bool, float]:
        """Whether the landmarks are upright in this view, and the score."""
        return abs((self.face.lean + 90 * self.turn + 180) % 360 - 180) <= MAX_LEAN, self.face.score


def turn_image(image: Image, turn: int) -> Image:
    """Return the image (H, W, 3) turned counterclockwise by `turn` times 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, turn))


def detect_in_turns(
    detector: Detector, images: Sequence[Image], turns: Sequence[Sequence[int]]
) -> list[list[Detection]]:
    """Return the detections in each image and in its turned copies, in pixels of the image, best score first."""
    found = list(detector.detect(images))
    views = [(number, turn) for number, wanted in enumerate(turns) for turn in wanted]
    if not views:
        return found
    merged = [[TurnedFace(face) for face in faces] for faces in found]
    in_views = detector.detect([turn_image(images[number], turn) for number, turn in views])
    for (number, turn), faces in zip(views, in_views, strict=True):
        merged[number] += [TurnedFace(turn_back(face, turn, images[number].shape), turn) for face in faces]
    return [
        merge_views(faces) if wanted else old for faces, wanted, old in zip(merged, turns, found, strict=True)
    ]


def turn_back(face: Detection, turn: int, shape: tuple[int, ...]) -> Detection:
    """Return a detection of a turned copy in pixels of the image of this shape (H, W, ...)."""
    height, width = shape[:2]
    corners = face.box.reshape(2, 2)
    points = np.concatenate([corners, face.landmarks])
    x, y = points[:, 0], points[:, 1]
    x, y = ((x, y), (width - y, x), (width - x, height - y), (y, height - x))[turn]
    points = np.stack([x, y], axis=1).astype(np.float32)
    box = np.concatenate([points[:2].min(axis=0), points[:2].max(axis=0)])
    return Detection(box, face.score, points[2:])


def merge_views(views: Sequence[TurnedFace]) -> list[Detection]:
    """Return the detections of all views of an image, each face once, best score first.

    Of several detections of a face, one with upright landmarks in its view is returned, and of those the one with the
    best score. In the upright view, a part of a turned face is often detected as a face, with a lower score. A smaller
    face elsewhere inside the turned face is another person.
    """
    kept: list[TurnedFace] = []
    for view in sorted(views, key=lambda view: view.rank, reverse=True):
        same = [number for number, one in enumerate(kept) if _is_same(one.face, view.face)]
        kept += [] if same else [view]
        for number in same:
            face = kept[number].face
            kept[number] = replace(kept[number], face=replace(face, score=max(face.score, view.face.score)))
    turned = [one.face for one in views if one.turn]
    faces = [one.face for one in kept if one.turn]
    faces += [
        one.face
        for one in kept
        if not one.turn
        and (
            not any(_is_part(one.face, face) for face in faces)
            or any(_is_same(one.face, face) for face in turned)
        )
    ]
    return sorted(faces, key=lambda face: -face.score)


def _is_same(one: Detection, face: Detection) -> bool:
    return float(compute_overlaps(one.box, face.box[None])[0]) >= OVERLAP_OF_ONE_FACE


def _is_part(one: Detection, face: Detection) -> bool:
    """Return whether a detection of lower score is a part of the face; False in doubt, so the detection is hidden."""
    area = float(box_areas(one.box))
    is_inside = float(shared_areas(one.box, face.box)) >= MIN_INSIDE * area
    is_large = area >= MIN_PART_SHARE * float(box_areas(face.box))
    shared = ((face.landmarks >= one.box[:2]) & (face.landmarks <= one.box[2:])).all(axis=1).sum()
    is_weak = one.score < MAX_PART_SCORE * face.score
    return is_weak and is_inside and is_large and bool(shared >= MIN_PART_LANDMARKS)
