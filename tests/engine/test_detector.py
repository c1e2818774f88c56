"""Test that both detectors detect a known face, and no face in a blank picture."""

import numpy as np
import pytest

from defacer.engine.errors import EngineError
from defacer.engine.models.arrays import Detector, compute_overlaps, suppress_overlaps
from defacer.engine.models.detector import make_detector
from tests.clips import admiral, astronaut

# From chin to hairline, measured by eye, in pixels of `astronaut()`.
ASTRONAUT_FACE = np.array([102, 68, 190, 187], np.float32)


@pytest.fixture(params=["centerface", "mtcnn"], scope="module")
def detector(request: pytest.FixtureRequest) -> Detector:
    return make_detector(request.param)


def test_face_is_detected_in_its_place(detector: Detector) -> None:
    faces = detector.detect([astronaut()])[0]
    assert faces[0].score >= detector.confident_score
    assert compute_overlaps(faces[0].box, ASTRONAUT_FACE[None])[0] > 0.5


def test_landmarks_are_in_the_face_in_their_order(detector: Detector) -> None:
    left_eye, right_eye, nose, left_mouth, right_mouth = detector.detect([astronaut()])[0][0].landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_blank_image_has_no_confident_detection(detector: Detector) -> None:
    blank = np.full((300, 300, 3), 127, np.uint8)
    faces = detector.detect([admiral()[:300, :300], blank])
    assert len(faces) == 2
    assert not [face for face in faces[1] if face.score >= detector.confident_score]


def test_images_of_several_sizes_are_detected_as_alone(detector: Detector) -> None:
    images = [astronaut(), admiral()[:300, :310], astronaut()[:250]]
    alone = [detector.detect([image])[0] for image in images]
    for found, expected in zip(detector.detect(images), alone, strict=True):
        assert [face.score for face in found] == pytest.approx([face.score for face in expected], abs=1e-5)


def test_no_images_return_no_lists(detector: Detector) -> None:
    assert detector.detect([]) == []


def test_unknown_detector_is_refused_with_the_choices() -> None:
    with pytest.raises(EngineError, match="centerface or mtcnn"):
        make_detector("yolo")


def test_overlap_is_intersection_over_union() -> None:
    one = np.array([0, 0, 2, 2], np.float32)
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]], np.float32)
    assert compute_overlaps(one, others) == pytest.approx([1, 1 / 3, 0])


def test_best_of_overlapping_boxes_is_kept() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40]], np.float32)
    assert suppress_overlaps(boxes, np.array([0.5, 0.9, 0.4], np.float32)) == [1, 2]
