"""The demo clip as a camera's JPEGs, which carry their frame number, and a check of who is visible in the output."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from defacer_emulator.demo.demo_clip import demo_cast, render_frames
from tests.demo_boxes import FaceBox, compute_boxes
from tests.soak.judging import VISIBLE_CORRELATION, correlate_detail

SIZE, FRAMES_PER_SECOND, SECONDS = (640, 360), 15, 12
COUNT = FRAMES_PER_SECOND * SECONDS
BITS, BIT = 10, 24  # bits of the frame number in the top rows, where no face is, and their width in pixels
BLACK = 24  # brightest sample of a black frame
Gray = NDArray[np.uint8]


class Clip:
    """The clip's frames as JPEGs. The astronaut is the target, and the admiral must be hidden."""

    def __init__(self) -> None:
        self.jpegs: list[bytes] = []
        self.grays: list[Gray] = []
        for number, picture in enumerate(render_frames(demo_cast(), COUNT, SIZE)):
            marked = picture.copy()
            for bit in range(BITS):
                marked[: BIT // 2, bit * BIT : (bit + 1) * BIT] = 255 * (number >> bit & 1)
            encoded, data = cv2.imencode(".jpg", marked[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
            assert encoded
            self.jpegs.append(data.tobytes())
            self.grays.append(decode_grey(self.jpegs[-1]))
        self.faces = compute_boxes(demo_cast(), COUNT, SIZE)

    def read_number(self, picture: Gray) -> int:
        bits = picture[: BIT // 2, : BITS * BIT].reshape(BIT // 2, BITS, BIT)[2:-2, :, 4:-4].mean(axis=(0, 2))
        return sum(int(value > 127) << bit for bit, value in enumerate(bits))

    def find_face(self, name: str, number: int) -> FaceBox | None:
        return next((f for f in self.faces if (f.frame, f.name) == (number, name) and f.visible), None)


@dataclass
class VisibilityCount:
    """Counts of the redacted frames: all, black ones, and how often each person was visible or hidden."""

    clip: Clip
    frames: int = 0
    black: int = 0
    leaked: list[int] = field(default_factory=list)
    hidden: int = 0
    kept: int = 0
    lost: int = 0

    def add(self, jpeg: bytes) -> None:
        picture = decode_grey(jpeg)
        self.frames += 1
        if picture.max() <= BLACK:
            self.black += 1
            return
        number = self.clip.read_number(picture)
        assert number < COUNT, "the frame number is not readable"
        for name in ("admiral", "astronaut"):
            face = self.clip.find_face(name, number)
            if face is None:
                continue
            is_visible = correlate_detail(self.clip.grays[number], picture, face) > VISIBLE_CORRELATION
            if name == "admiral" and is_visible:
                self.leaked.append(number)
            elif name == "admiral":
                self.hidden += 1
            elif is_visible:
                self.kept += 1
            else:
                self.lost += 1


def decode_grey(jpeg: bytes) -> Gray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def repeat_frames(clip: Clip) -> Iterator[bytes]:
    while True:
        yield from clip.jpegs
