"""Tests with two people who swap places without a detected cut: each frame of the stranger is hidden.

Both faces are in the same place on the same background, so only recognition can detect that the face changed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.reader import Segment
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.tracking.linking import link_faces
from tests.clips import Picture, admiral, astronaut
from tests.engine.scenes import is_seen

RATE = 30
SIZE = (640, 360)
FACE = (265, 110, 375, 250)  # where the faces are, x1, y1, x2, y2
TARGET, STRANGER = "target", "stranger"
Visible = Callable[[Sequence[str]], list[bool]]


@pytest.fixture(scope="module")
def heads(engine: Engine) -> dict[str, Picture]:
    """Return a picture of the size of FACE and its surroundings for each person, with the face in FACE."""
    found = {}
    for name, picture in ((TARGET, astronaut()), (STRANGER, admiral())):
        (face,) = engine.detector("centerface").detect([picture])[0][:1]
        x1, y1, x2, y2 = face.box
        onto = np.array([[30, 30], [140, 30], [30, 170]], np.float32)
        matrix = cv2.getAffineTransform(np.array([[x1, y1], [x2, y1], [x1, y2]], np.float32), onto)
        found[name] = cv2.warpAffine(picture, matrix, (170, 200), borderMode=cv2.BORDER_REPLICATE).astype(
            np.uint8
        )
    return found


def write_swaps(path: Path, people: Sequence[str], heads: dict[str, Picture]) -> None:
    random = np.random.default_rng(4)
    background = cv2.resize(random.integers(60, 180, (18, 32, 3), np.uint8), SIZE).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "16"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, person in enumerate(people):
            picture = background.copy()
            left, top = FACE[0] - 30 + number % 3, FACE[1] - 30
            picture[top : top + 200, left : left + 170] = _head(person, heads)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _head(person: str, heads: dict[str, Picture]) -> Picture:
    """Return a person's head. A number is the share of the stranger in a dissolve, in percent."""
    if person in heads:
        return heads[person]
    share = int(person) / 100
    return cv2.addWeighted(heads[TARGET], 1 - share, heads[STRANGER], share, 0).astype(np.uint8, copy=False)


def grey_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


@pytest.fixture
def visible(engine: Engine, gallery: Gallery, heads: dict[str, Picture], tmp_path: Path) -> Visible:
    """Return for each frame of a clip of these people whether its face can be seen in the result."""

    def redact(people: Sequence[str]) -> list[bool]:
        clip, out = tmp_path / "in.mp4", tmp_path / "out.nut"
        write_swaps(clip, people, heads)
        segment, options = Segment(str(clip)), Options()
        faces = link_faces([engine.detect_segment(segment, gallery, options)], gallery, options)
        assert not faces.cuts  # no cut is detected
        redact_segment(segment, faces, str(out), options)
        pairs = zip(grey_frames(clip), grey_frames(out), strict=True)
        return [is_seen(before, after, FACE) for before, after in pairs]

    return redact


def slow(value: int) -> object:
    """Return a value between others that run on every commit."""
    return pytest.param(value, marks=pytest.mark.slow)


def strangers_seen(people: Sequence[str], seen: Sequence[bool]) -> int:
    return sum(shown for person, shown in zip(people, seen, strict=True) if person == STRANGER)


def targets_seen(people: Sequence[str], seen: Sequence[bool]) -> int:
    return sum(shown for person, shown in zip(people, seen, strict=True) if person == TARGET)


def test_stranger_before_the_target_in_one_place_is_hidden(visible: Visible) -> None:
    people = [STRANGER] * 55 + [TARGET] * 35
    seen = visible(people)
    assert strangers_seen(people, seen) == 0
    assert targets_seen(people, seen) >= 20


@pytest.mark.parametrize("frames", [3, slow(4), slow(5), 6])
def test_stranger_in_the_last_frames_is_hidden(frames: int, visible: Visible) -> None:
    people = [TARGET] * 60 + [STRANGER] * frames
    seen = visible(people)
    assert strangers_seen(people, seen) == 0
    assert targets_seen(people, seen) >= 46


@pytest.mark.parametrize("frames", [1, slow(2), slow(3), slow(4), 8])
def test_stranger_in_the_first_frames_is_hidden(frames: int, visible: Visible) -> None:
    people = [STRANGER] * frames + [TARGET] * 60
    seen = visible(people)
    assert strangers_seen(people, seen) == 0
    assert targets_seen(people, seen) >= 46


@pytest.mark.parametrize("frames", [slow(7), slow(12), 20])
def test_stranger_between_two_appearances_of_the_target_is_hidden(frames: int, visible: Visible) -> None:
    people = [TARGET] * 40 + [STRANGER] * frames + [TARGET] * 40
    seen = visible(people)
    assert strangers_seen(people, seen) == 0
    assert targets_seen(people, seen) >= 60


@pytest.mark.parametrize("order", [slow(1), -1])
def test_stranger_that_the_target_dissolves_into_is_hidden(order: int, visible: Visible) -> None:
    dissolve = [str(percent) for percent in range(3, 100, 3)]
    people = ([TARGET] * 40 + dissolve + [STRANGER] * 40)[::order]
    seen = visible(people)
    assert strangers_seen(people, seen) == 0
    assert targets_seen(people, seen) >= 35
