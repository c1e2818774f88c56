"""MTCNN through facenet-pytorch: the detector of target pictures, and a setting for videos."""

from collections.abc import Sequence

import numpy as np

from defacer.engine.models import weights
from defacer.engine.models.arrays import Detection, Image
from defacer.engine.runtime import torch_package
from defacer.engine.runtime.gpu import has_cuda


class Mtcnn:
    """facenet-pytorch's MTCNN (Zhang et al., "Joint face detection and alignment using MTCNNs", 2016)."""

    name = "mtcnn"
    confident_score = 0.9

    def __init__(self, threshold: float = 0.8):
        torch_package.require("Detector mtcnn", instead="centerface")
        from facenet_pytorch import MTCNN

        weights.mtcnn_dir()
        device = "cuda" if has_cuda() else "cpu"
        self._network = MTCNN(
            min_face_size=14, thresholds=[0.6, 0.7, 0.7], keep_all=True, post_process=False, device=device
        ).eval()
        self._threshold = threshold

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Detect as Detector describes, one image at a time: facenet-pytorch's batches return ragged arrays."""
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
