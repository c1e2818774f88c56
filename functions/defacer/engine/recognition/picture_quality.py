"""Warn about target pictures that are likely to be recognized badly."""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from defacer.report.tracks import TargetWarning

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Array, Detection, Image

# A picture beyond these limits is used, with a warning. Chosen on 39 pictures (target pictures of clips and public
# portraits) whose faces are at least 120 pixels high and have a blur of 0.30 to 0.61. Blurred with a sigma of 1/60 of
# the face's height they have 0.68 to 0.77, and their SFace embedding moves by 0.41 to 0.64. At 64 pixels it moves by
# 0.20 to 0.38, at 40 pixels by 0.38 to 0.62. The match threshold is 0.97, and pictures of one person differ by 0.7.
SMALL_FACE_SIDE = 64
MAX_BLUR = 0.64
# 174 of 177 public portraits and 10 of 11 target pictures of clips are below 5. The others show a profile (10.6) or a
# face turned by 35 to 45 degrees (5.1, 6.2, 6.4). The views of targets beyond 5 are at 1.0 from their target picture in
# the median, the views below at 0.4 to 0.65.
MAX_TURN = 5.0
# The share of a face that is white. It is 0.00 in 13 portraits. At twice the light it is 0.41 or more in 11 of them,
# and their embedding moves by 0.46 to 1.09.
MAX_WHITE = 0.3
WHITE = 250  # of 255, in gray
# Width by height of a face's box, times the distance of its eyes by that of eyes and mouth. It is 0.66 to 1.13 in 12
# portraits from the front. At half the width it is at most 0.50, and at half the height 1.03 or more. Then the
# embedding moves by 0.79 to 1.34.
MIN_WIDTH, MAX_WIDTH = 0.5, 1.2
# The distance of the nose from the middle of eyes and mouth, as a share of the distance of the eyes. Beyond, the face
# is turned, which makes its eyes appear near each other too.
CENTERED_NOSE = 0.2
BLUR_SIDE = 112  # pixels: faces are resized to this before their blur is measured
BLUR_LENGTH = 9  # pixels


def picture_warnings(
    image: "Image", face: "Detection", person: str, label: str | None = None
) -> list[TargetWarning]:
    """Return why a target picture with this one face is likely to be recognized badly.

    `label` names the picture in the message, where the person has several.
    """
    whose = person if label is None else f"{person} ({label})"
    picture, start = f"a target picture of {whose}", f"A target picture of {whose}"
    side = int(face.box[3] - face.box[1])
    part = _face_part(image, face.box)
    problems = (
        ("small-picture", side < SMALL_FACE_SIDE, f"The face in {picture} is only {side} pixels high."),
        ("blurred-picture", _blur_of(part) > MAX_BLUR, f"{start} is blurred."),
        ("overexposed-picture", _white_share(part) > MAX_WHITE, f"{start} is overexposed."),
        ("squeezed-picture", _is_squeezed(face), f"{start} is squeezed or stretched."),
        (
            "turned-picture",
            _turn_of(face) > MAX_TURN,
            f"The face in {picture} is turned away from the camera.",
        ),
    )
    return [TargetWarning(code, person, message) for code, is_found, message in problems if is_found][:1]


def _turn_of(face: "Detection") -> float:
    """Return how far a face is turned: the distance of its landmarks from a frontal face's, in pixels of SFace's crop.

    It is the root mean square over the landmarks after the similarity transform that aligns them.
    """
    # Imported here, so that merge loads no model's code.
    from defacer.engine.models.sface import SFACE_LANDMARKS, similarity

    matrix = similarity(face.landmarks, SFACE_LANDMARKS)
    aligned = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    return float(np.sqrt(np.square(aligned - SFACE_LANDMARKS).sum(axis=1).mean()))


def _blur_of(part: "Image") -> float:
    """Return how blurred a face is, from 0 to 1: blurring it once more changes a sharp face, and hardly a blurred one.

    Crete et al., "The blur effect: perception and estimation with a new no-reference perceptual blur metric", 2007.
    It does not depend on light and contrast. Faces are compared at one size.
    """
    how = cv2.INTER_AREA if part.shape[0] > BLUR_SIDE else cv2.INTER_LINEAR
    face = cv2.resize(part, (BLUR_SIDE, BLUR_SIDE), interpolation=how).astype(np.float32)
    found = []
    for axis, kernel in ((0, (1, BLUR_LENGTH)), (1, (BLUR_LENGTH, 1))):
        before = np.abs(np.diff(face, axis=axis))
        after = np.abs(np.diff(cv2.blur(face, kernel), axis=axis))
        lost = np.maximum(before - after, 0).sum()
        found.append(1 - float(lost / max(before.sum(), 1.0)))
    return max(found)


def _white_share(part: "Image") -> float:
    return float((part >= WHITE).mean())


def _is_squeezed(face: "Detection") -> bool:
    """Return whether a face from the front is much too narrow or too wide."""
    eyes, mouth = face.landmarks[:2].mean(axis=0), face.landmarks[3:].mean(axis=0)
    across = face.landmarks[1] - face.landmarks[0]
    apart = max(float(np.hypot(*across)), 1.0)
    nose = abs(float((face.landmarks[2] - (eyes + mouth) / 2) @ across)) / apart**2
    box = face.box[2:] - face.box[:2]
    width = float(box[0] / max(box[1], 1.0)) * apart / max(float(np.hypot(*(mouth - eyes))), 1.0)
    return nose <= CENTERED_NOSE and not MIN_WIDTH <= width <= MAX_WIDTH


def _face_part(image: "Image", box: "Array") -> "Image":
    """Return the face in gray."""
    x1, y1, x2, y2 = (max(0, int(side)) for side in box)
    return cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
