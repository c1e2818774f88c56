"""Face crops to embeddings: SFace by default, FaceNet as a setting."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from defacer.engine.errors import EngineError
from defacer.engine.models import weights
from defacer.engine.models.arrays import Array, Detection, Image
from defacer.engine.models.gpu import has_cuda
from defacer.engine.runtime import torch_package

BATCH = 16
SFACE_SIZE = 112  # pixels, the input of the network
# Where SFace's training put eyes, nose and mouth corners in a crop (the ArcFace template), in pixels.
SFACE_LANDMARKS = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
    np.float32,
)
SFACE_CLEAR_LENGTH = (
    10.0  # of an embedding before it is made a unit vector: the median of 4,000 faces of clips
)
FACENET_SIZE = 160
MARGIN = 0.2  # of a face's longer side, in all
CONTRAST_LIMIT = 1.5
CONTRAST_TILES = (4, 4)

# Name to the version that goes into galleries and reports: the weights, and the crop that they are given.
VERSIONS = {
    "sface": "sface/2021dec/1",
    "facenet-casia": "facenet-casia/20180408-102900/2",
    "facenet-vggface2": "facenet-vggface2/20180402-114759/2",
}
RECOGNIZERS = tuple(VERSIONS)


class Recognizer(Protocol):
    """Turns faces into unit vectors: the closer two are, the more alike the faces.

    `version` names the weights and the crop, such as "sface/2021dec/1".
    """

    version: str

    def crop(self, image: Image, face: Detection) -> Image:
        """Return the network's input, RGB uint8, for a face in pixels of `image`, RGB uint8 (H, W, 3)."""
        ...

    def embed(self, crops: Sequence[Image]) -> tuple[Array, Array]:
        """Return the embeddings (N, D) of crops, each of length 1, and the clarity of each face (N,), from 0 to 1."""
        ...


class SFace:
    """Zhong et al., "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition", 2021: D = 128."""

    version = VERSIONS["sface"]

    def __init__(self, weights_dir: Path | None = None):
        self._network = _sface_network(weights.sface(weights_dir))

    def crop(self, image: Image, face: Detection) -> Image:
        """Return the face (112, 112, 3), turned and scaled to move its landmarks onto SFACE_LANDMARKS."""
        matrix = similarity(face.landmarks, SFACE_LANDMARKS)
        scale = float(np.hypot(*matrix[0, :2]))
        if scale < 0.5:  # bilinear samples would skip pixels of a large face: halve the picture first
            x1, y1, x2, y2 = _around(face, image.shape)
            part = image[y1:y2, x1:x2]
            size = max(1, round(part.shape[1] * 2 * scale)), max(1, round(part.shape[0] * 2 * scale))
            shrink = np.array(size, np.float32) / (part.shape[1], part.shape[0])
            image = cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
            matrix = similarity(((face.landmarks - (x1, y1)) * shrink).astype(np.float32), SFACE_LANDMARKS)
        return cv2.warpAffine(image, matrix, (SFACE_SIZE, SFACE_SIZE)).astype(np.uint8, copy=False)

    def embed(self, crops: Sequence[Image]) -> tuple[Array, Array]:
        """See Recognizer. A blurred, dark or covered face has a short embedding before it is made a unit vector.

        Kim et al., "AdaFace: Quality Adaptive Margin for Face Recognition", 2022, uses the length in the same way.
        """
        unit, lengths = _embed(self._network, crops, 128)
        return unit, np.minimum(lengths / SFACE_CLEAR_LENGTH, 1.0)


class FaceNet:
    """facenet-pytorch's InceptionResnetV1 (Schroff et al., "FaceNet", 2015): D = 512."""

    def __init__(self, name: str, weights_dir: Path | None = None):
        self.version = VERSIONS[name]
        self._network = _facenet_network(name, weights_dir)

    def crop(self, image: Image, face: Detection) -> Image:
        """Return the face with MARGIN around it, stretched to (160, 160, 3), with even light; black outside the image.

        Box and margin stretched to a square are what the network was trained on. CLAHE (Zuiderveld, "Contrast limited
        adaptive histogram equalization", 1994) evens out the light, so that recognition works better in any light.
        """
        sides = face.box[2:] - face.box[:2]
        more = MARGIN * float(sides.max()) / 2
        x1, y1 = (round(float(side) - more) for side in face.box[:2])
        width, height = (max(1, round(float(side) + 2 * more)) for side in sides)
        crop = np.zeros((height, width, 3), np.uint8)
        inside = image[
            max(y1, 0) : min(y1 + height, image.shape[0]), max(x1, 0) : min(x1 + width, image.shape[1])
        ]
        if inside.size:
            row, column = max(-y1, 0), max(-x1, 0)
            crop[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
        how = cv2.INTER_AREA if max(width, height) > FACENET_SIZE else cv2.INTER_LINEAR
        resized = cv2.resize(crop, (FACENET_SIZE, FACENET_SIZE), interpolation=how)
        lab = cv2.cvtColor(resized, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(CONTRAST_LIMIT, CONTRAST_TILES).apply(lab[..., 0])
        return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.uint8)

    def embed(self, crops: Sequence[Image]) -> tuple[Array, Array]:
        """See Recognizer. The network returns unit vectors, so all faces count as clear."""
        return _embed(self._network, crops, 512)


def make_recognizer(name: str, weights_dir: Path | None = None) -> Recognizer:
    """Return the recogniser of that name. Raise EngineError for a name that is not in RECOGNIZERS."""
    if name not in VERSIONS:
        raise EngineError(f"the recogniser is {name!r}, allowed are {', '.join(RECOGNIZERS)}.")
    return SFace(weights_dir) if name == "sface" else FaceNet(name, weights_dir)


def similarity(points: Array, onto: Array) -> Array:
    """Return the matrix (2, 3) that turns, scales and shifts `points` (N, 2) onto others with least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    """
    middle, other_middle = points.mean(axis=0), onto.mean(axis=0)
    from_middle, from_other = points - middle, onto - other_middle
    left, values, right = np.linalg.svd(from_other.T @ from_middle / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    scale = float(values @ signs) / max(float(from_middle.var(axis=0).sum()), 1e-6)
    turn = scale * (left * signs) @ right
    return np.column_stack([turn, other_middle - turn @ middle]).astype(np.float32)


def _around(face: Detection, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the part of the image that a crop can show: the box and its own size around it."""
    x1, y1, x2, y2 = (float(side) for side in face.box)
    more_x, more_y = x2 - x1, y2 - y1
    height, width = shape[:2]
    left, top = max(0, int(x1 - more_x)), max(0, int(y1 - more_y))
    return left, top, max(left + 1, min(width, int(x2 + more_x))), max(top + 1, min(height, int(y2 + more_y)))


def _embed(network: Callable[[Image], Array], crops: Sequence[Image], dimensions: int) -> tuple[Array, Array]:
    results = [np.zeros((0, dimensions), np.float32)]
    for first in range(0, len(crops), BATCH):
        results.append(network(np.stack(crops[first : first + BATCH])))
    embeddings = np.concatenate(results)
    lengths = np.linalg.norm(embeddings, axis=1)
    unit: Array = embeddings / np.maximum(lengths[:, None], 1e-9)
    return unit, lengths


def _sface_network(path: Path) -> Callable[[Image], Array]:
    if has_cuda():
        from defacer.engine.models import torch_backend

        return torch_backend.SFaceNetwork(path, "cuda")
    from defacer.engine.models import openvino_backend

    return openvino_backend.SFaceNetwork(path, openvino_backend.precision())


def _facenet_network(name: str, weights_dir: Path | None) -> Callable[[Image], Array]:
    if name == "facenet-casia" and not has_cuda():
        from defacer.engine.models import openvino_backend

        graph = weights.casia_graph(weights_dir)
        return openvino_backend.FaceNetNetwork(graph, openvino_backend.precision())
    torch_package.require(f"Recognizer {name}", instead="sface")
    from defacer.engine.models import torch_backend

    return torch_backend.FaceNetNetwork(weights.facenet(name, weights_dir), "cuda" if has_cuda() else "cpu")
