"""Create the detector that a setting names.

CenterFace is the default, because it detects more faces and is faster on a CPU. MTCNN also reads target pictures.
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
    """Return the detector "centerface" or "mtcnn". Raises EngineError for any other name."""
    if name == "centerface":
        centerface = CenterFace(weights_dir)
        return CrowdSearch(LargeFaceDetector(centerface), centerface, YuNet(weights_dir))
    if name == "mtcnn":
        return Mtcnn()
    raise EngineError(f"the detector is {name!r}, allowed are centerface or mtcnn. Change the setting.")


def first_search(detector: Detector) -> Detector:
    """Return the detector without its searches for crowds and large faces, to search small copies quickly."""
    return detector.edge if isinstance(detector, CrowdSearch) else detector
