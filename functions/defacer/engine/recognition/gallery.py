"""The gallery: embeddings of the targets, computed from their pictures."""

import io
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

from defacer.engine.errors import EngineError, PictureError
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.runtime import torch_package
from defacer.report.tracks import TargetWarning

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Array, Detection, Detector, Image
    from defacer.engine.models.embedding import Recognizer

MAX_SIDE = 640  # pixels; a picture is searched at the size that frames of a video are
LIKELY_FACE = 0.5
MIN_FACE_SIDE = 40  # pixels: below, an embedding says little
MAX_ASPECT = 16  # of a picture's longer side to its shorter one: in a longer strip no copy shows a face
# A picture beyond these limits is used, with a warning. Chosen on 39 pictures (target pictures of clips and public
# portraits) whose faces are at least 120 pixels high and have a blur of 0.30 to 0.61. Blurred with a sigma of 1/60 of
# the face's height they have 0.68 to 0.77, and their SFace embedding moves by 0.41 to 0.64. At 64 pixels it moves by
# 0.20 to 0.38, at 40 pixels by 0.38 to 0.62. The match threshold is 0.97, and pictures of one person differ by 0.7.
SMALL_FACE_SIDE = 64
MAX_BLUR = 0.64
# 174 of 177 public portraits and 10 of 11 target pictures of clips are below 5. The others show a profile (10.6) or a
# face turned by 35 to 45 degrees (5.1, 6.2, 6.4). The views of targets beyond 5 are at 1.0 from their target picture in
# the median, the views below at 0.4 to 0.65.
MAX_TURN = 5.0
BLUR_SIDE = 112  # pixels: faces are resized to this before their blur is measured
BLUR_LENGTH = 9  # pixels
BYSTANDER = 0.5  # a face smaller than this share of the largest one belongs to a bystander


@dataclass(frozen=True)
class Picture:
    """A picture of a target. `label` is its name in messages, such as the object's name."""

    person: str
    label: str
    data: bytes


@dataclass(frozen=True)
class TargetFace:
    """A target's face in an image (H, W, 3), such as a frame of a video. `label` is its name in messages."""

    person: str
    label: str
    image: "Image" = field(repr=False)
    face: "Detection" = field(repr=False)


@dataclass(frozen=True)
class Gallery:
    """Embeddings (N, D) of length 1, one row for each of `people`, from the `recognizer` (name and version).

    `warnings` are about pictures that are blurred, small or turned. Embeddings are biometric data: no log line or test
    output prints them.
    """

    people: tuple[str, ...] = field(repr=False)
    embeddings: "Array" = field(repr=False)
    recognizer: str
    warnings: tuple[TargetWarning, ...] = field(default=(), repr=False)

    def require_recognizer(self, version: str | None) -> None:
        """Raise EngineError unless this recognizer (name and version) made the embeddings."""
        if version != self.recognizer:
            raise EngineError(
                f"the target pictures were embedded by {self.recognizer}, and the faces in the video by "
                f"{version or 'no recognizer'}. Upload the video again, so that one recognizer does both."
            )

    def to_bytes(self) -> bytes:
        """Return a NumPy archive without pickled parts."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            people=np.array(self.people, dtype=np.str_),
            embeddings=self.embeddings,
            recognizer=np.array(self.recognizer),
            warnings=np.array(json.dumps([asdict(warning) for warning in self.warnings])),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the gallery in an archive of `to_bytes`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            people = tuple(str(person) for person in archive["people"])
            warnings = tuple(TargetWarning(**warning) for warning in json.loads(str(archive["warnings"])))
            return cls(people, archive["embeddings"], str(archive["recognizer"]), warnings)


def make_gallery(
    pictures: Sequence[Picture],
    detector_of: Callable[[str], "Detector"],
    recognizer: "Recognizer",
    model_lock: AbstractContextManager[object],
    faces: Sequence[TargetFace] = (),
) -> Gallery:
    """Return one embedding for each picture, then for each of `faces`.

    Raise PictureError, which names the picture, unless it has one clear face. `detector_of` returns a detector by its
    name; `find_faces` chooses the names. `model_lock` is held while a model runs, and not while a picture is decoded.
    """
    crops, warnings = [], []
    for picture in pictures:
        image = decode_picture(picture.data, picture.label)
        with model_lock:
            face = only_face(image, picture.label, detector_of)
        crops.append(recognizer.crop(image, face))
        several = sum(other.person == picture.person for other in pictures) > 1
        warnings += picture_warnings(image, face, picture.person, picture.label if several else None)
    for target in faces:
        crops.append(recognizer.crop(target.image, target.face))
        warnings += picture_warnings(target.image, target.face, target.person)
    people = (*(picture.person for picture in pictures), *(target.person for target in faces))
    # A face and its mirror image are one person. Their mean depends less on the light in this picture.
    mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
    with model_lock:
        both = recognizer.embed(crops)[0] + recognizer.embed(mirrored)[0]
    embeddings: Array = both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-9)
    return Gallery(people, embeddings, recognizer.version, tuple(warnings))


def picture_warnings(
    image: "Image", face: "Detection", person: str, label: str | None = None
) -> list[TargetWarning]:
    """Return why a target picture with this one face is likely to be recognized badly.

    `label` names the picture in the message, where the person has several.
    """
    side = int(face.box[3] - face.box[1])
    whose = person if label is None else f"{person} ({label})"
    if side < SMALL_FACE_SIDE:
        message = f"The face in a target picture of {whose} is only {side} pixels high."
        return [TargetWarning("small-picture", person, message)]
    if blur_of(image, face.box) > MAX_BLUR:
        return [TargetWarning("blurred-picture", person, f"A target picture of {whose} is blurred.")]
    if turn_of(face) > MAX_TURN:
        message = f"The face in a target picture of {whose} is turned away from the camera."
        return [TargetWarning("turned-picture", person, message)]
    return []


def turn_of(face: "Detection") -> float:
    """Return how far a face is turned: the distance of its landmarks from a frontal face's, in pixels of SFace's crop.

    It is the root mean square over the landmarks after the similarity transform that aligns them.
    """
    # Imported here, so that merge loads no model's code.
    from defacer.engine.models.sface import SFACE_LANDMARKS, similarity

    matrix = similarity(face.landmarks, SFACE_LANDMARKS)
    aligned = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    return float(np.sqrt(np.square(aligned - SFACE_LANDMARKS).sum(axis=1).mean()))


def blur_of(image: "Image", box: "Array") -> float:
    """Return how blurred a face is, from 0 to 1: blurring it once more changes a sharp face, and hardly a blurred one.

    Crete et al., "The blur effect: perception and estimation with a new no-reference perceptual blur metric", 2007.
    It does not depend on light and contrast. Faces are compared at one size.
    """
    x1, y1, x2, y2 = (max(0, int(side)) for side in box)
    gray = cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_RGB2GRAY)
    how = cv2.INTER_AREA if gray.shape[0] > BLUR_SIDE else cv2.INTER_LINEAR
    face = cv2.resize(gray, (BLUR_SIDE, BLUR_SIDE), interpolation=how).astype(np.float32)
    found = []
    for axis, kernel in ((0, (1, BLUR_LENGTH)), (1, (BLUR_LENGTH, 1))):
        before = np.abs(np.diff(face, axis=axis))
        after = np.abs(np.diff(cv2.blur(face, kernel), axis=axis))
        lost = np.maximum(before - after, 0).sum()
        found.append(1 - float(lost / max(before.sum(), 1.0)))
    return max(found)


def only_face(image: "Image", label: str, detector_of: Callable[[str], "Detector"]) -> "Detection":
    """Return the one face. Raise PictureError, naming the picture, unless it shows one clear face."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_FACE_SIDE:
        raise PictureError(
            f"{label} has {width}x{height} pixels. Use a picture with a face of at least {MIN_FACE_SIDE} pixels."
        )
    faces = find_faces(image, detector_of)
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
    if max(sides) < MIN_FACE_SIDE:
        raise PictureError(
            f"{label} shows a face only {max(sides):.0f} pixels high. "
            f"Use a picture with a face of at least {MIN_FACE_SIDE} pixels."
        )
    return prominent[0]


def find_faces(image: "Image", detector_of: Callable[[str], "Detector"]) -> "list[Detection]":
    """Return the likely faces in a picture, in its pixels.

    MTCNN comes last, so that a picture that CenterFace reads has the same box with and without PyTorch.
    """
    height, width = image.shape[:2]
    if max(height, width) > MAX_ASPECT * min(height, width):
        return []
    scale = MAX_SIDE / max(height, width)
    faces = _search(image, scale, detector_of("centerface"))
    if not faces and torch_package.is_installed():
        faces = _search(image, scale, detector_of("mtcnn"))
    return faces


def _search(image: "Image", scale: float, detector: "Detector") -> "list[Detection]":
    """Return the likely faces in a copy of that scale, in pixels of the image."""
    scale = min(1.0, scale)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    faces = detector.detect([small])[0]
    return [face.scaled(1 / scale) for face in faces if face.score >= LIKELY_FACE]
