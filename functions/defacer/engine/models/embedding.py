"""The interface of a recognizer, and embedding of face crops in batches."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from defacer.engine.models.arrays import Array, Detection, Image

BATCH = 16


class Recognizer(Protocol):
    """Turn faces into unit vectors. The faces of one person have near vectors.

    `version` names the weights and the crop, such as "sface/2021dec/1".
    """

    version: str

    def crop(self, image: Image, face: Detection) -> Image:
        """Return the network's input, RGB uint8, for a face in pixels of `image`, RGB uint8 (H, W, 3)."""
        ...

    def embed(self, crops: Sequence[Image]) -> tuple[Array, Array]:
        """Return the embeddings (N, D) of crops, each of length 1, and the clarity of each face (N,), from 0 to 1."""
        ...


def embed_in_batches(
    network: Callable[[Image], Array], crops: Sequence[Image], dimensions: int
) -> tuple[Array, Array]:
    """Return the unit vectors (N, D) of crops, and the lengths (N,) that the vectors had before."""
    results = [np.zeros((0, dimensions), np.float32)]
    for first in range(0, len(crops), BATCH):
        results.append(network(np.stack(crops[first : first + BATCH])))
    embeddings = np.concatenate(results)
    lengths = np.linalg.norm(embeddings, axis=1)
    unit: Array = embeddings / np.maximum(lengths[:, None], 1e-9)
    return unit, lengths
