"""YuNet, the detector that checks results (Wu et al., "YuNet: a tiny millisecond-level face detector", 2023).

It is small and of another design than CenterFace, so it detects many faces that CenterFace misses.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from defacer.engine.models import weights
from defacer.engine.models.arrays import Array, Detection, Image, suppress_overlaps

STRIDES = (8, 16, 32)  # pixels of the input for one cell of each output
MULTIPLE = 32
OUTPUTS = ("cls", "obj", "bbox", "kps")
OUTPUT_NAMES = [f"{output}_{stride}" for stride in STRIDES for output in OUTPUTS]


class YuNet:
    """The detector YuNet. Several threads can share it."""

    name = "yunet"
    confident_score = 0.6

    def __init__(self, weights_dir: Path | None = None, threshold: float = 0.3):
        # Imported here, because importing OpenVINO takes time. YuNet runs on the CPU even on a machine with a GPU.
        from defacer.engine.models import openvino_backend

        self._network: Callable[[Image, Sequence[str]], list[Array]] = openvino_backend.YuNetNetwork(
            weights.yunet(weights_dir), openvino_backend.fastest_precision()
        )
        self._threshold = threshold

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Detect as Detector describes. Black pads the right and lower sides to multiples of 32."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> list[Detection]:
        height, width = (-(-side // MULTIPLE) * MULTIPLE for side in image.shape[:2])
        padded = np.zeros((height, width, 3), np.uint8)
        padded[: image.shape[0], : image.shape[1]] = image
        return yunet_faces(self._network(padded, OUTPUT_NAMES), width, self._threshold)


def yunet_faces(outputs: Sequence[Array], width: int, threshold: float) -> list[Detection]:
    """Return the faces in YuNet's outputs for one image of that width, best score first.

    `outputs` are those of OUTPUTS at each of STRIDES. Each has a row for every cell, in reading order: the probability
    of a face, the probability of an object, the box, and the five landmarks. The box is its centre relative to the
    cell and the logarithms of its sides. All values are in cells, x first, and landmarks count from the cell's corner.
    """
    boxes, scores, points = [], [], []
    for level, stride in enumerate(STRIDES):
        cls, obj, bbox, kps = outputs[level * len(OUTPUTS) : (level + 1) * len(OUTPUTS)]
        score = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        cells = np.flatnonzero(score >= threshold)
        corner = np.stack([cells % (width // stride), cells // (width // stride)], axis=1)
        center, half = corner + bbox[cells, :2], np.exp(bbox[cells, 2:]) / 2
        boxes.append(np.concatenate([center - half, center + half], axis=1) * stride)
        scores.append(score[cells])
        points.append((kps[cells].reshape(-1, 5, 2) + corner[:, None]) * stride)
    all_boxes, all_scores = np.concatenate(boxes).astype(np.float32), np.concatenate(scores)
    all_points = np.concatenate(points).astype(np.float32)
    return [
        Detection(all_boxes[i], float(all_scores[i]), all_points[i])
        for i in suppress_overlaps(all_boxes, all_scores)
    ]
