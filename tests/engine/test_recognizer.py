"""Test that crops are aligned by landmarks, and that embeddings differ between two people."""

import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import EngineError
from defacer.engine.models.arrays import Array, Detection, Image
from defacer.engine.models.recognizer import make_recognizer
from defacer.engine.models.sface import SFACE_LANDMARKS, SFACE_SIZE, similarity
from defacer.engine.recognition.target_face import locate_face
from tests.clips import admiral, astronaut


def embedding(engine: Engine, picture: Image) -> Array:
    recognizer = engine.recognizer("sface")
    face = locate_face(picture, "picture", engine.detector).face
    return recognizer.embed([recognizer.crop(picture, face)])[0][0]


def turned(picture: Image, degrees: float) -> Image:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(picture, matrix, (width, height)).astype(np.uint8)


@pytest.mark.parametrize(("degrees", "scale"), [(0.0, 1.0), (30.0, 0.3), (-75.0, 4.0), (180.0, 2.0)])
def test_similarity_inverts_rotation_scale_and_shift(degrees: float, scale: float) -> None:
    radians = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    points = (SFACE_LANDMARKS @ turn.T + (17, -4)).astype(np.float32)

    matrix = similarity(points, SFACE_LANDMARKS)

    assert np.abs(points @ matrix[:, :2].T + matrix[:, 2] - SFACE_LANDMARKS).max() < 1e-2


def test_similarity_does_not_mirror_a_face() -> None:
    mirrored = SFACE_LANDMARKS * (-1, 1)
    assert np.linalg.det(similarity(mirrored.astype(np.float32), SFACE_LANDMARKS)[:, :2]) > 0


def test_rotated_or_large_picture_of_one_person_stays_close(engine: Engine) -> None:
    upright = embedding(engine, astronaut())
    large = cv2.resize(astronaut(), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC).astype(np.uint8)

    assert np.linalg.norm(upright - embedding(engine, turned(astronaut(), 20))) < 0.5
    assert np.linalg.norm(upright - embedding(engine, large)) < 0.3
    assert np.linalg.norm(upright - embedding(engine, admiral())) > 1.2


def test_crop_at_the_edge_of_the_picture_has_the_networks_size(engine: Engine) -> None:
    picture = astronaut()
    box = np.array([-40, -40, 60, 60], np.float32)
    face = Detection(box, 0.9, (SFACE_LANDMARKS - 50).astype(np.float32))
    for scale in (1.0, 8.0):
        crop = engine.recognizer("sface").crop(picture, face.scaled(scale))
        assert crop.shape == (SFACE_SIZE, SFACE_SIZE, 3)
        assert crop.dtype == np.uint8


def test_unknown_recognizer_is_refused_with_the_choices() -> None:
    with pytest.raises(EngineError, match="'lfw', allowed are sface, facenet-casia, facenet-vggface2"):
        make_recognizer("lfw")
