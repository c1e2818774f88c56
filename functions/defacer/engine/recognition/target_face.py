"""Locate the face in a target picture, which can show it sideways or upside down, or show nothing but the face."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from defacer.engine.errors import PictureError
from defacer.engine.models.arrays import MAX_LEAN, box_areas, shared_areas
from defacer.engine.runtime import torch_package

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Array, Detection, Detector, Image

DetectorOf = Callable[[str], "Detector"]

MAX_SIDE = 640  # pixels; a picture is searched at the size that frames of a video are
LIKELY_FACE = 0.5
MIN_FACE_SIDE = 40  # pixels: below, an embedding says little
MAX_ASPECT = 16  # of a picture's longer side to its shorter one: in a longer strip no copy shows a face
BYSTANDER = 0.5  # a face smaller than this share of the largest one belongs to a bystander
# CenterFace also detects most faces that are sideways or upside down, and its landmarks show their rotation. In 73
# faces of clips, each turned four ways, the view with the best score among those whose face leans by at most MAX_LEAN
# was the upright one in all 70 that had a face. No other such view reached 0.85.
SURE_UPRIGHT = 0.85
# A face of this share of the picture's area fills it. Its landmarks are imprecise, because CenterFace detects faces of
# up to 250 pixels. In a copy with a border, 39 faces that were cut out at 70 to 100 percent of their box and enlarged
# four times moved by 0.30 to 0.84 in SFace's embedding, and without the border by 0.27 to 1.34.
FILLS_PICTURE = 0.7
BORDER = 0.5  # of the picture's longer side
PART_INSIDE = 0.8  # of a detection's area inside a face that fills the picture: it is a part of that face


@dataclass(frozen=True)
class LocatedFace:
    """The one face of a picture. `image` is the picture, turned so that the face is upright."""

    image: "Image"
    face: "Detection"


def locate_face(image: "Image", label: str, detector_of: DetectorOf) -> LocatedFace:
    """Return the one face of a picture. Raise PictureError, naming the picture, unless it shows one clear face."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_FACE_SIDE:
        raise PictureError(
            f"{label} has {width}x{height} pixels. Use a picture with a face of at least {MIN_FACE_SIDE} pixels."
        )
    image, faces = _turn_upright(image, detector_of)
    if not faces:
        raise PictureError(
            f"{label} shows no face. Use a picture that shows the person's face, clear and large."
        )
    prominent = _prominent(faces)
    if len(prominent) > 1:
        raise PictureError(
            f"{label} shows {len(prominent)} faces. Use a picture that shows this person alone."
        )
    side = _height(prominent[0])
    if side < MIN_FACE_SIDE:
        raise PictureError(
            f"{label} shows a face only {side:.0f} pixels high. "
            f"Use a picture with a face of at least {MIN_FACE_SIDE} pixels."
        )
    return LocatedFace(image, prominent[0])


def find_faces(image: "Image", detector_of: DetectorOf) -> "list[Detection]":
    """Return the likely faces in a picture, in its pixels. The picture is not turned.

    MTCNN comes last, so that a picture that CenterFace reads has the same box with and without PyTorch.
    """
    faces = _search(image, detector_of("centerface"))
    if not faces and torch_package.is_installed():
        faces = _search(image, detector_of("mtcnn"))
    return faces


def _turn_upright(image: "Image", detector_of: DetectorOf) -> "tuple[Image, list[Detection]]":
    """Return the picture, turned so that its face is upright, and the faces in this view."""
    views = []
    for turns in range(4):
        turned = np.ascontiguousarray(np.rot90(image, turns))
        faces = _search(turned, detector_of("centerface"))
        score = max((face.score for face in _prominent(faces) if abs(face.lean) <= MAX_LEAN), default=0.0)
        if score >= SURE_UPRIGHT:
            return turned, faces
        views.append((score, turned, faces))
    score, turned, faces = max(views, key=lambda view: view[0])
    return (turned, faces) if score else (image, find_faces(image, detector_of))


def _prominent(faces: "list[Detection]") -> "list[Detection]":
    """Return the faces that are not of bystanders."""
    largest = max(map(_height, faces), default=0.0)
    return [face for face in faces if _height(face) >= BYSTANDER * largest]


def _search(image: "Image", detector: "Detector") -> "list[Detection]":
    """Return the likely faces in a picture, in its pixels. Parts of a face that fills the picture do not count."""
    if max(image.shape[:2]) > MAX_ASPECT * min(image.shape[:2]):
        return []
    small, scale = _shrink(image)
    faces = _detect(small, detector)
    height, width = small.shape[:2]
    whole = np.array([0, 0, width, height], np.float32)
    filling = max(faces, key=lambda face: float(shared_areas(face.box, whole)), default=None)
    if filling is not None and float(shared_areas(filling.box, whole)) >= FILLS_PICTURE * height * width:
        others = [face for face in faces if face is not filling and not _is_part(face, filling)]
        faces = [replace(filling, landmarks=_precise_landmarks(small, filling, detector)), *others]
    return [face.scaled(1 / scale) for face in faces]


def _precise_landmarks(image: "Image", face: "Detection", detector: "Detector") -> "Array":
    """Return the landmarks of a face that fills the image, from a copy with a border."""
    border = round(BORDER * max(image.shape[:2]))
    copy, scale = _shrink(np.pad(image, ((border, border), (border, border), (0, 0))))
    found = max(_detect(copy, detector), key=lambda one: float(box_areas(one.box)), default=None)
    return face.landmarks if found is None else found.landmarks / np.float32(scale) - np.float32(border)


def _is_part(face: "Detection", whole: "Detection") -> bool:
    return float(shared_areas(face.box, whole.box)) >= PART_INSIDE * float(box_areas(face.box))


def _shrink(image: "Image") -> "tuple[Image, float]":
    """Return a copy of at most MAX_SIDE pixels a side, and its scale."""
    scale = min(1.0, MAX_SIDE / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8, copy=False), scale


def _detect(image: "Image", detector: "Detector") -> "list[Detection]":
    return [face for face in detector.detect([image])[0] if face.score >= LIKELY_FACE]


def _height(face: "Detection") -> float:
    return float(face.box[3] - face.box[1])
