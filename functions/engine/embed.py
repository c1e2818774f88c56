"""Face crops to embeddings: facenet-pytorch's InceptionResnetV1 (Schroff et al., "FaceNet", 2015)."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from facenet_pytorch import InceptionResnetV1

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
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = InceptionResnetV1(pretrained=None)
        missing, unexpected = network.load_state_dict(weights.facenet(name, weights_dir), strict=False)
        if missing or any(not key.startswith("logits.") for key in unexpected):
            raise ValueError(f"the weights of {name} do not fit the network: {missing} {unexpected}")
        self._network = network.eval().to(self._device, memory_format=torch.channels_last)

    def embed(self, crops: Sequence[Image]) -> Array:
        """Embeddings (N, 512) of RGB uint8 crops (160, 160, 3), each of length 1."""
        results = [np.zeros((0, 512), np.float32)]
        for first in range(0, len(crops), BATCH):
            batch = torch.from_numpy(np.stack(crops[first : first + BATCH])).to(self._device)
            batch = (batch.permute(0, 3, 1, 2).float() - 127.5) / 128  # as the network was trained
            with torch.inference_mode():
                output = self._network(batch.contiguous(memory_format=torch.channels_last))
            results.append(output.float().cpu().numpy())
        return np.concatenate(results)


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
