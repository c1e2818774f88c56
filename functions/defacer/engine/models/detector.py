"""Frames to detections: two detectors behind one small interface.

CenterFace searches (it finds more and costs less on a CPU); MTCNN reads target pictures and is a choice by
setting. Boxes and landmarks are in pixels of the image that was given in.
"""

from pathlib import Path

from defacer.engine.errors import EngineError
from defacer.engine.models.arrays import Detector
from defacer.engine.models.centerface import CenterFace
from defacer.engine.models.crowds import CrowdSearch
from defacer.engine.models.large_faces import LargeFaceDetector
from defacer.engine.models.mtcnn import Mtcnn
from defacer.engine.models.yunet import YuNet


def make_detector(name: str, weights_dir: Path | None = None) -> Detector:
    """The detector of that name: "centerface" or "mtcnn". Raises EngineError for any other."""
    if name == "centerface":
        centerface = CenterFace(weights_dir)
        return CrowdSearch(LargeFaceDetector(centerface), centerface, YuNet(weights_dir))
    if name == "mtcnn":
        return Mtcnn()
    raise EngineError(f"there is no detector {name!r}: take centerface or mtcnn.")
