"""Face crops to embeddings: facenet-pytorch's InceptionResnetV1 (Schroff et al., "FaceNet", 2015)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from functions.engine import pytorch, weights
from functions.engine.cuda import has_cuda
from functions.engine.detect import Array, Image

CROP_SIZE = 160  # pixels, the input of the network
BATCH = 16
MARGIN = 0.2  # of a face's longer side, in all
CONTRAST_LIMIT = 1.5
CONTRAST_TILES = (4, 4)

# Name to the version that goes into galleries and reports: the weights, and the crop that they are given.
RECOGNIZERS = {"casia-webface": "casia-webface/20180408-102900/2", "vggface2": "vggface2/20180402-114759/2"}


class FaceNet:
    """Turns face crops into unit vectors: the closer two are, the more alike the faces."""

    def __init__(self, name: str, weights_dir: Path | None = None):
        self.version = RECOGNIZERS[name]
        self._network = facenet_network(name, weights_dir)

    def embed(self, crops: Sequence[Image]) -> Array:
        """Embeddings (N, 512) of RGB uint8 crops (160, 160, 3), each of length 1."""
        results = [np.zeros((0, 512), np.float32)]
        for first in range(0, len(crops), BATCH):
            results.append(self._network(np.stack(crops[first : first + BATCH])))
        return np.concatenate(results)


def facenet_network(name: str, weights_dir: Path | None) -> Callable[[Image], Array]:
    """The recognizer's network on what this machine has: CUDA, or else the processor."""
    if name == "casia-webface" and not has_cuda():
        from functions.engine import openvino_networks

        graph = weights.casia_graph(weights_dir)
        return openvino_networks.FaceNetNetwork(graph, openvino_networks.precision())
    pytorch.require(f"Recognizer {name}", instead="casia-webface")
    from functions.engine import torch_networks

    return torch_networks.FaceNetNetwork(weights.facenet(name, weights_dir), "cuda" if has_cuda() else "cpu")


def crop_face(image: Image, box: Array) -> Image:
    """The face with MARGIN around it, stretched to (160, 160, 3), its light evened out; black outside the image.

    Box and margin stretched to a square are what the network was trained on. The evening out (CLAHE, Zuiderveld,
    "Contrast limited adaptive histogram equalization", 1994) makes it tell people apart better in any light.
    """
    sides = box[2:] - box[:2]
    more = MARGIN * float(sides.max()) / 2
    x1, y1 = (round(float(side) - more) for side in box[:2])
    width, height = (max(1, round(float(side) + 2 * more)) for side in sides)
    face = np.zeros((height, width, 3), np.uint8)
    inside = image[
        max(y1, 0) : min(y1 + height, image.shape[0]), max(x1, 0) : min(x1 + width, image.shape[1])
    ]
    if inside.size:
        row, column = max(-y1, 0), max(-x1, 0)
        face[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    how = cv2.INTER_AREA if max(width, height) > CROP_SIZE else cv2.INTER_LINEAR
    lab = cv2.cvtColor(cv2.resize(face, (CROP_SIZE, CROP_SIZE), interpolation=how), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(CONTRAST_LIMIT, CONTRAST_TILES).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.uint8)
