"""The gallery: embeddings of the targets, computed from their pictures."""

import io
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from defacer.engine.errors import EngineError
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.recognition.picture_quality import picture_warnings
from defacer.engine.recognition.target_face import locate_face
from defacer.report.tracks import TargetWarning

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Array, Detection, Detector, Image
    from defacer.engine.models.embedding import Recognizer


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

    `warnings` are about pictures that are likely to be recognized badly. Embeddings are biometric data: no log line or
    test output prints them.
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
    name; `locate_face` chooses the names. `model_lock` is held while a model runs, and not while a picture is decoded.
    """
    crops, warnings = [], []
    for picture in pictures:
        image = decode_picture(picture.data, picture.label)
        with model_lock:
            found = locate_face(image, picture.label, detector_of)
        crops.append(recognizer.crop(found.image, found.face))
        several = sum(other.person == picture.person for other in pictures) > 1
        label = picture.label if several else None
        warnings += picture_warnings(found.image, found.face, picture.person, label)
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
