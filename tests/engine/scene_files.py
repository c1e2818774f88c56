"""Write small videos with portraits at stated frames and places, and draw pictures that resemble a face."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from defacer.report.compact_boxes import CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Decision, Reason, TrackRecord
from tests.clips import Picture

SIZE, RATE, SECONDS = (640, 360), 25, 2.0
FACE = (0.3, 0.22, 0.64, 0.66)  # where the face is in `astronaut()`, as shares of its sides


@dataclass(frozen=True)
class Shown:
    """A square picture, shown from frame `first` to `last` (both included) with its top left corner at `place`."""

    picture: Picture
    place: tuple[int, int]
    side: int
    first: int = 0
    last: int = 10_000

    @property
    def face(self) -> tuple[float, float, float, float]:
        """Return the box of the face, if the picture is `astronaut()`."""
        (x, y), side = self.place, self.side
        return (x + FACE[0] * side, y + FACE[1] * side, x + FACE[2] * side, y + FACE[3] * side)


def write_scene(path: Path, shown: Sequence[Shown], seconds: float = SECONDS, keyframes: int = 10) -> Path:
    """Write a scene as H.264 on a background without any face; a key frame comes every `keyframes` frames."""
    width, height = SIZE
    background = np.zeros((height, width, 3), np.uint8)
    background[..., 0] = np.linspace(60, 140, width, dtype=np.uint8)
    background[..., 1] = np.linspace(80, 130, height, dtype=np.uint8)[:, None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = keyframes
        stream.options = {"preset": "ultrafast", "x264-params": "scenecut=0"}
        stream.time_base = Fraction(1, RATE)
        for number in range(round(seconds * RATE)):
            image = background.copy()
            for item in shown:
                if item.first <= number <= item.last:
                    x, y = item.place
                    small = cv2.resize(item.picture, (item.side, item.side), interpolation=cv2.INTER_AREA)
                    image[y : y + item.side, x : x + item.side] = small
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def faces_in(path: Path, *tracks: TrackRecord) -> Faces:
    """Return the faces of a scene."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base, frames = stream.time_base, stream.frames
    assert base is not None
    return Faces(
        detector="centerface",
        recognizer=None,
        match_threshold=1.0,
        width=SIZE[0],
        height=SIZE[1],
        time_base=f"{base.numerator}/{base.denominator}",
        frames=frames,
        sampled_frames=frames,
        cuts=(),
        tracks=tracks,
    )


def track_of(path: Path, shown: Shown, number: int, decision: Decision, first: int, last: int) -> TrackRecord:
    """Return the track of a shown `astronaut()`, sampled at every fifth frame from `first` to `last`."""
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
    assert base is not None
    unit = round(Fraction(1, RATE) / base)
    numbers = sorted({*range(first, last, 5), last})
    detections = CompactBoxes((n * unit, shown.face) for n in numbers)
    person = "ann" if decision == "keep" else None
    return TrackRecord(
        number, first * unit, last * unit, decision, person, Reason.NO_MATCH, None, None, None, detections
    )


def coat_of_arms(side: int = 300) -> Picture:
    """Draw a shield with two roundels, a pale and a chevron, which resemble eyes, a nose and a mouth."""
    image = np.full((side, side, 3), (90, 110, 100), np.uint8)
    shield = np.array([(0.15, 0.08), (0.85, 0.08), (0.85, 0.55), (0.5, 0.95), (0.15, 0.55)]) * side
    cv2.fillPoly(image, [shield.astype(np.int32)], (200, 170, 60))
    for x in (0.35, 0.65):
        cv2.circle(image, (round(x * side), round(0.32 * side)), side // 12, (40, 40, 120), -1)
    cv2.rectangle(
        image,
        (round(0.47 * side), round(0.36 * side)),
        (round(0.53 * side), round(0.55 * side)),
        (150, 30, 30),
        -1,
    )
    chevron = np.array([(0.3, 0.72), (0.5, 0.64), (0.7, 0.72), (0.5, 0.78)]) * side
    cv2.fillPoly(image, [chevron.astype(np.int32)], (150, 30, 30))
    return image


def poster(side: int = 300) -> Picture:
    """Draw a poster with a title, a sun over hills and small print."""
    image = np.full((side, side, 3), (235, 225, 200), np.uint8)
    cv2.circle(image, (side // 2, side // 2), side // 4, (220, 90, 40), -1)
    cv2.ellipse(image, (side // 3, side), (side // 2, side // 3), 0, 180, 360, (60, 120, 80), -1)
    cv2.ellipse(image, (side * 3 // 4, side), (side // 2, side // 4), 0, 180, 360, (40, 90, 70), -1)
    cv2.putText(image, "SUMMER", (side // 8, side // 5), cv2.FONT_HERSHEY_DUPLEX, side / 220, (30, 30, 60), 2)
    for row in range(4):
        y = side - 12 - row * 9
        cv2.line(image, (side // 6, y), (side * 5 // 6, y), (245, 240, 220), 2)
    return image


def clock_face(side: int = 300) -> Picture:
    """Draw a round clock with hands at ten past ten."""
    image = np.full((side, side, 3), (120, 90, 70), np.uint8)
    middle = (side // 2, side // 2)
    cv2.circle(image, middle, side * 2 // 5, (240, 235, 220), -1)
    for hour in range(12):
        angle = hour * np.pi / 6
        tip = (round(side / 2 + 0.34 * side * np.cos(angle)), round(side / 2 + 0.34 * side * np.sin(angle)))
        cv2.circle(image, tip, side // 50, (30, 30, 30), -1)
    for angle, length in ((-2.6, 0.2), (-0.52, 0.3)):
        tip = (
            round(side / 2 + length * side * np.cos(angle)),
            round(side / 2 + length * side * np.sin(angle)),
        )
        cv2.line(image, middle, tip, (20, 20, 20), side // 40)
    return image


def socket(side: int = 300) -> Picture:
    """Draw a wall socket with two holes and a slot."""
    image = np.full((side, side, 3), (210, 210, 205), np.uint8)
    cv2.rectangle(image, (side // 6, side // 6), (side * 5 // 6, side * 5 // 6), (245, 245, 240), -1)
    for x in (0.38, 0.62):
        cv2.circle(image, (round(x * side), round(0.42 * side)), side // 18, (30, 30, 30), -1)
    cv2.ellipse(image, (side // 2, round(0.66 * side)), (side // 8, side // 20), 0, 0, 180, (30, 30, 30), -1)
    return image
