"""Warnings about target pictures that are recognized badly, on real faces."""

import os
import weakref
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.errors import PictureError
from defacer.engine.models.arrays import Image
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer.engine.recognition.target_face import locate_face
from tests.clips import admiral, astronaut, encode_picture, turned

PORTRAITS = pytest.mark.parametrize("portrait", [admiral, astronaut])
EVAL = os.environ.get("DEFACER_EVAL")


def gallery_of(engine: Engine, picture: bytes) -> Gallery:
    return engine.gallery([Picture("ann", "ann.png", picture)], "sface")


def codes(gallery: Gallery) -> list[str]:
    return [warning.code for warning in gallery.warnings]


def face_side(portrait: Callable[[], Image]) -> float:
    """The height of a portrait's face in pixels, as the detector sees it."""
    return {admiral: 205.0, astronaut: 123.0}[portrait]


@PORTRAITS
def test_a_clear_portrait_is_not_warned_about(engine: Engine, portrait: Callable[[], Image]) -> None:
    assert codes(gallery_of(engine, encode_picture(portrait()))) == []


@PORTRAITS
def test_a_blurred_portrait_is_warned_about(engine: Engine, portrait: Callable[[], Image]) -> None:
    blurred = cv2.GaussianBlur(portrait(), (0, 0), face_side(portrait) / 40).astype(np.uint8)

    found = gallery_of(engine, encode_picture(blurred))

    assert codes(found) == ["blurred-picture"]
    assert found.warnings[0].message == "A target picture of ann is blurred."
    assert Gallery.from_bytes(found.to_bytes()).warnings == found.warnings


def other_size(portrait: Image, across: float, down: float) -> Image:
    return cv2.resize(portrait, None, fx=across, fy=down, interpolation=cv2.INTER_AREA).astype(np.uint8)


def distance(one: Gallery, other: Gallery) -> float:
    return float(np.linalg.norm(one.embeddings - other.embeddings))


@PORTRAITS
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_portrait_on_its_side_or_upside_down_is_turned(
    engine: Engine, portrait: Callable[[], Image], turns: int
) -> None:
    upright = gallery_of(engine, encode_picture(portrait()))
    lying = gallery_of(engine, encode_picture(np.rot90(portrait(), turns).copy()))
    assert distance(lying, upright) < 0.1
    assert codes(lying) == []


@PORTRAITS
@pytest.mark.parametrize("share", [1.0, 0.85])
def test_face_that_fills_the_picture_is_one_face(
    engine: Engine, portrait: Callable[[], Image], share: float
) -> None:
    face = locate_face(portrait(), "ann.png", engine.detector).face
    middle, half = (face.box[:2] + face.box[2:]) / 2, (face.box[2:] - face.box[:2]) / 2 * share
    (x1, y1), (x2, y2) = (middle - half).round().astype(int), (middle + half).round().astype(int)
    close_up = other_size(portrait()[y1:y2, x1:x2], 4, 4)
    found = distance(
        gallery_of(engine, encode_picture(close_up)), gallery_of(engine, encode_picture(portrait()))
    )
    assert found < 0.7


@PORTRAITS
def test_an_overexposed_portrait_is_warned_about(engine: Engine, portrait: Callable[[], Image]) -> None:
    bright = np.clip(portrait().astype(np.float32) * 2.2, 0, 255).astype(np.uint8)
    assert codes(gallery_of(engine, encode_picture(bright))) == ["overexposed-picture"]


@pytest.mark.parametrize(("across", "down"), [(0.45, 1), (1, 0.4)])
def test_a_squeezed_portrait_is_warned_about(engine: Engine, across: float, down: float) -> None:
    squeezed = gallery_of(engine, encode_picture(other_size(admiral(), across, down)))
    assert codes(squeezed) == ["squeezed-picture"]
    assert squeezed.warnings[0].message == "A target picture of ann is squeezed or stretched."


def test_warning_names_the_picture_of_a_person_with_several(engine: Engine) -> None:
    blurred = cv2.GaussianBlur(astronaut(), (0, 0), 4).astype(np.uint8)
    pictures = [Picture("ann", "ann/1.png", encode_picture(astronaut()))]
    pictures.append(Picture("ann", "ann/2.png", encode_picture(blurred)))
    [warning] = engine.gallery(pictures, "sface").warnings
    assert (warning.person, warning.message) == ("ann", "A target picture of ann (ann/2.png) is blurred.")


@PORTRAITS
def test_a_small_portrait_is_warned_about(engine: Engine, portrait: Callable[[], Image]) -> None:
    scale = 52 / face_side(portrait)
    small = cv2.resize(portrait(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)

    assert codes(gallery_of(engine, encode_picture(small))) == ["small-picture"]


@pytest.mark.parametrize(("portrait", "column"), [(admiral, 281), (astronaut, 155)])
def test_a_turned_portrait_is_warned_about(
    engine: Engine, portrait: Callable[[], Image], column: int
) -> None:
    found = gallery_of(engine, encode_picture(turned(portrait(), column)))

    assert codes(found) == ["turned-picture"]
    assert found.warnings[0].message == "The face in a target picture of ann is turned away from the camera."


@pytest.mark.parametrize("size", [(45, 100_000), (20_000, 41)])
def test_a_strip_of_a_picture_shows_no_face(engine: Engine, size: tuple[int, int]) -> None:
    """A copy of the usual size would have no pixels."""
    strip = np.full((*size, 3), 127, np.uint8)
    with pytest.raises(PictureError, match=r"ann\.png shows no face"):
        gallery_of(engine, encode_picture(strip))


@pytest.mark.slow
@pytest.mark.skipif(not EVAL, reason="DEFACER_EVAL does not name the folder with real clips")
def test_only_the_profile_of_the_real_target_pictures_is_warned_about(engine: Engine) -> None:
    found = sorted(Path(str(EVAL), "clips").glob("*.target.*"))
    pictures = [Picture(path.name, path.name, path.read_bytes()) for path in found]
    assert found
    warnings = engine.gallery(pictures, "sface").warnings
    assert [(item.person, item.code) for item in warnings] == [("c10.target.png", "turned-picture")]


def test_networks_compiled_for_a_picture_are_freed_before_the_video() -> None:
    engine = Engine()
    detector = weakref.ref(engine.detector("centerface"))
    engine.gallery([Picture("ann", "ann.png", encode_picture(astronaut()))], "sface")
    assert detector() is not None
    engine.drop_detectors()
    assert detector() is None
