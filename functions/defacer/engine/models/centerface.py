"""CenterFace, the default face detector (Xu et al., 2019)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from defacer.engine.models import weights
from defacer.engine.models.arrays import Array, Detection, Image, suppress_overlaps
from defacer.engine.runtime.gpu import has_cuda

CENTERFACE_STRIDE = 4  # pixels of the input for one cell of the heat map


CENTERFACE_MULTIPLE = 32  # the network halves its input five times


class CenterFace:
    """CenterFace (Xu et al., "CenterFace: joint face detection and alignment", 2019)."""

    name = "centerface"
    confident_score = 0.3

    def __init__(self, weights_dir: Path | None = None, threshold: float = 0.15):
        self._network = centerface_network(weights.centerface(weights_dir))
        self._threshold = threshold

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Detect as Detector describes. Images of the same size are one batch.

        Black pads the right and lower sides to multiples of 32.
        """
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault(image.shape[:2], []).append(index)
        found: dict[int, list[Detection]] = {}
        for (height, width), indices in by_size.items():
            batch = np.zeros((len(indices), _round_up(height), _round_up(width), 3), np.uint8)
            for padded, index in zip(batch, indices, strict=True):
                padded[:height, :width] = images[index]
            outputs = self._network(batch)
            for row, index in enumerate(indices):
                found[index] = centerface_faces([output[row] for output in outputs], self._threshold)
        return [found[index] for index in range(len(images))]


def centerface_network(path: Path) -> Callable[[Image], list[Array]]:
    """Load CenterFace's network on CUDA if this machine has it, or else on the CPU."""
    if has_cuda():
        from defacer.engine.models import torch_backend

        return torch_backend.CenterFaceNetwork(path, "cuda")
    from defacer.engine.models import openvino_backend

    return openvino_backend.CenterFaceNetwork(path, openvino_backend.fastest_precision())


def centerface_faces(outputs: Sequence[Array], threshold: float) -> list[Detection]:
    """Return the faces in CenterFace's outputs for one image, each (channels, H / 4, W / 4), best score first.

    A cell of the heat map (1 channel) is the centre of a face. Size (2) is the logarithm of its height and width in
    cells. Offset (2) is the position of the centre in the cell. Both have y first.
    """
    heat, size, offset, landmarks = outputs
    rows, columns = np.nonzero(heat[0] >= threshold)
    scores = heat[0, rows, columns]
    heights, widths = np.exp(size[:, rows, columns]) * CENTERFACE_STRIDE
    top = (rows + offset[0, rows, columns] + 0.5) * CENTERFACE_STRIDE - heights / 2
    left = (columns + offset[1, rows, columns] + 0.5) * CENTERFACE_STRIDE - widths / 2
    boxes = np.stack([left, top, left + widths, top + heights], axis=1).astype(np.float32)
    # Ten channels: y and x of each landmark, as shares of the box.
    points = landmarks[:, rows, columns].reshape(5, 2, -1)[:, ::-1].transpose(2, 0, 1)
    points = points * np.stack([widths, heights], axis=1)[:, None] + np.stack([left, top], axis=1)[:, None]
    return [
        Detection(boxes[i], float(scores[i]), points[i].astype(np.float32))
        for i in suppress_overlaps(boxes, scores)
    ]


def _round_up(pixels: int) -> int:
    return -(-pixels // CENTERFACE_MULTIPLE) * CENTERFACE_MULTIPLE
