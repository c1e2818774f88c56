"""FaceNet, a recognizer that the setting `recognizer` can choose instead of the default SFace.

`recognizer.py` creates it. It turns face crops into embeddings of 512 numbers, with OpenVINO or PyTorch.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from defacer.engine.models import weights
from defacer.engine.models.arrays import Array, Detection, Image
from defacer.engine.models.embedding import embed_in_batches
from defacer.engine.runtime import torch_package
from defacer.engine.runtime.gpu import has_cuda

# From the name of the recognizer to the version of the weights and the crop.
VERSIONS = {
    "facenet-casia": "facenet-casia/20180408-102900/2",
    "facenet-vggface2": "facenet-vggface2/20180402-114759/2",
}
FACENET_SIZE = 160  # pixels, the input of the network
MARGIN = 0.2  # share of a face's longer side, on both sides together
CONTRAST_LIMIT = 1.5
CONTRAST_TILES = (4, 4)


class FaceNet:
    """facenet-pytorch's InceptionResnetV1 (Schroff et al., "FaceNet", 2015): D = 512."""

    def __init__(self, name: str, weights_dir: Path | None = None):
        self.version = VERSIONS[name]
        self._network = _load_network(name, weights_dir)

    def crop(self, image: Image, face: Detection) -> Image:
        """Return the face with MARGIN around it, stretched to (160, 160, 3), with even light.

        Pixels outside the image are black. The network was trained on faces that are stretched to a square. CLAHE
        (Zuiderveld, "Contrast limited adaptive histogram equalization", 1994) evens out the light, so that recognition
        works better in any light.
        """
        sides = face.box[2:] - face.box[:2]
        more = MARGIN * float(sides.max()) / 2
        x1, y1 = (round(float(side) - more) for side in face.box[:2])
        width, height = (max(1, round(float(side) + 2 * more)) for side in sides)
        crop = np.zeros((height, width, 3), np.uint8)
        inside = image[
            max(y1, 0) : min(y1 + height, image.shape[0]), max(x1, 0) : min(x1 + width, image.shape[1])
        ]
        if inside.size:
            row, column = max(-y1, 0), max(-x1, 0)
            crop[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
        how = cv2.INTER_AREA if max(width, height) > FACENET_SIZE else cv2.INTER_LINEAR
        resized = cv2.resize(crop, (FACENET_SIZE, FACENET_SIZE), interpolation=how)
        lab = cv2.cvtColor(resized, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(CONTRAST_LIMIT, CONTRAST_TILES).apply(lab[..., 0])
        return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.uint8)

    def embed(self, crops: Sequence[Image]) -> tuple[Array, Array]:
        """Embed as Recognizer describes. The network returns unit vectors, so all faces count as clear."""
        return embed_in_batches(self._network, crops, 512)


def _load_network(name: str, weights_dir: Path | None) -> Callable[[Image], Array]:
    if name == "facenet-casia" and not has_cuda():
        from defacer.engine.models import openvino_backend

        graph = weights.casia_graph(weights_dir)
        return openvino_backend.FaceNetNetwork(graph, openvino_backend.fastest_precision())
    torch_package.require(f"Recognizer {name}", instead="sface")
    from defacer.engine.models import torch_backend

    return torch_backend.FaceNetNetwork(weights.facenet(name, weights_dir), "cuda" if has_cuda() else "cpu")
