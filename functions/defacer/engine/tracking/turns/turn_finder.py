"""Find the turns that make the faces of frames upright, on a coarse grid of times and after each cut.

A detector scores an upright face higher than a turned one. So a frame is searched in all four positions, in small
copies. Where several positions show a face, the best score wins. The crop of each face that is turned by this rule is
then scored in all four positions, with more pixels, and the best score has to be the same one.

YuNet detects no small profile in such a copy. So once in a block, the detector of the detection pass searches, too.
Where YuNet detects no clear face, it searches the whole frame in all four positions. Beside a clear face, it searches
copies of half the size in the turned positions. YuNet confirms each of these turns in the crop of the face.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import cv2
import numpy as np

from defacer.engine.models.arrays import Detection, Detector, Image, is_part_of_any, suppress_overlaps
from defacer.engine.models.detector import first_search
from defacer.engine.tracking.reduced_frame import WINDOW_SECONDS, ReducedFrame
from defacer.engine.tracking.turns.turned_views import TurnedFace, turn_back, turn_image

TURN_WINDOWS = 4  # of a block of the coarse grid
TURN_SECONDS = TURN_WINDOWS * WINDOW_SECONDS
TURNS = (0, 1, 2, 3)  # counterclockwise, times 90 degrees
MAX_FACES = 4  # that are scored in a frame, the largest first
CROP_SIDE = 112  # pixels, of a crop with twice the face's longer side
HALF = 0.5  # scale of the copies that are searched beside a clear face
MIN_SCORE_BESIDE = 0.7  # of YuNet in the crop: upright pictures have unclear detections of other things
MIN_CROP_SCORE = 0.4  # of the detector in the crop
MAX_FACES_BESIDE = 3  # that are scored in a frame, the likeliest first
COPY_SIDE = 320  # pixels, of the copies: a face of 1/32 of the frame's longer side has 10


class TurnFinder:
    """Sets the turns of frames. Ask for the frames in the order of time.

    `checker` returns YuNet, and `detector` is the one of the detection pass.
    """

    def __init__(self, checker: Callable[[], Detector], detector: Detector):
        self._checker, self._detector = checker, first_search(detector)
        self._before: tuple[int, ...] = ()  # found in the block before
        self._clear: tuple[int, ...] | None = None  # of clear faces, in this block
        self._small: tuple[int, ...] = ()  # of small faces, in this block
        self._block: int | None = None
        self.needs_block_before = False  # the first frame depends on the turns of the block before

    def set_turns(self, frame: ReducedFrame) -> None:
        """Set the turns of a frame. They are found again in each block of TURN_SECONDS and after a cut.

        Without a clear face in the frame, the next frame that this is called for is examined, too. Until a clear face
        is found, the turns of the block before count.
        """
        block = int(frame.seconds // Fraction(TURN_SECONDS))
        is_first = block != self._block or frame.starts_shot
        if is_first:
            is_next = self._block == block - 1 and not frame.starts_shot
            self._before = (*(self._clear or ()), *self._small) if is_next else ()
            self._clear, self._small = None, ()
        if self._clear is None:
            image = frame.detector_image()
            clear = find_clear_faces(image, self._checker())
            self._clear = _turns_of_clear_faces(image, clear, self._checker()) if clear else None
            if is_first and clear:
                self._small = find_turns_beside(image, clear, self._detector, self._checker())
            elif is_first:
                self._small = find_small_face_turns(image, self._detector)
        if self._block is None:
            self.needs_block_before = self._clear is None and not frame.starts_shot
        self._block = block
        large = self._before if self._clear is None else self._clear
        frame.turns = tuple(sorted({*large, *self._small}))


def find_face_turns(image: Image, detector: Detector) -> tuple[int, ...] | None:
    """Return the turns, other than 0, that make faces of the image upright; None if it shows no clear face."""
    clear = find_clear_faces(image, detector)
    return _turns_of_clear_faces(image, clear, detector) if clear else None


def find_clear_faces(image: Image, detector: Detector) -> list[TurnedFace]:
    """Return the faces that YuNet detects in small copies of the image, each with the turn of its best view."""
    small, scale = _small_square(image)
    return [TurnedFace(view.face.scaled(1 / scale), view.turn) for view in _best_views(small, detector)]


def _turns_of_clear_faces(image: Image, clear: Sequence[TurnedFace], detector: Detector) -> tuple[int, ...]:
    """Return the turns, other than 0, that are also those of the faces' crops."""
    turned = sorted((view for view in clear if view.turn), key=lambda view: -_side(view.face))
    score = detector.confident_score
    return tuple(
        sorted(
            {
                view.turn
                for view in turned[:MAX_FACES]
                if view.turn == _turn_of(image, view.face, detector, score)
            }
        )
    )


def find_turns_beside(
    image: Image, clear: Sequence[TurnedFace], detector: Detector, checker: Detector
) -> tuple[int, ...]:
    """Return the turns of faces that are not at the places of the clear ones.

    The detector often detects a face that leans in two turns alike, so YuNet's turn of the crop counts.
    Both detectors must find the crop turned.
    """
    half = cv2.resize(image, None, fx=HALF, fy=HALF, interpolation=cv2.INTER_AREA).astype(
        np.uint8, copy=False
    )
    copies = detector.detect([turn_image(half, turn) for turn in TURNS[1:]])
    found = [
        turn_back(face, turn, half.shape).scaled(1 / HALF)
        for turn, faces in zip(TURNS[1:], copies, strict=True)
        for face in faces
    ]
    boxes = np.array([face.box for face in found], np.float32).reshape(-1, 4)
    known = np.array([view.face.box for view in clear], np.float32)
    likely = suppress_overlaps(boxes, np.array([face.score for face in found]))
    apart = [found[n] for n in likely if not is_part_of_any(boxes[n], known)]
    turns = {
        turn
        for face in apart[:MAX_FACES_BESIDE]
        if (turn := _turn_of(image, face, checker, MIN_SCORE_BESIDE))
        and _turn_of(image, face, detector, MIN_CROP_SCORE)
    }
    return tuple(sorted(turns))


def find_small_face_turns(image: Image, detector: Detector) -> tuple[int, ...]:
    """Return the turns, other than 0, of the faces' best views in the whole image."""
    return tuple(sorted({view.turn for view in _best_views(image, detector) if view.turn}))


def _best_views(image: Image, detector: Detector) -> list[TurnedFace]:
    """Return the faces of the image, in its pixels, each with the turn of the view with its best score."""
    copies = detector.detect([turn_image(image, turn) for turn in TURNS])
    views = [
        TurnedFace(turn_back(face, turn, image.shape), turn)
        for turn, faces in zip(TURNS, copies, strict=True)
        for face in faces
        if face.score >= detector.confident_score
    ]
    boxes = np.array([view.face.box for view in views], np.float32).reshape(-1, 4)
    return [views[index] for index in suppress_overlaps(boxes, np.array([view.face.score for view in views]))]


def _turn_of(image: Image, face: Detection, detector: Detector, min_score: float) -> int:
    """Return the turn with the best score of a face in the crop; 0 if no score is at least `min_score`."""
    crop = _cut_out(image, face)
    scores = [
        max((one.score for one in found), default=0.0)
        for found in detector.detect([turn_image(crop, turn) for turn in TURNS])
    ]
    return scores.index(max(scores)) if max(scores) >= min_score else 0


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
