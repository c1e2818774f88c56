"""Check that all pictures of a person show the same person."""

from collections.abc import Sequence

import numpy as np

from defacer.engine.errors import PictureError
from defacer.engine.models.arrays import Array
from defacer.engine.recognition.gallery import Gallery

RECOGNIZER = "sface"
# Chosen on 235 public portraits of 105 people. None of 27,042 pairs of two people is nearer, and a stranger beside the
# pictures of another person was found in all of 6,656 cases. 450 of 453 pairs of one person are nearer, and all 159
# pictures are near another picture of their person. At 1.1, 14 of the strangers were not found.
MAX_DISTANCE = 1.05


def require_same_person(gallery: Gallery, labels: Sequence[str]) -> None:
    """Raise PictureError if the pictures of a person fall into groups that do not resemble each other.

    The message names a picture outside the largest group. `gallery` was made by RECOGNIZER, and `labels` are the names
    of its pictures. Faces after them are not compared.
    """
    for person in dict.fromkeys(gallery.people[: len(labels)]):
        numbers = [number for number, owner in enumerate(gallery.people[: len(labels)]) if owner == person]
        first, *others = _groups(gallery.embeddings[numbers], MAX_DISTANCE)
        if others:
            odd, known = (labels[numbers[group[0]]] for group in (others[-1], first))
            raise PictureError(
                f"{odd} does not look like the person in {known}. Remove the picture that does not show {person}. If "
                "both show this person, use pictures from the front and in good light."
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
