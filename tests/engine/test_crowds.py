"""Test faces that the lower edge or a neighbor covers, in generated crowds."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from defacer.engine.models.arrays import Detection, Detector, Image, compute_overlaps
from defacer.engine.models.centerface import CenterFace
from defacer.engine.models.crowds import larger_copy, merge_crowd_faces
from defacer.engine.models.detector import make_detector
from defacer.engine.models.large_faces import LargeFaceDetector
from defacer.report.compact_boxes import Box
from tests.engine.scenes import Shown, draw, faces_of, is_seen, redacted, track

SIZE = WIDTH, HEIGHT = 1280, 720
SAMPLED = 640, 360  # of the picture that the detector gets for a frame of that size
PEOPLE = ("astronaut", "admiral")
NARROW = 0.74  # a face's width as a share of its height


@pytest.fixture(scope="module")
def detector() -> Detector:
    return make_detector("centerface")


@pytest.fixture(scope="module")
def first_search() -> Detector:
    return LargeFaceDetector(CenterFace())


def person(number: int, left: float, top: float, height: float) -> Shown:
    return Shown(PEOPLE[number % 2], (left, top, left + NARROW * height, top + height))


def row(count: int, height: float, top: float, step: float = 150) -> list[Shown]:
    return [person(n, 60 + step * n, top, height) for n in range(count)]


def at_the_lower_edge(height: float, cut: float) -> list[Shown]:
    """Return a crowd. The frame's lower edge cuts this share off each face of the front row."""
    return [*row(4, height, top=200, step=280), *row(8, height, top=HEIGHT - (1 - cut) * height)]


def half_behind(right: float, down: float) -> list[Shown]:
    """Return six pairs of faces. The distance between the two of a pair is in shares of a face."""
    height, shown = 40.0, []
    for n in range(6):
        left, top = 100 + 190.0 * n, 200 if n % 3 else 350
        behind = person(n + 1, left + right * NARROW * height, top + down * height, height)
        shown += [behind, person(n, left, top, height)]
    return shown


def visible(detector: Detector, crowd: Sequence[Shown], patch: float) -> list[Box]:
    """Return the visible parts of the faces that can be seen after the detected faces were hidden."""
    picture = draw(crowd, *SIZE, patch)
    sampled = cv2.resize(picture, SAMPLED, interpolation=cv2.INTER_AREA).astype(np.uint8)
    confident = [face for face in detector.detect([sampled])[0] if face.score >= detector.confident_score]
    scale = WIDTH / SAMPLED[0]
    boxes: list[Box] = [tuple(float(side) for side in face.box * scale) for face in confident]  # type: ignore[misc]
    before, after = redacted(
        picture, faces_of([track(n, {0: box}) for n, box in enumerate(boxes)], (), *SIZE)
    )
    parts = [(x1, y1, x2, min(y2, HEIGHT)) for x1, y1, x2, y2 in (shown.box for shown in crowd)]
    return [part for part in parts if is_seen(before, after, part)]


@pytest.mark.parametrize(("height", "cut"), [(40, 0.3), (40, 0.4), (40, 0.5), (50, 0.5), (70, 0.6)])
def test_faces_cut_by_the_lower_edge_are_hidden(
    detector: Detector, first_search: Detector, height: float, cut: float
) -> None:
    crowd = at_the_lower_edge(height, cut)
    assert visible(first_search, crowd, patch=0.25)  # the second search is needed
    assert not visible(detector, crowd, patch=0.25)


@pytest.mark.parametrize(
    ("right", "down"), [(0.75, 0.0), (-0.75, 0.0), (0.6, -0.1), (-0.6, -0.1), (0.0, -0.75)]
)
def test_faces_half_behind_a_neighbor_are_hidden(
    detector: Detector, first_search: Detector, right: float, down: float
) -> None:
    crowd = half_behind(right, down)
    assert visible(first_search, crowd, patch=0.1)
    assert not visible(detector, crowd, patch=0.1)


def test_three_faces_are_searched_once(detector: Detector, first_search: Detector) -> None:
    picture = draw(row(3, 90, top=100), *SAMPLED)
    found, first = detector.detect([picture])[0], first_search.detect([picture])[0]
    assert len(found) == 3
    assert [(*face.box, face.score) for face in found] == [(*face.box, face.score) for face in first]


def test_faces_of_a_crowd_are_detected_once_each(detector: Detector) -> None:
    crowd = row(8, 50, top=100, step=75) + row(8, 50, top=240, step=75)
    found = [
        face for face in detector.detect([draw(crowd, *SAMPLED)])[0] if face.score >= detector.confident_score
    ]
    assert len(found) == len(crowd)
    boxes = np.array([face.box for face in found])
    assert all(compute_overlaps(np.array(shown.box, np.float32), boxes).max() > 0.5 for shown in crowd)
    first, second = found[0].landmarks[:2]
    assert first[0] < second[0]


@pytest.mark.parametrize(
    ("width", "height", "scale"),
    [(320, 180, 2), (640, 360, 2), (360, 640, 2), (960, 540, 4 / 3), (1280, 720, 1)],
)
def test_copy_is_at_most_1280_pixels_wide(width: int, height: int, scale: float) -> None:
    image: Image = np.zeros((height, width, 3), np.uint8)
    copy, copy_scale = larger_copy(image)
    assert copy_scale == pytest.approx(scale)
    assert copy.shape[0] % 32 == 0
    edge = round(height * scale)
    assert copy.shape[0] - edge >= 72
    assert copy.shape[1] == round(width * scale)
    assert not copy[:edge].any()
    assert (copy[edge:] == 128).all()


def face(x1: float, y1: float, x2: float, y2: float, score: float = 0.9) -> Detection:
    return Detection(np.array([x1, y1, x2, y2], np.float32), score, np.zeros((5, 2), np.float32))


WHOLE = face(100, 100, 160, 180, 0.8)


@pytest.mark.parametrize("same", [face(104, 102, 166, 180), face(110, 110, 140, 140), face(60, 60, 200, 220)])
def test_box_of_the_same_face_or_a_part_of_it_is_not_added(same: Detection) -> None:
    """A second box on a target's face would hide the target."""
    assert merge_crowd_faces([WHOLE], [same], 0.3) == [WHOLE]


@pytest.mark.parametrize(
    "other", [face(140, 100, 200, 180), face(100, 40, 160, 120), face(300, 100, 360, 180)]
)
def test_face_beside_another_one_is_added(other: Detection) -> None:
    assert merge_crowd_faces([WHOLE], [other], 0.3) == [other, WHOLE]


def test_confident_detection_replaces_a_faint_one() -> None:
    faint, fainter = face(100, 100, 160, 180, 0.2), face(100, 100, 160, 175, 0.16)
    assert merge_crowd_faces([faint], [WHOLE], 0.3) == [WHOLE]
    assert merge_crowd_faces([faint], [fainter], 0.3) == [faint]
    assert merge_crowd_faces([WHOLE], [faint], 0.3) == [WHOLE]
