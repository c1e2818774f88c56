"""Detect faces with two detectors at low thresholds, where a person says that a face is visible."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defacer.engine.models.arrays import Detection, Detector, Image, suppress_overlaps
from defacer.engine.models.centerface import CenterFace
from defacer.engine.models.large_faces import LargeFaceDetector
from defacer.engine.models.yunet import YuNet

CENTERFACE_THRESHOLD = 0.1  # the detection pass returns faces from 0.15 on
YUNET_THRESHOLD = 0.2  # the check of the result returns faces from 0.3 on
SAME_FACE = 0.45  # overlap (intersection over union) of one face in two searches


class SensitiveDetector:
    """CenterFace and YuNet. Scores are on CenterFace's scale. Several threads can share it."""

    name = "centerface and yunet"
    confident_score = CenterFace.confident_score

    def __init__(self, weights_dir: Path | None = None):
        self._detectors: list[Detector] = [
            LargeFaceDetector(CenterFace(weights_dir, CENTERFACE_THRESHOLD)),
            YuNet(weights_dir, YUNET_THRESHOLD),
        ]

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """Detect as Detector describes."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> list[Detection]:
        found = [
            Detection(face.box, face.score * self.confident_score / detector.confident_score, face.landmarks)
            for detector in self._detectors
            for face in detector.detect([image])[0]
        ]
        boxes = np.array([face.box for face in found], np.float32).reshape(-1, 4)
        scores = np.array([face.score for face in found], np.float32)
        return [found[index] for index in suppress_overlaps(boxes, scores, SAME_FACE)]
