"""Tests with faces that are easy to miss. Each is a clip with known faces, judged by the pixels of the result.

A face counts as visible as in the evaluation's score.py: its structure survived (SSIM of the box at 48x48 >= 0.70).
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.reader import Segment
from defacer.engine.models.arrays import Array, Image
from defacer.engine.options import Options, VerifyLevel
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer.engine.render_file import render_video
from defacer.engine.tracking.linking import link_faces
from tests.clips import admiral, astronaut, encode_picture
from tests.engine.scenes import is_seen

RATE = 30
# Each picture, and the box of its face from chin to hairline, measured by hand.
FACES = {"astronaut": (astronaut, (102, 68, 190, 187)), "admiral": (admiral, (172, 105, 356, 318))}
# The first frame and the number of frames, between two samples. Every sixth frame is sampled.
MOMENTS = [(7, 1), (32, 2), (55, 3), (79, 4), (103, 5)]


@dataclass(frozen=True)
class Shown:
    """A face in a frame: the person, and the height and centre of the face in pixels."""

    name: str
    height: float
    x: float
    y: float

    @property
    def box(self) -> Array:
        x1, y1, x2, y2 = FACES[self.name][1]
        width = self.height * (x2 - x1) / (y2 - y1)
        sides = [self.x - width / 2, self.y - self.height / 2, self.x + width / 2, self.y + self.height / 2]
        return np.array(sides, np.float32)

    def drawn(self, frame: Image) -> Image:
        """Return the frame with the head: the picture around the face, with a soft edge."""
        picture, box = FACES[self.name][0](), np.array(FACES[self.name][1], np.float32)
        scale = self.height / (box[3] - box[1])
        moved = np.array([self.x, self.y]) - scale * (box[:2] + box[2:]) / 2
        matrix = np.array([[scale, 0, moved[0]], [0, scale, moved[1]]], np.float32)
        size = frame.shape[1::-1]
        how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        head = cv2.warpAffine(picture, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros(frame.shape[:2], np.float32)
        width = self.box[2] - self.box[0]
        axes = max(1, round(0.7 * width)), max(1, round(0.7 * self.height))
        cv2.ellipse(mask, (round(self.x), round(self.y)), axes, 0, 0, 360, 1.0, -1)
        soft = cv2.blur(mask, (max(1, round(width / 10)),) * 2)[..., None]
        return (soft * head + (1 - soft) * frame).astype(np.uint8)


Scene = Callable[[int], list[Shown]]


def write_scene(path: Path, scene: Scene, frames: int, size: tuple[int, int] = (640, 360)) -> Path:
    """Write the scene as H.264, in front of a textured wall."""
    random = np.random.default_rng(7)
    wall = cv2.resize(
        random.integers(60, 150, (18, 32, 3)).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20"}
        for number in range(frames):
            picture = wall.astype(np.uint8)
            for shown in scene(number):
                picture = shown.drawn(picture)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def grays(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


def visible(source: Path, result: Path, scene: Scene, who: str | None = None) -> list[int]:
    """Return the frames of the result that still show a face, or this person's face."""
    found = []
    for number, (one, other) in enumerate(zip(grays(source), grays(result), strict=True)):
        for shown in scene(number):
            x1, y1, x2, y2 = (float(side) for side in shown.box)
            if who in (None, shown.name) and is_seen(one, other, (x1, y1, x2, y2)):
                found.append(number)
    return found


def redacted(
    engine: Engine, source: Path, gallery: Gallery | None = None, verify: VerifyLevel = "standard"
) -> Path:
    options, result = Options(verify=verify), source.with_name("out.mp4")
    faces = link_faces([engine.detect_segment(Segment(str(source)), gallery, options)], gallery, options)
    render_video(str(source), faces, options, None, result)
    return result


SLOW = pytest.mark.slow


def is_moment(number: int) -> bool:
    return any(first <= number < first + frames for first, frames in MOMENTS)


@pytest.mark.parametrize("height", [48, pytest.param(72, marks=SLOW), pytest.param(144, marks=SLOW)])
def test_face_shown_briefly_between_samples_is_hidden(engine: Engine, height: int, tmp_path: Path) -> None:
    def scene(number: int) -> list[Shown]:
        return [Shown("admiral", height, 420, 170)] if is_moment(number) else []

    source = write_scene(tmp_path / "in.mp4", scene, 120)
    assert visible(source, redacted(engine, source), scene) == []


@pytest.mark.parametrize("height", [30, pytest.param(26, marks=SLOW)])
def test_small_face_that_comes_and_goes_beside_a_large_one_is_hidden(
    engine: Engine, height: int, tmp_path: Path
) -> None:
    """It is in none of the frames at the ends of windows, which are those of every 0.6 s."""

    def scene(number: int) -> list[Shown]:
        small = [Shown("admiral", height, 450, 150)] if 2 <= number % 18 <= 16 else []
        return [Shown("astronaut", 140, 150, 190), *small]

    source = write_scene(tmp_path / "in.mp4", scene, 36)
    assert visible(source, redacted(engine, source, verify="off"), scene) == []


@pytest.mark.parametrize("height", [72, pytest.param(144, marks=SLOW)])
def test_stranger_shown_briefly_in_a_targets_place_is_hidden(
    engine: Engine, height: int, tmp_path: Path
) -> None:
    def scene(number: int) -> list[Shown]:
        return [Shown("admiral" if is_moment(number) else "astronaut", height, 320, 180)]

    source = write_scene(tmp_path / "in.mp4", scene, 120)
    gallery = engine.gallery(
        [Picture("astronaut", "a.png", encode_picture(astronaut()))], Options().recognizer
    )
    result = redacted(engine, source, gallery)
    assert visible(source, result, scene, "admiral") == []
    assert visible(source, result, scene, "astronaut") != []


@pytest.mark.parametrize(
    ("name", "height"),
    [
        ("astronaut", 850),
        pytest.param("astronaut", 1000, marks=SLOW),
        pytest.param("admiral", 1300, marks=SLOW),
        ("admiral", 1600),
    ],
)
def test_face_that_fills_the_frame_is_hidden(engine: Engine, name: str, height: int, tmp_path: Path) -> None:
    def scene(number: int) -> list[Shown]:
        return [Shown(name, height, 640 + number, 360)]

    source = write_scene(tmp_path / "in.mp4", scene, 12, (1280, 720))
    assert visible(source, redacted(engine, source), scene) == []


@pytest.mark.parametrize("name", FACES)
def test_face_that_grows_until_it_fills_the_frame_stays_hidden(
    engine: Engine, name: str, tmp_path: Path
) -> None:
    def scene(number: int) -> list[Shown]:
        return [Shown(name, 50 * 1.05**number, 320, 180)]

    source = write_scene(tmp_path / "in.mp4", scene, 60)
    assert visible(source, redacted(engine, source), scene) == []
