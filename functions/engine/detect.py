"""Frames to detections: two detectors behind one small interface.

CenterFace searches (it finds more and costs less on a CPU); MTCNN reads target pictures and is a choice by
setting. Boxes and landmarks are in pixels of the image that was given in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from functions.engine import pytorch, weights
from functions.engine.cuda import has_cuda
from functions.engine.errors import EngineError

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]

CENTERFACE_STRIDE = 4  # pixels of the input for one cell of the heat map
CENTERFACE_MULTIPLE = 32  # the network halves its input five times
OVERLAP_OF_ONE_FACE = 0.45


@dataclass(frozen=True)
class Detection:
    """A face: box `x1, y1, x2, y2`; landmarks (5, 2): eyes, nose, mouth corners, left first."""

    box: Array
    score: float
    landmarks: Array

    def scaled(self, scale: float) -> "Detection":
        """Return the face as it is in a copy of the image at that scale."""
        return Detection(
            (self.box * scale).astype(np.float32), self.score, (self.landmarks * scale).astype(np.float32)
        )


class Detector(Protocol):
    """Finds faces in RGB uint8 images (H, W, 3). `sure`: from this score on a face stands by itself.

    Fainter ones are given too: they only confirm a face that was sure in a neighbouring frame.
    """

    name: str
    sure: float

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """The faces of each image, best score first."""
        ...


class CenterFace:
    """CenterFace (Xu et al., "CenterFace: joint face detection and alignment", 2019)."""

    name = "centerface"
    sure = 0.3

    def __init__(self, weights_dir: Path | None = None, threshold: float = 0.15):
        self._network = centerface_network(weights.centerface(weights_dir))
        self._threshold = threshold

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """See Detector. Sides that are no multiple of 32 are padded with black on the right and below.

        Images of one size are one batch.
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
    """CenterFace's network on what this machine has: CUDA, or else the processor."""
    if has_cuda():
        from functions.engine import torch_networks

        return torch_networks.CenterFaceNetwork(path, "cuda")
    from functions.engine import openvino_networks

    return openvino_networks.CenterFaceNetwork(path, openvino_networks.precision())


def centerface_faces(outputs: Sequence[Array], threshold: float) -> list[Detection]:
    """The faces in CenterFace's outputs for one image, each (channels, H / 4, W / 4); best score first.

    A cell of the heat map (1 channel) is a face's centre; size (2) is the logarithm of its height and width in
    cells, offset (2) where the centre lies in the cell, both y first.
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


class Mtcnn:
    """facenet-pytorch's MTCNN (Zhang et al., "Joint face detection and alignment using MTCNNs", 2016)."""

    name = "mtcnn"
    sure = 0.9

    def __init__(self, threshold: float = 0.8):
        pytorch.require("Detector mtcnn", instead="centerface")
        from facenet_pytorch import MTCNN

        weights.mtcnn_dir()
        device = "cuda" if has_cuda() else "cpu"
        self._network = MTCNN(
            min_face_size=14, thresholds=[0.6, 0.7, 0.7], keep_all=True, post_process=False, device=device
        ).eval()
        self._threshold = threshold

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """See Detector. One image at a time: facenet-pytorch's batches hold ragged arrays."""
        found: list[list[Detection]] = []
        for image in images:
            boxes, scores, points = self._network.detect(image, landmarks=True)
            if boxes is None:
                found.append([])
                continue
            faces = [
                Detection(box.astype(np.float32), float(score), landmarks.astype(np.float32))
                for box, score, landmarks in zip(boxes, scores, points, strict=True)
                if score >= self._threshold
            ]
            found.append(sorted(faces, key=lambda face: -face.score))
        return found


def make_detector(name: str, weights_dir: Path | None = None) -> Detector:
    """The detector of that name: "centerface" or "mtcnn". Raises EngineError for any other."""
    if name == "centerface":
        from functions.engine.close_look import CloseLook
        from functions.engine.crowds import CrowdSearch
        from functions.engine.yunet import YuNet

        centerface = CenterFace(weights_dir)
        return CrowdSearch(CloseLook(centerface), centerface, YuNet(weights_dir))
    if name == "mtcnn":
        return Mtcnn()
    raise EngineError(f"there is no detector {name!r}: take centerface or mtcnn.")


def overlap(one: Array, others: Array) -> Array:
    """Intersection over union of box `one` (4,) with each of `others` (N, 4)."""
    left_top = np.maximum(one[:2], others[:, :2])
    right_bottom = np.minimum(one[2:], others[:, 2:])
    shared = np.prod(np.clip(right_bottom - left_top, 0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(one[2:] - one[:2]) - shared
    shares: Array = (shared / np.maximum(areas, 1e-6)).astype(np.float32)
    return shares


def suppress_overlaps(boxes: Array, scores: Array, limit: float = OVERLAP_OF_ONE_FACE) -> list[int]:
    """Indices of the boxes to keep, best first: greedy non-maximum suppression."""
    order = list(np.argsort(-scores, kind="stable"))
    keep: list[int] = []
    while order:
        best = int(order.pop(0))
        keep.append(best)
        if order:
            shares = overlap(boxes[best], boxes[order])
            order = [index for index, share in zip(order, shares, strict=True) if share < limit]
    return keep


def _round_up(pixels: int) -> int:
    return -(-pixels // CENTERFACE_MULTIPLE) * CENTERFACE_MULTIPLE
