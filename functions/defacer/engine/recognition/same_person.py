"""Check that the pictures of a folder show one person."""

from collections.abc import Sequence

import numpy as np

from defacer.engine.errors import PictureError
from defacer.engine.models.arrays import Array
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.recognition.identity import Limits
from defacer.engine.recognition.recognition_levels import calibration_of


def require_same_person(gallery: Gallery, labels: Sequence[str]) -> None:
    """Raise PictureError, which names the picture, if a picture is unlike all other pictures of its person.

    `labels` are the names of the gallery's pictures.
    """
    name = gallery.recognizer.partition("/")[0]
    limit = Limits.of(name, calibration_of(name).levels["balanced"].match).limit
    for person in dict.fromkeys(gallery.people):
        numbers = [number for number, owner in enumerate(gallery.people) if owner == person]
        groups = _groups(gallery.embeddings[numbers], limit)
        if len(groups) > 1:
            odd = labels[numbers[groups[-1][0]]]
            raise PictureError(
                f"{odd} does not look like the person in {labels[numbers[groups[0][0]]]}, but both are pictures of "
                f"{person}. Remove the picture that shows someone else, or use clearer pictures."
            )


def _groups(embeddings: Array, limit: float) -> list[list[int]]:
    """Return the indexes of pictures that are linked by distances within `limit`, the largest group first."""
    distances = np.linalg.norm(embeddings[:, None] - embeddings[None], axis=2)
    rest, groups = list(range(len(embeddings))), []
    while rest:
        group, waiting = [], [rest.pop(0)]
        while waiting:
            number = waiting.pop()
            group.append(number)
            near = [other for other in rest if distances[number, other] <= limit]
            rest = [other for other in rest if other not in near]
            waiting += near
        groups.append(sorted(group))
    return sorted(groups, key=len, reverse=True)
