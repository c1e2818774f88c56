"""Face crops to embeddings: facenet-pytorch's InceptionResnetV1 (Schroff et al., "FaceNet", 2015)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from functions.engine import weights
from functions.engine.detect import Array, Image

CROP_SIZE = 160  # pixels, the input of the network
BATCH = 16

# Name to the version that goes into galleries and reports.
RECOGNIZERS = {"casia-webface": "casia-webface/20180408-102900", "vggface2": "vggface2/20180402-114759"}
# Largest Euclidean distance at which a face is a target's. casia-webface: the middle, on eight clips, between
# the target's farthest track (0.58) and the nearest stranger's (0.65).
# vggface2: what the 2019 project used with it; not measured here, its weights are not on a package registry.
KEEP_DISTANCE = {"casia-webface": 0.61, "vggface2": 0.8}


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
    import torch

    cuda = torch.cuda.is_available()
    if name == "casia-webface" and not cuda:
        from functions.engine import openvino_networks

        graph = weights.casia_graph(weights_dir)
        return openvino_networks.FaceNetNetwork(graph, openvino_networks.precision())
    from functions.engine import torch_networks

    return torch_networks.FaceNetNetwork(weights.facenet(name, weights_dir), "cuda" if cuda else "cpu")


def crop_face(image: Image, box: Array) -> Image:
    """The square around `box` (the longer side long), as (160, 160, 3); black outside the image."""
    side = float(max(box[2] - box[0], box[3] - box[1]))
    left, top = (box[:2] + box[2:]) / 2 - side / 2
    x1, y1, size = round(float(left)), round(float(top)), max(1, round(side))
    height, width = image.shape[:2]
    square = np.zeros((size, size, 3), np.uint8)
    inside = image[max(y1, 0) : min(y1 + size, height), max(x1, 0) : min(x1 + size, width)]
    if inside.size:
        row, column = max(-y1, 0), max(-x1, 0)
        square[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    how = cv2.INTER_AREA if size > CROP_SIZE else cv2.INTER_LINEAR
    return cv2.resize(square, (CROP_SIZE, CROP_SIZE), interpolation=how).astype(np.uint8)
