"""SFace, the default recognizer, and the alignment of a face by its landmarks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from defacer.engine.models import weights
from defacer.engine.models.arrays import Array, Detection, Image
from defacer.engine.models.embedding import embed_in_batches
from defacer.engine.runtime.gpu import has_cuda

VERSION = "sface/2021dec/1"  # the weights, and the crop
SFACE_SIZE = 112  # pixels, the input of the network
# Positions of eyes, nose and mouth corners in the crops of SFace's training (the ArcFace template), in pixels.
SFACE_LANDMARKS = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)],
    np.float32,
)
# Length of an embedding before it is made a unit vector: the median of 4,000 faces of clips.
SFACE_CLEAR_LENGTH = 10.0


class SFace:
    """SFace with D = 128 (Zhong et al., "SFace: Sigmoid-Constrained Hypersphere Loss", 2021)."""

    version = VERSION

    def __init__(self, weights_dir: Path | None = None):
        self._network = _load_network(weights.sface(weights_dir))

    def crop(self, image: Image, face: Detection) -> Image:
        """Return the face (112, 112, 3), turned and scaled to move its landmarks onto SFACE_LANDMARKS."""
        matrix = similarity(face.landmarks, SFACE_LANDMARKS)
        scale = float(np.hypot(*matrix[0, :2]))
        if scale < 0.5:  # bilinear sampling skips pixels of a large face, so the picture is shrunk first
            x1, y1, x2, y2 = _crop_region(face, image.shape)
            part = image[y1:y2, x1:x2]
            size = max(1, round(part.shape[1] * 2 * scale)), max(1, round(part.shape[0] * 2 * scale))
            shrink = np.array(size, np.float32) / (part.shape[1], part.shape[0])
            image = cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
            matrix = similarity(((face.landmarks - (x1, y1)) * shrink).astype(np.float32), SFACE_LANDMARKS)
        return cv2.warpAffine(image, matrix, (SFACE_SIZE, SFACE_SIZE)).astype(np.uint8, copy=False)

    def embed(self, crops: Sequence[Image]) -> tuple[Array, Array]:
        """Embed as Recognizer describes. The clarity comes from the length of an embedding before it is a unit vector.

        A blurred, dark or covered face has a short embedding. Kim et al., "AdaFace: Quality Adaptive Margin for Face
        Recognition", 2022, use the length in the same way.
        """
        unit, lengths = embed_in_batches(self._network, crops, 128)
        return unit, np.minimum(lengths / SFACE_CLEAR_LENGTH, 1.0)


def similarity(points: Array, onto: Array) -> Array:
    """Return the matrix (2, 3) that rotates, scales and shifts `points` (N, 2) onto others by least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    """
    middle, other_middle = points.mean(axis=0), onto.mean(axis=0)
    from_middle, from_other = points - middle, onto - other_middle
    left, values, right = np.linalg.svd(from_other.T @ from_middle / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    scale = float(values @ signs) / max(float(from_middle.var(axis=0).sum()), 1e-6)
    turn = scale * (left * signs) @ right
    return np.column_stack([turn, other_middle - turn @ middle]).astype(np.float32)


def _crop_region(face: Detection, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the part of the image that a crop can show: three times the box in each direction."""
    x1, y1, x2, y2 = (float(side) for side in face.box)
    more_x, more_y = x2 - x1, y2 - y1
    height, width = shape[:2]
    left, top = max(0, int(x1 - more_x)), max(0, int(y1 - more_y))
    return left, top, max(left + 1, min(width, int(x2 + more_x))), max(top + 1, min(height, int(y2 + more_y)))


def _load_network(path: Path) -> Callable[[Image], Array]:
    if has_cuda():
        from defacer.engine.models import torch_backend

        return torch_backend.SFaceNetwork(path, "cuda")
    from defacer.engine.models import openvino_backend

    return openvino_backend.SFaceNetwork(path, openvino_backend.fastest_precision())
