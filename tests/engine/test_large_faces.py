"""Test that a face that fills the frame is detected once, with its landmarks, and that other faces stay the same."""

import cv2
import numpy as np
import pytest

from defacer.engine.models.arrays import Array, Detection, Detector, Image, compute_overlaps
from defacer.engine.models.centerface import CenterFace
from defacer.engine.models.detector import make_detector
from defacer.engine.models.large_faces import merge_large_faces, small_copy
from tests.clips import admiral, astronaut

# Each picture with the box of its face, from chin to hairline, measured by eye.
FACES = {"astronaut": (astronaut, (102, 68, 190, 187)), "admiral": (admiral, (172, 105, 356, 318))}
SIZE = 640, 360  # of the picture that the detector gets for a frame of 1280x720


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector("centerface")


def close_up(name: str, height: float, shift: float = 0.0) -> tuple[Image, Array]:
    """Return a picture of SIZE with a face of that height in its middle, and the visible part of the face's box."""
    picture, box = FACES[name][0](), np.array(FACES[name][1], np.float32)
    scale = height / (box[3] - box[1])
    middle = np.array(SIZE, np.float32) / 2 + [shift, 0]
    move = middle - scale * (box[:2] + box[2:]) / 2
    matrix = np.array([[scale, 0, move[0]], [0, scale, move[1]]], np.float32)
    image = cv2.warpAffine(picture, matrix, SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    face = scale * box + np.tile(move, 2)
    return image.astype(np.uint8), np.clip(face, 0, [*SIZE, *SIZE]).astype(np.float32)


@pytest.mark.parametrize("name", FACES)
@pytest.mark.parametrize("height", [100, 250, 375, 425, 500, 650, 800, 900])
def test_face_of_any_size_is_detected_once_in_its_place(detector: Detector, name: str, height: int) -> None:
    image, box = close_up(name, height)
    confident = [face for face in detector.detect([image])[0] if face.score >= detector.confident_score]
    assert len(confident) == 1
    visible = np.clip(confident[0].box, 0, [*SIZE, *SIZE]).astype(np.float32)
    assert compute_overlaps(visible, box[None])[0] > 0.7
    left_eye, right_eye, nose, left_mouth, right_mouth = confident[0].landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize(("name", "height"), [("astronaut", 500), ("admiral", 700)])
def test_face_that_the_full_search_misses_is_detected(detector: Detector, name: str, height: float) -> None:
    """Otherwise the search of the copy would be useless."""
    image, _ = close_up(name, height)
    full_search = CenterFace()
    assert not [face for face in full_search.detect([image])[0] if face.score >= full_search.confident_score]
    assert [face for face in detector.detect([image])[0] if face.score >= detector.confident_score]


def test_small_faces_come_from_the_full_search_only(detector: Detector) -> None:
    image = cv2.resize(astronaut(), (360, 360), interpolation=cv2.INTER_AREA).astype(np.uint8)
    image = np.pad(image, ((0, 0), (100, 180), (0, 0)))
    seen, alone = detector.detect([image])[0], CenterFace().detect([image])[0]
    assert [face.score for face in seen] == [face.score for face in alone]
    assert all((one.box == other.box).all() for one, other in zip(seen, alone, strict=True))


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (500, 500), (60, 40)])
def test_positions_in_the_copy_map_back_to_the_image(size: tuple[int, int]) -> None:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[size[1] // 2 :, size[0] // 2 :] = 255
    copy = small_copy(image)
    assert not [side for side in copy.image.shape[:2] if side % 32]
    rows, columns = np.nonzero(copy.image[..., 0] > 127)
    corner = np.array([columns.min(), rows.min()], np.float32)
    end = np.array([columns.max() + 1, rows.max() + 1], np.float32)
    found = copy.to_original(Detection(np.concatenate([corner, end]), 0.9, np.tile(corner, (5, 1))))
    assert found.box == pytest.approx([size[0] // 2, size[1] // 2, *size], abs=size[0] / 100)
    assert found.landmarks[4] == pytest.approx(found.box[:2])


def face(x1: float, y1: float, x2: float, y2: float, score: float = 0.9) -> Detection:
    box = np.array([x1, y1, x2, y2], np.float32)
    return Detection(box, score, np.tile((box[:2] + box[2:]) / 2, (5, 1)))


def test_part_of_a_large_face_is_merged_into_it() -> None:
    (one,) = merge_large_faces(
        [face(200, 60, 420, 300, 0.5), face(300, 90, 500, 280, 0.4)], [face(100, 10, 520, 350)], 640, 0.3
    )
    assert one.box.tolist() == [100, 10, 520, 350]


def test_merged_box_covers_the_boxes_of_both_searches() -> None:
    (one,) = merge_large_faces([face(100, 0, 480, 340, 0.95)], [face(120, 20, 500, 360)], 640, 0.3)
    assert one.box.tolist() == [100, 0, 500, 360]
    assert one.score == 0.95


def test_landmarks_of_the_full_search_are_kept() -> None:
    """They align the crop for the recognizer. The landmarks of a part of the face are wrong."""
    whole, part, close = face(100, 0, 480, 340, 0.6), face(300, 90, 500, 280, 0.9), face(120, 20, 500, 360)
    assert (merge_large_faces([whole, part], [close], 640, 0.3)[0].landmarks == whole.landmarks).all()
    assert (merge_large_faces([part], [close], 640, 0.3)[0].landmarks == close.landmarks).all()


def test_second_face_in_front_of_a_large_one_is_kept() -> None:
    held_up = face(300, 150, 420, 300)
    close = [face(100, 10, 520, 350), face(305, 155, 415, 295, 0.3)]
    assert held_up in merge_large_faces([face(110, 20, 500, 340), held_up], close, 640, 0.3)
    small = face(300, 150, 340, 200)
    assert small in merge_large_faces([small], close[:1], 640, 0.3)


def test_faint_or_small_face_in_the_copy_is_ignored() -> None:
    assert merge_large_faces([], [face(100, 10, 520, 350, 0.2), face(10, 10, 100, 150)], 640, 0.3) == []
