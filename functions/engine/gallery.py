"""The gallery: embeddings of the people who stay visible, made of their pictures."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

from functions.engine import pytorch
from functions.engine.errors import PictureError
from functions.engine.picture import decode_picture

if TYPE_CHECKING:
    from functions.engine.detect import Array, Detector, Image
    from functions.engine.embed import FaceNet

MAX_SIDE = 640  # pixels; a picture is searched at the size that frames of a video are
CLOSE_UP_WIDTH = 224  # pixels; at this size CenterFace also finds a face that fills the picture
LIKELY_FACE = 0.5
INSIDE = 0.8  # a box with this share of its area in a larger one is a part of the same face
MIN_FACE_SIDE = 40  # pixels: below, an embedding says little
BYSTANDER = 0.5  # a face smaller than this share of the largest one is somebody in the background


@dataclass(frozen=True)
class Picture:
    """A picture of a target. `label` is what messages call it, such as the object's name."""

    person: str
    label: str
    data: bytes


@dataclass(frozen=True)
class Gallery:
    """Embeddings (N, 512) of length 1, row by row of `people`; made by `recognizer` (name and version).

    They are biometric data: no log line or test output prints them.
    """

    people: tuple[str, ...] = field(repr=False)
    embeddings: "Array" = field(repr=False)
    recognizer: str

    def to_bytes(self) -> bytes:
        """As a NumPy archive without pickled parts."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            people=np.array(self.people, dtype=np.str_),
            embeddings=self.embeddings,
            recognizer=np.array(self.recognizer),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The opposite of `to_bytes`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            people = tuple(str(person) for person in archive["people"])
            return cls(people, archive["embeddings"], str(archive["recognizer"]))


def make_gallery(
    pictures: Sequence[Picture], detector_of: Callable[[str], "Detector"], recognizer: "FaceNet"
) -> Gallery:
    """One embedding for each picture. Raises PictureError, naming it, unless it shows one clear face.

    `detector_of` returns a detector by its name; `find_faces` says which are asked.
    """
    from functions.engine.embed import crop_face

    crops = []
    for picture in pictures:
        image = decode_picture(picture.data, picture.label)
        crops.append(crop_face(image, only_face(image, picture.label, detector_of)))
    people = tuple(picture.person for picture in pictures)
    # A face and its mirror image are one person: their mean hangs less on how this picture happens to be lit.
    both = recognizer.embed(crops) + recognizer.embed([np.ascontiguousarray(crop[:, ::-1]) for crop in crops])
    embeddings: Array = both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-9)
    return Gallery(people, embeddings, recognizer.version)


def only_face(image: "Image", label: str, detector_of: Callable[[str], "Detector"]) -> "Array":
    """The box of the one face. Raises PictureError, naming the picture, unless it shows one clear face."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_FACE_SIDE:
        raise PictureError(
            f"{label} has {width}x{height} pixels. Use a picture with a face of {MIN_FACE_SIDE} pixels at least."
        )
    boxes = find_faces(image, detector_of)
    if not boxes:
        raise PictureError(
            f"{label} shows no face. Use a picture that shows the person's face, clear and large."
        )
    sides = [float(box[3] - box[1]) for box in boxes]
    prominent = [box for box, side in zip(boxes, sides, strict=True) if side >= BYSTANDER * max(sides)]
    if len(prominent) > 1:
        raise PictureError(
            f"{label} shows {len(prominent)} faces. Use a picture that shows this person alone."
        )
    if max(sides) < MIN_FACE_SIDE:
        raise PictureError(
            f"{label} shows a face only {max(sides):.0f} pixels high. "
            f"Use a picture in which it is at least {MIN_FACE_SIDE} pixels."
        )
    return prominent[0]


def find_faces(image: "Image", detector_of: Callable[[str], "Detector"]) -> "list[Array]":
    """Return the boxes of the likely faces in a picture, in its pixels.

    Of a face that fills the picture CenterFace sees nothing at MAX_SIDE, or its parts as several faces; a smaller copy
    shows the face as one. MTCNN comes last, so that a picture that CenterFace reads has the same box with and without
    PyTorch.
    """
    height, width = image.shape[:2]
    boxes = _search(image, MAX_SIDE / max(height, width), detector_of("centerface"))
    if len(boxes) == 1:
        return boxes
    close_up = _search(image, CLOSE_UP_WIDTH / width, detector_of("centerface"))
    if not boxes or (len(close_up) == 1 and all(_is_inside(box, close_up[0]) for box in boxes)):
        boxes = close_up
    if not boxes and pytorch.is_installed():
        boxes = _search(image, MAX_SIDE / max(height, width), detector_of("mtcnn"))
    return boxes


def _search(image: "Image", scale: float, detector: "Detector") -> "list[Array]":
    """Return the boxes of the likely faces in a copy of that scale, in pixels of the image."""
    scale = min(1.0, scale)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    faces = detector.detect([small])[0]
    return [(face.box / scale).astype(np.float32) for face in faces if face.score >= LIKELY_FACE]


def _is_inside(box: "Array", outer: "Array") -> bool:
    """Return whether at least the share INSIDE of the area of `box` is within `outer`."""
    sides = np.minimum(box[2:], outer[2:]) - np.maximum(box[:2], outer[:2])
    return bool(np.prod(np.clip(sides, 0, None)) >= INSIDE * np.prod(box[2:] - box[:2]))
