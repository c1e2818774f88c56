"""Find the turns that make the faces of frames upright, on a coarse grid of times and after each cut.

A detector scores an upright face higher than a turned one. So a frame is searched in all four positions, in small
copies. Where several positions show a face, the best score wins. The crop of each face that is turned by this rule is
then scored in all four positions, with more pixels, and the best score has to be the same one.

YuNet detects no small profile in such a copy. So where it detects no clear face, the detector of the detection pass
searches the whole frame in all four positions, once in a block.
"""

from collections.abc import Callable
from fractions import Fraction

import cv2
import numpy as np

from defacer.engine.models.arrays import Detection, Detector, Image, suppress_overlaps
from defacer.engine.tracking.reduced_frame import WINDOW_SECONDS, ReducedFrame
from defacer.engine.tracking.turns.turned_views import turn_back, turn_image

TURN_WINDOWS = 4  # of a block of the coarse grid
TURN_SECONDS = TURN_WINDOWS * WINDOW_SECONDS
TURNS = (0, 1, 2, 3)  # counterclockwise, times 90 degrees
MAX_FACES = 4  # that are scored in a frame, the largest first
CROP_SIDE = 112  # pixels, of a crop with twice the face's longer side
COPY_SIDE = 320  # pixels, of the copies: a face of 1/32 of the frame's longer side has 10


class TurnFinder:
    """Sets the turns of frames. Ask for the frames in the order of time.

    `checker` returns YuNet, and `detector` is the one of the detection pass.
    """

    def __init__(self, checker: Callable[[], Detector], detector: Detector):
        self._checker, self._detector = checker, detector
        self._turns: tuple[int, ...] = ()
        self._found: tuple[int, ...] | None = None  # in this block
        self._block: int | None = None

    def set_turns(self, frame: ReducedFrame) -> None:
        """Set the turns of a frame. They are found again in each block of TURN_SECONDS and after a cut.

        Without a clear face in the frame, they are found in the next frame that this is called for. Until then, those
        that were found in the block before count. So they are the same wherever reading began before that block.
        """
        block = int(frame.seconds // Fraction(TURN_SECONDS))
        is_first = block != self._block or frame.starts_shot
        if is_first:
            self._turns = () if frame.starts_shot else self._found or ()
            self._block, self._found = block, None
        if self._found is None:
            image = frame.detector_image()
            self._found = find_face_turns(image, self._checker())
            if self._found is not None:
                self._turns = self._found
            elif is_first and (found := find_small_face_turns(image, self._detector)):
                # A larger face that YuNet lost in this frame can still be there.
                self._found, self._turns = found, tuple(sorted({*self._turns, *found}))
        frame.turns = self._turns


def find_face_turns(image: Image, detector: Detector) -> tuple[int, ...] | None:
    """Return the turns, other than 0, that make faces of the image upright; None if it shows no clear face."""
    small, scale = _small_square(image)
    best = [(face.scaled(1 / scale), turn) for face, turn in _best_views(small, detector)]
    if not best:
        return None
    turned = sorted(((face, turn) for face, turn in best if turn), key=lambda view: -_side(view[0]))
    return tuple(
        sorted({turn for face, turn in turned[:MAX_FACES] if turn == _turn_of(image, face, detector)})
    )


def find_small_face_turns(image: Image, detector: Detector) -> tuple[int, ...] | None:
    """Return the turns, other than 0, of the faces' best views in the whole image; None if no face is turned."""
    return tuple(sorted({turn for _, turn in _best_views(image, detector) if turn})) or None


def _best_views(image: Image, detector: Detector) -> list[tuple[Detection, int]]:
    """Return the faces of the image, in its pixels, each with the turn of the view with its best score."""
    copies = detector.detect([turn_image(image, turn) for turn in TURNS])
    views = [
        (turn_back(face, turn, image.shape), turn)
        for turn, faces in zip(TURNS, copies, strict=True)
        for face in faces
        if face.score >= detector.confident_score
    ]
    boxes = np.array([face.box for face, _ in views], np.float32).reshape(-1, 4)
    return [views[index] for index in suppress_overlaps(boxes, np.array([face.score for face, _ in views]))]


def _turn_of(image: Image, face: Detection, detector: Detector) -> int:
    """Return the turn with the best score of a face in the crop; 0 if the crop shows no clear face."""
    crop = _cut_out(image, face)
    scores = [
        max((one.score for one in found), default=0.0)
        for found in detector.detect([turn_image(crop, turn) for turn in TURNS])
    ]
    return scores.index(max(scores)) if max(scores) >= detector.confident_score else 0


def _side(face: Detection) -> float:
    return float((face.box[2:] - face.box[:2]).max())


def _small_square(image: Image) -> tuple[Image, float]:
    """Return a small copy in a black square, and its scale. All turns have one size, so YuNet is compiled once."""
    scale = min(1.0, COPY_SIDE / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    square = np.zeros((COPY_SIDE, COPY_SIDE, 3), np.uint8)
    square[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return square, scale


def _cut_out(image: Image, face: Detection) -> Image:
    """Return a square crop around a face."""
    scale = CROP_SIDE / (2 * _side(face))
    x, y = (face.box[:2] + face.box[2:]) / 2
    matrix = np.array(
        [[scale, 0, CROP_SIDE / 2 - x * scale], [0, scale, CROP_SIDE / 2 - y * scale]], np.float32
    )
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.warpAffine(image, matrix, (CROP_SIDE, CROP_SIDE), flags=how).astype(np.uint8, copy=False)
