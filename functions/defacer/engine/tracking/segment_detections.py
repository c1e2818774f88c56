"""The detections of one segment: the output of the detection pass, and the input of linking.

They hold embeddings of all people in the picture. These are biometric data: they are deleted after linking, and nothing
prints them.
"""

import io
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Array


@dataclass(frozen=True)
class DetectedFace:
    """A detection for linking: the box `x1, y1, x2, y2` in displayed pixels, and the detector's score.

    The best views of each window have an `embedding` (D,). Their `quality` (0..1) is how clear the view is. For all
    other detections it is only an estimate (`detection_pass.prominence`).
    """

    box: "Array"
    score: float
    quality: float
    embedding: "Array | None" = field(default=None, repr=False)


@dataclass(frozen=True)
class FrameDetections:
    """A sampled frame with its detections. `starts_shot` marks the first frame after a cut."""

    pts: int
    starts_shot: bool
    faces: tuple[DetectedFace, ...]


@dataclass(frozen=True)
class SegmentDetections:
    """The sampled frames of one segment in the order of time, and the number of its `frames`.

    Detections with a score of at least `confident_score` need no confirmation. `recognizer` (name and version) is None
    for a job without targets, which embeds no faces.
    """

    detector: str
    confident_score: float
    recognizer: str | None
    width: int
    height: int
    time_base: Fraction
    frames: int
    samples: tuple[FrameDetections, ...]

    def to_bytes(self) -> bytes:
        """Return a NumPy archive without pickled parts, with embeddings as 16-bit floats."""
        faces = [face for sample in self.samples for face in sample.faces]
        embedded = [face.embedding for face in faces if face.embedding is not None]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            detector=np.array(self.detector),
            confident_score=np.array(self.confident_score),
            recognizer=np.array(self.recognizer or ""),
            numbers=np.array(
                [self.width, self.height, self.time_base.numerator, self.time_base.denominator, self.frames]
            ),
            pts=np.array([sample.pts for sample in self.samples], np.int64),
            starts_shot=np.array([sample.starts_shot for sample in self.samples], bool),
            counts=np.array([len(sample.faces) for sample in self.samples], np.int64),
            boxes=np.array([face.box for face in faces], np.float32).reshape(-1, 4),
            scores=np.array([face.score for face in faces]),
            qualities=np.array([face.quality for face in faces]),
            has_embedding=np.array([face.embedding is not None for face in faces], bool),
            embeddings=np.array(embedded, np.float16),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the detections in an archive of `to_bytes`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            parts = {name: archive[name] for name in archive.files}
        embeddings = iter(parts["embeddings"].astype(np.float32))
        faces = iter(
            DetectedFace(box, float(score), float(quality), next(embeddings).copy() if has else None)
            for box, score, quality, has in zip(
                parts["boxes"], parts["scores"], parts["qualities"], parts["has_embedding"], strict=True
            )
        )
        samples = tuple(
            FrameDetections(int(pts), bool(starts_shot), tuple(next(faces) for _ in range(count)))
            for pts, starts_shot, count in zip(
                parts["pts"], parts["starts_shot"], parts["counts"], strict=True
            )
        )
        width, height, numerator, denominator, frames = (int(number) for number in parts["numbers"])
        return cls(
            detector=str(parts["detector"]),
            confident_score=float(parts["confident_score"]),
            recognizer=str(parts["recognizer"]) or None,
            width=width,
            height=height,
            time_base=Fraction(numerator, denominator),
            frames=frames,
            samples=samples,
        )
