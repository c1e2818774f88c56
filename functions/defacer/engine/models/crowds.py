"""Detect faces in a crowd that the frame's lower edge or a neighbor covers, by a second search of crowded images.

Where the first search detects a crowd, a larger copy of the image is searched. It has gray rows below, which stand for
the part of a face outside the frame. CenterFace searches only the lower quarter of the copy, where it detects faces at
the edge. YuNet searches all of the copy, and adds faces that a neighbor covers. README.md has the figures.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from defacer.engine.models.arrays import Detection, Detector, Image, box_areas, compute_overlaps, shared_areas

MIN_CROWD = 4  # confident detections in an image
COPY_SCALE, MAX_COPY_SIDE = 2.0, 1280  # of the larger copy; the long side in pixels
GREY, GREY_ROWS = 128, 72  # value and minimum number of the rows below the copy
MULTIPLE = 32  # pixels; the detectors pad to it with black anyway
EDGE_SHARE = 0.25  # of the image's height: the part that CenterFace searches, with the gray rows
SAME_FACE = 0.45  # overlap (intersection over union) of one face in two searches
MIN_INSIDE_SHARE = 0.8  # a box with this share of its area inside another box shows the same face, too


class CrowdSearch:
    """A detector that searches crowded images again: with `edge` at the lower edge, with `everywhere` in all of it."""

    def __init__(self, detector: Detector, edge: Detector, everywhere: Detector):
        self.name, self.confident_score = detector.name, detector.confident_score
        self.edge = edge
        self._detector, self._everywhere = detector, everywhere

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Detect as Detector describes."""
        found = self._detector.detect(images)
        return [
            merge_crowd_faces(faces, self._search_again(image), self.confident_score)
            if self._is_crowd(faces)
            else faces
            for image, faces in zip(images, found, strict=True)
        ]

    def _is_crowd(self, faces: Sequence[Detection]) -> bool:
        return sum(face.score >= self.confident_score for face in faces) >= MIN_CROWD

    def _search_again(self, image: Image) -> list[Detection]:
        """Return the faces of the larger copy, with scores on the scale of the first search."""
        copy, scale = larger_copy(image)
        top = first_edge_row(image.shape[0] * scale, copy.shape[0])
        searches = ((self.edge, copy[top:], top), (self._everywhere, copy, 0))
        return [
            _to_image(face, scale, rows, self.confident_score / detector.confident_score)
            for detector, part, rows in searches
            for face in detector.detect([part])[0]
        ]


def _to_image(face: Detection, scale: float, rows: int, score_scale: float) -> Detection:
    """Return the face as it is in the image, from a part of the copy that begins at this row."""
    landmarks = (face.landmarks + np.array([0, rows], np.float32)) / scale
    box = (face.box + np.array([0, rows, 0, rows], np.float32)) / scale
    return Detection(box.astype(np.float32), face.score * score_scale, landmarks.astype(np.float32))


def larger_copy(image: Image) -> tuple[Image, float]:
    """Return a larger copy of an image (H, W, 3) with gray rows below, and its scale."""
    scale = max(1.0, min(COPY_SCALE, MAX_COPY_SIDE / max(image.shape[:2])))
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    rows = -(-(size[1] + GREY_ROWS) // MULTIPLE) * MULTIPLE
    copy = np.full((rows, size[0], 3), GREY, np.uint8)
    copy[: size[1]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return copy, scale


def first_edge_row(height: float, copy_height: int) -> int:
    """Return the first row of the part at the lower edge of a copy. `height` is without the gray rows."""
    rows = copy_height - round(height * (1 - EDGE_SHARE))
    return copy_height - rows // MULTIPLE * MULTIPLE


def merge_crowd_faces(
    faces: Sequence[Detection], more: Sequence[Detection], confident: float
) -> list[Detection]:
    """Return the detections of both searches, each face once, best score first.

    Detections of the first search have priority. A detection with the score `confident` of the second search replaces
    detections of the same face with lower scores.
    """
    merged = list(faces)
    for face in more:
        same = _detections_of_same_face(face, merged)
        if not same or (face.score >= confident and all(one.score < confident for one in same)):
            merged = [one for one in merged if not any(one is old for old in same)] + [face]
    return sorted(merged, key=lambda face: -face.score)


def _detections_of_same_face(face: Detection, faces: Sequence[Detection]) -> list[Detection]:
    """Return the detections that show this face or a part of it."""
    if not faces:
        return []
    boxes = np.array([one.box for one in faces])
    smaller_areas = np.minimum(box_areas(boxes), box_areas(face.box))
    is_inside = shared_areas(face.box, boxes) >= MIN_INSIDE_SHARE * smaller_areas
    is_same = is_inside | (compute_overlaps(face.box, boxes) >= SAME_FACE)
    return [one for one, shows_it in zip(faces, is_same, strict=True) if shows_it]
