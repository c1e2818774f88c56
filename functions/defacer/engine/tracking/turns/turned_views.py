"""Detect faces in turned copies of an image.

CenterFace detects most faces that are not upright, but not all, and with wrong landmarks. Then no target is recognized.
"""

from collections.abc import Sequence

import numpy as np

from defacer.engine.models.arrays import (
    OVERLAP_OF_ONE_FACE,
    Detection,
    Detector,
    Image,
    box_areas,
    compute_overlaps,
    shared_areas,
)

# A turned view is searched where a face is upright in it, so its score can be a little lower for the same face.
MIN_SCORE_SHARE = 0.9
# A part of a face has this share of its area inside the face, this share of the face's area, and some of its landmarks.
# Anything else is the face of another person in front. Of 16 parts on 4 clips, the smallest has a share of 0.26.
MIN_INSIDE, MIN_PART_SHARE, MIN_PART_LANDMARKS = 0.7, 0.25, 2


def turn_image(image: Image, turn: int) -> Image:
    """Return the image (H, W, 3) turned counterclockwise by `turn` times 90 degrees."""
    return np.ascontiguousarray(np.rot90(image, turn))


def detect_in_turns(
    detector: Detector, images: Sequence[Image], turns: Sequence[Sequence[int]]
) -> list[list[Detection]]:
    """Return the detections in each image and in its turned copies, in pixels of the image, best score first."""
    found = list(detector.detect(images))
    views = [(number, turn) for number, wanted in enumerate(turns) for turn in wanted]
    if views:
        in_views = detector.detect([turn_image(images[number], turn) for number, turn in views])
        for (number, turn), faces in zip(views, in_views, strict=True):
            back = [turn_back(face, turn, images[number].shape) for face in faces]
            found[number] = merge_turned_faces(found[number], back)
    return found


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


def merge_turned_faces(faces: Sequence[Detection], turned: Sequence[Detection]) -> list[Detection]:
    """Return the detections of both views, each face once, best score first.

    In the upright view, a part of a turned face is often detected as a face, with a lower score.
    A smaller face elsewhere inside the turned face is another person.
    """
    merged = list(faces)
    for face in turned:
        same = [one for one in merged if _is_same(one, face)]
        best = max((one.score for one in same), default=0.0)
        if face.score >= MIN_SCORE_SHARE * best:
            parts = [
                one
                for one in merged
                if _is_part(one, face) and not any(_is_same(one, other) for other in turned)
            ]
            merged = [one for one in merged if not any(one is old for old in (*same, *parts))]
            merged.append(Detection(face.box, max(face.score, best), face.landmarks))
    return sorted(merged, key=lambda face: -face.score)


def _is_same(one: Detection, face: Detection) -> bool:
    return float(compute_overlaps(one.box, face.box[None])[0]) >= OVERLAP_OF_ONE_FACE


def _is_part(one: Detection, face: Detection) -> bool:
    """Return whether a detection of lower score is a part of the face; False in doubt, so the detection is hidden."""
    area = float(box_areas(one.box))
    is_inside = float(shared_areas(one.box, face.box)) >= MIN_INSIDE * area
    is_large = area >= MIN_PART_SHARE * float(box_areas(face.box))
    shared = ((face.landmarks >= one.box[:2]) & (face.landmarks <= one.box[2:])).all(axis=1).sum()
    is_weak = one.score < MIN_SCORE_SHARE * face.score
    return is_weak and is_inside and is_large and bool(shared >= MIN_PART_LANDMARKS)
