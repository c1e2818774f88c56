"""Check that all pictures of a person show the same person."""

from contextlib import nullcontext

import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import PictureError
from defacer.engine.recognition.gallery import Gallery, Picture, make_gallery
from defacer.engine.recognition.same_person import MAX_DISTANCE, require_same_person
from tests.clips import admiral, astronaut, encode_picture


def gallery_at(*angles: float, people: str = "aaaaaaa") -> Gallery:
    """Return a gallery of faces on a circle. `angles` are distances along it, nearly those between embeddings."""
    points = np.array([[np.cos(angle), np.sin(angle)] for angle in angles], np.float32)
    return Gallery(tuple(people[: len(angles)]), points, "sface/test")


@pytest.mark.parametrize("angles", [(0,), (0, 0.9), (0, 0.9, 1.8), (0, 1.8, 0.9)])
def test_pictures_that_link_each_other_are_one_person(angles: tuple[float, ...]) -> None:
    """A profile resembles a half turned face, which resembles the face from the front."""
    require_same_person(gallery_at(*angles), "123")


@pytest.mark.parametrize(
    ("angles", "odd", "known"),
    [((0, 1.5), "2", "1"), ((1.5, 0, 0.1), "1", "2"), ((0, 3, 0.1, 0.2), "2", "1")],
)
def test_picture_outside_the_largest_group_is_named(angles: tuple[float, ...], odd: str, known: str) -> None:
    with pytest.raises(PictureError, match=f"^{odd} does not look like the person in {known}. Remove"):
        require_same_person(gallery_at(*angles), "1234")


def test_different_people_are_not_compared() -> None:
    require_same_person(gallery_at(0, 3, 0.1, 3.1, people="abab"), "1234")
    with pytest.raises(PictureError, match=r"^4 does not look like the person in 2"):
        require_same_person(gallery_at(0, 3, 0.1, 0.2, people="abab"), "1234")


def test_limit_separates_real_people(engine: Engine) -> None:
    """The other pictures of the astronaut are mirrored, dark, and small."""
    own = [
        astronaut(),
        astronaut()[:, ::-1].copy(),
        astronaut() // 3,
        cv2.resize(astronaut(), (150, 150)).astype(np.uint8),
    ]
    pictures = [Picture("p", str(number), encode_picture(picture)) for number, picture in enumerate(own)]
    require_same_person(engine.gallery(pictures, "sface"), "0123")
    pictures.append(Picture("p", "4", encode_picture(admiral())))
    gallery = make_gallery(pictures, engine.detector, engine.recognizer("sface"), nullcontext())
    assert np.linalg.norm(gallery.embeddings[:4] - gallery.embeddings[4], axis=1).min() > MAX_DISTANCE + 0.1
    with pytest.raises(PictureError, match=r"^4 does not look like the person in 0"):
        require_same_person(gallery, "01234")


@pytest.mark.parametrize("recognizer", ["sface", "facenet-casia"])
def test_engine_refuses_pictures_of_two_people(recognizer: str, engine: Engine) -> None:
    faces = [astronaut(), admiral()]
    pictures = [Picture("p", str(number), encode_picture(face)) for number, face in enumerate(faces)]
    with pytest.raises(PictureError, match=r"^1 does not look like the person in 0"):
        engine.gallery(pictures, recognizer)
