"""The demo's clip as a camera sends it: JPEGs that carry their number, and who can be seen in what comes back."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from defacer_emulator.demo.demo_clip import FaceBox, compute_boxes, demo_cast, render
from tests.soak.judging import VISIBLE_CORRELATION, correlate_detail

SIZE, FRAMES_PER_SECOND, SECONDS = (640, 360), 15, 12
COUNT = FRAMES_PER_SECOND * SECONDS
BITS, BIT = 10, 24  # of the number, in the topmost rows, where no face comes; pixels
BLACK = 24  # no sample is brighter
Grey = NDArray[np.uint8]


class Clip:
    """`jpegs` are the frames, each with its number; the admiral is to be hidden, the astronaut is the target."""

    def __init__(self) -> None:
        self.jpegs: list[bytes] = []
        self.greys: list[Grey] = []
        for number, picture in enumerate(render(demo_cast(), COUNT, SIZE)):
            marked = picture.copy()
            for bit in range(BITS):
                marked[: BIT // 2, bit * BIT : (bit + 1) * BIT] = 255 * (number >> bit & 1)
            done, data = cv2.imencode(".jpg", marked[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
            assert done
            self.jpegs.append(data.tobytes())
            self.greys.append(grey(self.jpegs[-1]))
        self.faces = compute_boxes(demo_cast(), COUNT, SIZE)

    def number(self, picture: Grey) -> int:
        bits = picture[: BIT // 2, : BITS * BIT].reshape(BIT // 2, BITS, BIT)[2:-2, :, 4:-4].mean(axis=(0, 2))
        return sum(int(value > 127) << bit for bit, value in enumerate(bits))

    def visible(self, name: str, number: int) -> FaceBox | None:
        return next((f for f in self.faces if (f.frame, f.name) == (number, name) and f.visible), None)


@dataclass
class Seen:
    """What was seen in frames that came back: how many, black ones, and how often who is to be hidden or kept."""

    clip: Clip
    frames: int = 0
    black: int = 0
    leaked: list[int] = field(default_factory=list)
    hidden: int = 0
    kept: int = 0
    lost: int = 0

    def look(self, jpeg: bytes) -> None:
        picture = grey(jpeg)
        self.frames += 1
        if picture.max() <= BLACK:
            self.black += 1
            return
        number = self.clip.number(picture)
        assert number < COUNT, "a frame whose number can't be read"
        for name in ("admiral", "astronaut"):
            face = self.clip.visible(name, number)
            if face is None:
                continue
            can_be_seen = correlate_detail(self.clip.greys[number], picture, face) > VISIBLE_CORRELATION
            if name == "admiral" and can_be_seen:
                self.leaked.append(number)
            elif name == "admiral":
                self.hidden += 1
            elif can_be_seen:
                self.kept += 1
            else:
                self.lost += 1


def grey(jpeg: bytes) -> Grey:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def endlessly(clip: Clip) -> Iterator[bytes]:
    while True:
        yield from clip.jpegs
