"""Detect faces that fill the frame, in a small copy of each image.

CenterFace detects faces of up to about 250 pixels. A face that fills the frame is larger than that even in the copy
that the detector gets. In a copy of 112 pixels it is small enough, and a black border stands for the part of the face
outside the frame. This was measured with eleven faces, each enlarged in a frame of 1280x720. "Detected" means a score
of 0.3 or more. "Overlap" is the mean intersection over union with the visible part of the face.

| height of the face, pixels | 500 | 750 | 1000 | 1300 | 1600 | 2000 |
|---|---|---|---|---|---|---|
| full search, 640 pixels wide: detected | 11 | 11 | 10 | 10 | 5 | 0 |
| overlap | 0.88 | 0.88 | 0.85 | 0.76 | 0.62 | - |
| 224 pixels wide: detected | 11 | 11 | 11 | 11 | 10 | 3 |
| overlap | 0.81 | 0.86 | 0.86 | 0.84 | 0.76 | 0.68 |
| this copy: detected | 11 | 11 | 11 | 11 | 11 | 8 |
| overlap | 0.82 | 0.88 | 0.91 | 0.93 | 0.98 | 0.98 |

The copy has a twelfth of the pixels of a copy of 640x384, and takes about a tenth of the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from defacer.engine.models.arrays import (
    Array,
    Detection,
    Detector,
    Image,
    box_areas,
    compute_overlaps,
    shared_areas,
)

COPY_SIDE = 112  # pixels, the long side of the copy
MIN_BORDER = 24  # pixels, on each side of the copy
MULTIPLE = 32  # pixels; the detector pads to it anyway, so the copy is centered in this size
SAME_FACE = 0.45  # overlap (intersection over union) of one face in both searches
# Shares of the image's long side. For smaller faces the boxes of the full search are more precise.
# A face of this size counts if the full search missed it.
MIN_LARGE_FACE = 0.3
# A face of this size gets the boxes of both searches, because the full search boxes a part of it.
MIN_LARGE_BOX = 0.5
# A detection is a part of a large face if it has these shares of area: inside the face, and of the face.
PART_INSIDE = 0.8
PART_AREA = 0.2


@dataclass(frozen=True)
class SmallCopy:
    """The copy of an image, and how positions in it map to the image."""

    image: Image
    scale: float
    left_top: Array

    def to_original(self, face: Detection) -> Detection:
        """Return a face of the copy in pixels of the original."""
        box = (face.box - np.tile(self.left_top, 2)) / self.scale
        landmarks = (face.landmarks - self.left_top) / self.scale
        return Detection(box.astype(np.float32), face.score, landmarks.astype(np.float32))


class LargeFaceDetector:
    """A detector that also searches the small copy of each image."""

    def __init__(self, detector: Detector):
        self.name, self.confident_score = detector.name, detector.confident_score
        self._detector = detector

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Detect as Detector describes."""
        copies = [small_copy(image) for image in images]
        faces = self._detector.detect(images)
        large = self._detector.detect([copy.image for copy in copies])
        return [
            merge_large_faces(
                full, list(map(copy.to_original, in_copy)), max(image.shape[:2]), self.confident_score
            )
            for image, copy, full, in_copy in zip(images, copies, faces, large, strict=True)
        ]


def small_copy(image: Image) -> SmallCopy:
    """Return a copy of an image (H, W, 3) that is 112 pixels long, within a black border."""
    height, width = image.shape[:2]
    scale = COPY_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    padded = np.zeros((_with_border(size[1]), _with_border(size[0]), 3), np.uint8)
    left, top = (padded.shape[1] - size[0]) // 2, (padded.shape[0] - size[1]) // 2
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    padded[top : top + size[1], left : left + size[0]] = cv2.resize(image, size, interpolation=how)
    return SmallCopy(padded, scale, np.array([left, top], np.float32))


def merge_large_faces(
    faces: Sequence[Detection], in_copy: Sequence[Detection], side: int, confident: float
) -> list[Detection]:
    """Merge the detections of an image and of its copy, best score first. `side` is the long side of the image."""
    merged = list(faces)
    for face in in_copy:
        if face.score < confident or _side(face) < MIN_LARGE_FACE * side:
            continue
        others = [other for other in in_copy if other is not face]
        same = [one for one in merged if _is_same(one, face) or _is_part(one, face, others)]
        if same and _side(face) < MIN_LARGE_BOX * side:
            continue
        merged = [one for one in merged if not any(one is part for part in same)]
        merged.append(_merge_parts(face, same))
    return sorted(merged, key=lambda face: -face.score)


def _merge_parts(face: Detection, parts: Sequence[Detection]) -> Detection:
    """Return the face with a box that also covers its parts, because in doubt more is hidden.

    The landmarks are those of the full search if it detected the whole face. The copy is too small for precise ones.
    """
    boxes = np.stack([face.box, *(part.box for part in parts)])
    box = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    whole = [part for part in parts if _is_same(part, face)]
    best = max(whole, key=lambda one: one.score, default=face)
    return Detection(box, max(one.score for one in (face, *parts)), best.landmarks)


def _is_same(one: Detection, face: Detection) -> bool:
    return float(compute_overlaps(one.box, face.box[None])[0]) >= SAME_FACE


def _is_part(one: Detection, face: Detection, others: Sequence[Detection]) -> bool:
    """Return whether `one` is a part of the face. A second face in front of it is not: the copy has both."""
    area, whole = float(box_areas(one.box)), float(box_areas(face.box))
    inside = float(shared_areas(one.box, face.box)) >= PART_INSIDE * area and area >= PART_AREA * whole
    return inside and not any(_is_same(one, other) for other in others)


def _side(face: Detection) -> float:
    return float((face.box[2:] - face.box[:2]).max())


def _with_border(pixels: int) -> int:
    return -(-(pixels + 2 * MIN_BORDER) // MULTIPLE) * MULTIPLE
