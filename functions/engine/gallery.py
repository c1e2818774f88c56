"""The gallery: embeddings of the people who stay visible, made of their pictures."""

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

from functions.engine.errors import PictureError
from functions.engine.picture import decode_picture

if TYPE_CHECKING:
    from functions.engine.detect import Array, Detection, Detector, Image
    from functions.engine.embed import FaceNet

DETECTORS = (
    "centerface",
    "mtcnn",
)  # the first reads the videos too; the second sees faces that fill the picture
MAX_SIDE = 640  # pixels; a picture is searched at the size that frames of a video are
LIKELY_FACE = 0.5
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
    pictures: Sequence[Picture],
    detector_of: Callable[[str], "Detector"],
    recognizer: "FaceNet",
    alone: AbstractContextManager[object],
) -> Gallery:
    """One embedding for each picture. Raises PictureError, naming it, unless it shows one clear face.

    `detector_of` returns a detector by its name. The second detector runs where the first one detects no face. `alone`
    is held while a model works, and not while a picture is decoded.
    """
    from functions.engine.embed import crop_face

    crops = []
    for picture in pictures:
        image = decode_picture(picture.data, picture.label)
        with alone:
            box = only_face(image, picture.label, detector_of)
        crops.append(crop_face(image, box))
    people = tuple(picture.person for picture in pictures)
    # A face and its mirror image are one person: their mean hangs less on how this picture happens to be lit.
    mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
    with alone:
        both = recognizer.embed(crops) + recognizer.embed(mirrored)
    embeddings: Array = both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-9)
    return Gallery(people, embeddings, recognizer.version)


def only_face(image: "Image", label: str, detector_of: Callable[[str], "Detector"]) -> "Array":
    """The box of the one face. Raises PictureError, naming the picture, unless it shows one clear face."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_FACE_SIDE:
        raise PictureError(
            f"{label} has {width}x{height} pixels. Use a picture with a face of {MIN_FACE_SIDE} pixels at least."
        )
    scale = min(1.0, MAX_SIDE / max(height, width))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    faces: list[Detection] = []
    for name in DETECTORS:
        if not faces:
            faces = [face for face in detector_of(name).detect([small])[0] if face.score >= LIKELY_FACE]
    if not faces:
        raise PictureError(
            f"{label} shows no face. Use a picture that shows the person's face, clear and large."
        )
    sides = [float(face.box[3] - face.box[1]) for face in faces]
    prominent = [face for face, side in zip(faces, sides, strict=True) if side >= BYSTANDER * max(sides)]
    if len(prominent) > 1:
        raise PictureError(
            f"{label} shows {len(prominent)} faces. Use a picture that shows this person alone."
        )
    if max(sides) / scale < MIN_FACE_SIDE:
        raise PictureError(
            f"{label} shows a face only {max(sides) / scale:.0f} pixels high. "
            f"Use a picture in which it is at least {MIN_FACE_SIDE} pixels."
        )
    box: Array = (prominent[0].box / scale).astype(np.float32)
    return box
