"""The array types, detections and box overlap that all detectors share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


Array = npt.NDArray[np.float32]


OVERLAP_OF_ONE_FACE = 0.45
PART_OVERLAP = 0.2  # share of the smaller box: an unsure detection shows a part of another one
MAX_LEAN = 45.0  # degrees: a face that leans by less is upright


@dataclass(frozen=True)
class Detection:
    """A detected face: box `x1, y1, x2, y2`, and landmarks (5, 2): eyes, nose and mouth corners, left first."""

    box: Array
    score: float
    landmarks: Array

    @property
    def lean(self) -> float:
        """The angle in degrees between the line from the eyes to the mouth and straight down."""
        across, down = self.landmarks[3:].mean(axis=0) - self.landmarks[:2].mean(axis=0)
        return float(np.degrees(np.arctan2(across, down)))

    def scaled(self, scale: float) -> "Detection":
        """Return the detection in pixels of a copy of the image at that scale."""
        return Detection(
            (self.box * scale).astype(np.float32), self.score, (self.landmarks * scale).astype(np.float32)
        )


class Detector(Protocol):
    """Detect faces in RGB uint8 images (H, W, 3).

    A detection with at least `confident_score` counts on its own. Detections with a lower score are returned too. They
    count where they last, or where a confident detection is in a neighboring frame.
    """

    name: str
    confident_score: float

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Return the faces of each image, best score first."""
        ...


def box_areas(boxes: Array) -> Array:
    """Return the area of each box: (N,) of boxes (N, 4), or one number of a box (4,)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    areas: Array = sides[..., 0] * sides[..., 1]
    return areas


def shared_areas(one: Array, others: Array) -> Array:
    """Return the area that box `one` (4,) shares with each of `others` (N, 4), or with one other box (4,)."""
    # Products of columns: np.prod and np.clip take twice as long, and this runs for each pair of faces.
    sides = np.maximum(np.minimum(one[2:], others[..., 2:]) - np.maximum(one[:2], others[..., :2]), 0)
    areas: Array = sides[..., 0] * sides[..., 1]
    return areas


def compute_overlaps(one: Array, others: Array) -> Array:
    """Return the intersection over union of box `one` (4,) with each of `others` (N, 4)."""
    shared = shared_areas(one, others)
    areas = box_areas(others) + box_areas(one) - shared
    shares: Array = (shared / np.maximum(areas, 1e-6)).astype(np.float32)
    return shares


def is_part_of_any(box: Array, others: Array) -> bool:
    """Return whether a detection overlaps one of the others so much that it shows a part of the same face."""
    shared = shared_areas(box, others)
    return bool((shared > PART_OVERLAP * np.minimum(box_areas(box), box_areas(others))).any())


def suppress_overlaps(boxes: Array, scores: Array, limit: float = OVERLAP_OF_ONE_FACE) -> list[int]:
    """Return the indices of the boxes to keep, best first, by greedy non-maximum suppression."""
    order = list(np.argsort(-scores, kind="stable"))
    keep: list[int] = []
    while order:
        best = int(order.pop(0))
        keep.append(best)
        if order:
            shares = compute_overlaps(boxes[best], boxes[order])
            order = [index for index, share in zip(order, shares, strict=True) if share < limit]
    return keep
