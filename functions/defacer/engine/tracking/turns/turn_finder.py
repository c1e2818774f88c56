"""Find the turns that make the faces of frames upright, on a coarse grid of times and after each cut.

YuNet scores an upright face higher than a turned one. Each large face of a frame is cut out, and its crop is scored in
all four positions. Faces that are not detected at all in the upright frame are searched in small turned copies.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import cv2
import numpy as np

from defacer.engine.models.arrays import Detection, Detector, Image, compute_overlaps
from defacer.engine.tracking.reduced_frame import WINDOW_SECONDS, ReducedFrame
from defacer.engine.tracking.turns.turned_views import detect_in_turns, turn_back, turn_image

TURN_WINDOWS = 4  # of a block of the coarse grid
TURN_SECONDS = TURN_WINDOWS * WINDOW_SECONDS
TURNS = (1, 2, 3)  # counterclockwise, times 90 degrees
MAX_FACES = 4  # that are scored in a frame, the largest first
MIN_SIDE = 20  # pixels of a face in the detector's image
CROP_SIDE = 112  # pixels, of a crop with twice the face's longer side
SMALL_SIDE = 320  # pixels, of the turned copies that are searched for further faces
# Scores of YuNet, measured on 154 faces of 11 clips: of the turned crops 8 % have UPRIGHT_SCORE, and 95 % of the faces
# have MIN_GAIN over a turned position.
UPRIGHT_SCORE = 0.85
MIN_SCORE, MIN_GAIN = 0.6, 0.05
KNOWN_FACE = 0.2  # overlap (intersection over union) with a detection of the upright frame


class TurnFinder:
    """Sets the turns of frames. Ask for the frames in the order of time. `checker` returns YuNet."""

    def __init__(self, detector: Detector, checker: Callable[[], Detector]):
        self._detector, self._checker = detector, checker
        self._turns: tuple[int, ...] = ()
        self._found: tuple[int, ...] = ()  # in this block
        self._block: int | None = None
        self._is_due = False

    def set_turns(self, frame: ReducedFrame) -> None:
        """Set the turns of a frame. They are found again in each block of TURN_SECONDS and after a cut.

        Without a face in the frame, they are found in the next frame that this is called for. Until then, those that
        were found in the block before count. So they are the same wherever reading began before that block.
        """
        block = int(frame.seconds // Fraction(TURN_SECONDS))
        if block != self._block or frame.starts_shot:
            self._turns = () if frame.starts_shot else self._found
            self._found, self._is_due = (), True
        self._block = block
        frame.turns = self._turns
        if self._is_due and frame.try_start():
            self._search(frame)

    def _search(self, frame: ReducedFrame) -> None:
        """Detect the faces of the frame, and their turns."""
        failure: BaseException | None = None
        try:
            image = frame.detector_image()
            [faces] = self._detector.detect([image])
            large = [
                face
                for face in faces
                if face.score >= self._detector.confident_score and _side(face) >= MIN_SIDE
            ]
            large = sorted(large, key=_side, reverse=True)[:MAX_FACES]
            turns = {self._turn_of(image, face) for face in large} | self._search_copies(image, faces)
            if turns:
                frame.turns = self._turns = self._found = tuple(sorted(turns - {0}))
                self._is_due = False
            if frame.turns:
                [faces] = detect_in_turns(self._detector, [image], [frame.turns])
            frame.set_result(faces, image.shape[1] / frame.width)
        except BaseException as error:
            failure = error
            raise
        finally:
            frame.finish(failure)

    def _search_copies(self, image: Image, faces: Sequence[Detection]) -> set[int]:
        """Return the turns of faces that are detected in small turned copies only."""
        small, scale = _small_square(image)
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        turns = set()
        for turn in TURNS:
            for one in self._checker().detect([turn_image(small, turn)])[0]:
                face = turn_back(one, turn, small.shape).scaled(1 / scale)
                is_known = (compute_overlaps(face.box, boxes) >= KNOWN_FACE).any()
                if one.score >= MIN_SCORE and not is_known and self._turn_of(image, face) == turn:
                    turns.add(turn)
        return turns

    def _turn_of(self, image: Image, face: Detection) -> int:
        """Return the turn that makes the face upright; 0 in doubt."""
        crop = _cut_out(image, face)
        upright = self._score(crop)
        if upright >= UPRIGHT_SCORE:
            return 0
        scores = {turn: self._score(turn_image(crop, turn)) for turn in TURNS}
        turn = max(scores, key=lambda turn: scores[turn])
        return turn if scores[turn] >= max(MIN_SCORE, upright + MIN_GAIN) else 0

    def _score(self, crop: Image) -> float:
        return max((face.score for face in self._checker().detect([crop])[0]), default=0.0)


def _side(face: Detection) -> float:
    return float((face.box[2:] - face.box[:2]).max())


def _small_square(image: Image) -> tuple[Image, float]:
    """Return a small copy in a black square, and its scale. All turns have one size, so YuNet is compiled once."""
    scale = min(1.0, SMALL_SIDE / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    square = np.zeros((SMALL_SIDE, SMALL_SIDE, 3), np.uint8)
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
