"""Compare the looks of faces, where it is doubtful which one continues a chain.

The embeddings stay in memory until the search of a drawn box ends. They identify no one: a face is compared only with
the face in the same drawn box.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Literal

import numpy as np

from defacer.engine.corrections.span_search import SampledFrame
from defacer.engine.models.arrays import Array, Detection, Image
from defacer.engine.models.embedding import Recognizer
from defacer.engine.tracking.identity import CLEAR

SAME_FACE = 0.9  # distance of two views of one person, at most
OTHER_FACE = 1.1  # distance of two views of different people, at least
MAX_VIEWS = 5  # of the followed face: the latest ones

Likeness = Literal["same", "other", "unknown"]


class FaceLooks:
    """Embeddings of faces in the samples of close searches, computed when they are needed.

    Several threads can call `crop`, and one thread `compare`.
    """

    def __init__(self, load_recognizer: Callable[[], Recognizer]):
        self._load_recognizer = load_recognizer
        self._lock = Lock()
        self._views: dict[tuple[int, bytes], Array | None] = {}

    def crop(self, image: Image, face: Detection) -> Image:
        """Return the picture of a face to compare."""
        return self._load().crop(image, face)

    def compare(
        self, face: Detection, sample: SampledFrame, links: Sequence[tuple[SampledFrame, Detection]]
    ) -> Likeness:
        """Return whether a face of a sample looks like the latest clear views of the followed face."""
        view = self._view(face, sample)
        if view is None:
            return "unknown"
        known: list[Array] = []
        for earlier, followed in reversed(links):
            other = self._view(followed, earlier) if earlier.is_close else None
            if other is not None:
                known.append(other)
            if len(known) == MAX_VIEWS:
                break
        if not known:
            return "unknown"
        distance = float(np.linalg.norm(np.stack(known) - view, axis=1).min())
        return "same" if distance <= SAME_FACE else "other" if distance >= OTHER_FACE else "unknown"

    def _load(self) -> Recognizer:
        with self._lock:
            return self._load_recognizer()

    def _view(self, face: Detection, sample: SampledFrame) -> Array | None:
        """Return the embedding of a face, or None if it is not clear."""
        key = sample.pts, face.box.tobytes()
        if key not in self._views:
            number = next((n for n, other in enumerate(sample.detections) if other is face), None)
            crop = sample.crops[number] if number is not None and sample.crops else None
            self._views[key] = None
            if crop is not None:
                embeddings, clarity = self._load().embed([crop])
                self._views[key] = embeddings[0] if clarity[0] >= CLEAR else None
        return self._views[key]
