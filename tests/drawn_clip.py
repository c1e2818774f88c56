"""A short clip with two drawn people, for documentation, which must not show real people.

Write it and its target picture with `python -m tests.drawn_clip CLIP PICTURE`.

A face consists of soft shapes over each other. With a sharp edge an oval is skin, with a soft edge shade or light.
Lengths are in half faces from the middle of the face: the hairline is at y = -1, the chin at y = 1. Colors are RGB,
0 to 255. An outline "x,y x,y ..." describes the right half, and the left half mirrors it.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from defacer_emulator.demo.demo_clip import (
    Floats,
    Portrait,
    Pose,
    Role,
    Size,
    add_shadow,
    count_frames,
    render_frames,
)
from defacer_emulator.demo.picture import save_picture, write_clip

HALF_FACE = 150  # pixels
WIDTH, HEIGHT, MIDDLE_X, MIDDLE_Y = 660, 860, 330, 270
FACE = (216.0, 142.0, 444.0, 420.0)  # x1, y1, x2, y2


@dataclass(frozen=True)
class Placement:
    """The placement of a feature: lowered by `low`, and stretched. The methods return masks (height, width), 0 to 1."""

    low: float = 0.0
    across: float = 1.0
    down: float = 1.0

    def oval(self, x: float, y: float, wide: float, high: float, edge: float = 0.03, tilt: int = 0) -> Floats:
        """Return an ellipse with half axes `wide` and `high`, turned by `tilt` degrees."""
        rows, columns = np.ogrid[0:HEIGHT, 0:WIDTH]
        right = (columns - MIDDLE_X) / HALF_FACE - x * self.across
        below = (rows - MIDDLE_Y) / HALF_FACE - y * self.down - self.low
        wide, high = wide * self.across, high * self.down
        cosine, sine = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
        distance = np.hypot((right * cosine + below * sine) / wide, (below * cosine - right * sine) / high)
        part = np.clip((1 - distance) * min(wide, high) / edge + 0.5, 0, 1)
        return np.asarray(part * part * (3 - 2 * part), np.float64)

    def both(self, x: float, y: float, wide: float, high: float, edge: float = 0.03, tilt: int = 0) -> Floats:
        """Return an ellipse and its mirror image."""
        return np.maximum(self.oval(x, y, wide, high, edge, tilt), self.oval(-x, y, wide, high, edge, -tilt))

    def area(self, outline: str, edge: float = 0.012) -> Floats:
        """Return the inside of an outline."""
        points = self.points(outline)
        return draw_soft_mask(np.vstack([points, points[-2::-1] * [-1, 1]]), 0, edge)

    def line(self, outline: str, thickness: float, edge: float = 0.01) -> Floats:
        """Return an open outline and its mirror image."""
        points = self.points(outline)
        return np.maximum(
            draw_soft_mask(points, thickness, edge), draw_soft_mask(points * [-1, 1], thickness, edge)
        )

    def points(self, outline: str) -> Floats:
        pairs = np.array([pair.split(",") for pair in outline.split()], np.float64)
        return pairs * [self.across, self.down] + [0, self.low]


@dataclass(frozen=True)
class Appearance:
    """The appearance of a drawn person."""

    name: str
    colors: str  # of skin, hair, lips, eyes, coat, as hexadecimal RGB
    face: str
    hair: str
    features: tuple[Placement, Placement, Placement]  # eyes, nose, mouth
    bearded: bool  # bearded people wear glasses, others have long hair

    def color(self, part: int) -> Floats:
        return np.array(list(bytes.fromhex(self.colors.split()[part])), np.float64)


WOMAN = Appearance(
    "woman",
    "f0c6ae 8e5230 c04a52 467a70 26706c",
    "0,-1.1 0.42,-1.04 0.7,-0.7 0.75,-0.2 0.72,0.25 0.56,0.68 0.28,0.96 0,1.04",
    "0,-1.44 .3,-1.42 .7,-1.22 .92,-.8 .99,-.2 1,.5 1.02,1.1 .84,1.35 .74,.9 .8,.3 .72,-.3 .45,-.72 .1,-1 0,-1.06",
    (Placement(0.045, 0.92, 0.93), Placement(-0.05, 1.04, 0.79), Placement(0.04, 1.08, 0.8)),
    bearded=False,
)
MAN = Appearance(
    "man",
    "a67454 2c2320 98564f 322016 cc9e46",
    "0,-1.1 0.45,-1.04 0.74,-0.7 0.79,-0.2 0.77,0.3 0.68,0.68 0.36,1 0,1.06",
    "0,-1.48 .26,-1.45 .6,-1.26 .82,-.86 .86,-.4 .82,-.12 .78,-.12 .76,-.5 .64,-.86 .34,-1 0,-1.03",
    (Placement(-0.01, 1.26, 0.84), Placement(0, 0.94, 1), Placement(-0.02, 1, 0.9)),
    bearded=True,
)
# One person approaches while the other recedes. Both stay frontal enough to be detected in every frame.
WOMAN_POSES = Pose(0, 0.28, 0.46, 0.29, turn=-14, tilt=-1), Pose(1, 0.33, 0.47, 0.35, turn=16, tilt=1)
MAN_POSES = Pose(0, 0.70, 0.47, 0.35, turn=-10, tilt=2), Pose(1, 0.73, 0.48, 0.29, turn=14, tilt=-1)


def make_drawn_clip(path: Path, seconds: float = 3.0, size: Size = (1280, 720), fps: int = 30) -> None:
    """Write a clip of two drawn people who do not cross. Arguments and errors are those of `make_demo_clip`."""
    write_clip(path, render_frames(drawn_cast(), count_frames(seconds, fps), size), seconds, size, fps)


def write_drawn_target_picture(path: Path) -> None:
    """Write the target picture, the woman before a light wall, as PNG."""
    pixels = draw_person(WOMAN).pixels[:700]
    wall = (1 - pixels[:, :, 3:] / 255) * (222, 224, 226)
    save_picture(path, np.rint(pixels[:, :, :3] + wall).astype(np.uint8))


def drawn_cast() -> tuple[Role, ...]:
    """Return the roles of the drawn clip, rearmost first."""
    return Role(draw_person(MAN), MAN_POSES), Role(draw_person(WOMAN), WOMAN_POSES)


class Canvas:
    """A picture in progress: `colors` (height, width, 3) and `opacity` (height, width; 0 to 1)."""

    def __init__(self) -> None:
        self.colors: Floats = np.zeros((HEIGHT, WIDTH, 3))
        self.opacity: Floats = np.zeros((HEIGHT, WIDTH))

    def paint(self, mask: Floats, color: Floats | tuple[int, int, int]) -> None:
        """Paint a color over the picture, with the mask as opacity."""
        self.colors += mask[:, :, None] * (np.asarray(color) - self.colors)
        self.opacity += mask * (1 - self.opacity)

    def shade(self, mask: Floats, strength: float) -> None:
        """Darken the picture by this share where the mask is 1. A negative strength brightens it."""
        self.colors *= 1 - strength * mask[:, :, None]


def draw_soft_mask(points: Floats, thickness: float, edge: float) -> Floats:
    """Return the mask of a line through points (count, 2) or, without a thickness, of the enclosed area."""
    for _ in range(3):  # rounds the corners: Chaikin, "High-speed curve generation", 1974
        start, end = points[:-1], points[1:]
        cut = np.stack([0.75 * start + 0.25 * end, 0.25 * start + 0.75 * end], axis=1).reshape(-1, 2)
        points = np.vstack([points[:1], cut, points[-1:]])
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels = [np.rint(16 * (points * HALF_FACE + [MIDDLE_X, MIDDLE_Y])).astype(np.int32)]
    if thickness:
        cv2.polylines(mask, pixels, False, 255, round(thickness * HALF_FACE), cv2.LINE_AA, shift=4)
    else:
        cv2.fillPoly(mask, pixels, 255, cv2.LINE_AA, shift=4)
    return np.asarray(cv2.GaussianBlur(mask / 255.0, (0, 0), edge * HALF_FACE), np.float64)


def draw_hair_texture(along: float, across: float) -> Floats:
    """Return noise (height, width, 1) around 1, stretched downwards like hair."""
    noise = np.random.default_rng(3).standard_normal((HEIGHT, WIDTH))
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=along), np.float64)
    return np.asarray(np.clip(1 + 0.13 * noise / noise.std(), 0.6, 1.5)[:, :, None], np.float64)


def draw_person(look: Appearance) -> Portrait:
    """Draw a person's head and shoulders."""
    canvas, head, skin, locks = (
        Canvas(),
        Placement(),
        look.color(0),
        draw_hair_texture(12, 1.2) * look.color(1),
    )
    face, hair = head.area(look.face), head.area(look.hair)
    if not look.bearded:
        canvas.paint(head.area("0,-1.3 0.6,-1.2 0.9,-0.6 0.95,0.5 0.98,1.3 0.6,1.6 0,1.6"), 0.6 * locks)
    canvas.paint(head.area("0,1.3 0.4,1.34 1,1.55 1.6,1.8 1.9,2.3 2,4.3 0,4.3"), look.color(4))
    canvas.shade(1 - head.oval(-0.2, 2.4, 1.3, 1.9, 1.0), 0.35)
    canvas.paint(head.area("0,0.5 0.4,0.5 0.4,1.1 0.46,1.32 0.64,1.44 0.3,1.72 0,1.9"), 0.86 * skin)
    canvas.shade(head.oval(0, 0.98, 0.74, 0.36, 0.3), 0.42)  # the chin's shadow
    canvas.paint(head.both(0.79, 0.02, 0.09, 0.22, tilt=-8), 0.82 * skin)  # ears
    canvas.paint(face, skin)
    canvas.shade(face * (1 - head.oval(-0.12, -0.1, 0.62, 0.95, 0.7)), 0.3)
    canvas.shade(head.both(0.42, 0.2, 0.16, 0.12, 0.25), -0.1)  # cheekbones
    canvas.paint(0.14 * head.both(0.44, 0.32, 0.18, 0.14, 0.3), look.color(2))
    draw_features(canvas, look)
    canvas.paint(hair, locks)
    canvas.shade(hair * head.oval(-0.3, -1.08, 0.5, 0.1, 0.25, -14), -0.45)
    if look.bearded:
        beard = "0,0.51 0.2,0.51 0.36,0.66 0.52,0.64 0.68,0.3 0.8,0.1 0.81,0.3 0.7,0.72 0.38,1.04 0,1.08"
        bare = head.area("0,0.57 0.18,0.57 0.31,0.58 0.2,0.74 0,0.79", 0.02)
        canvas.paint(0.92 * head.area(beard, 0.03) * (1 - bare), draw_hair_texture(2.5, 1) * look.color(1))
        wire = "0,-.16 .06,-.16 .06,0 .08,.25 .34,.25 .6,.25 .62,0 .6,-.33 .34,-.33 .08,-.33 .06,-.16 .06,-.1"
        canvas.paint(look.features[0].line(wire, 0.022), (112, 86, 56))
    return add_shadow(look.name, np.clip(canvas.colors, 0, 255).astype(np.uint8), canvas.opacity, FACE)


def draw_features(canvas: Canvas, look: Appearance) -> None:
    (eyes, nose, mouth), lips, dark = look.features, look.color(2), 0.4 * look.color(1)
    white = eyes.both(0.33, -0.1, 0.16, 0.08, 0.02)
    canvas.shade(eyes.both(0.32, -0.14, 0.22, 0.13, 0.2), 0.16)
    canvas.paint(white, (238, 234, 230))
    canvas.paint(white * eyes.both(0.33, -0.11, 0.08, 0.08, 0.02), look.color(3))
    canvas.paint(white * eyes.both(0.33, -0.11, 0.038, 0.038, 0.015), (12, 10, 10))
    canvas.paint(eyes.both(0.33, -0.135, 0.015, 0.015, 0.012), (255, 255, 255))
    canvas.paint(0.9 * eyes.line("0.17,-0.08 0.22,-0.15 0.33,-0.19 0.44,-0.155 0.52,-0.1", 0.03), dark)
    canvas.shade(eyes.line("0.19,-0.2 0.33,-0.25 0.5,-0.18", 0.025, 0.02), 0.22)
    canvas.paint(0.85 * eyes.line("0.15,-0.33 0.3,-0.4 0.42,-0.385 0.53,-0.32", 0.055, 0.018), 1.6 * dark)
    canvas.shade(nose.oval(-0.02, 0.08, 0.045, 0.28, 0.08), -0.12)
    canvas.shade(nose.oval(0.1, 0.1, 0.04, 0.26, 0.1), 0.16)
    canvas.shade(nose.oval(-0.02, 0.33, 0.1, 0.08, 0.09), -0.18)
    canvas.shade(nose.line("0.19,0.31 0.2,0.37 0.16,0.42 0.1,0.41", 0.02, 0.015), 0.3)
    canvas.shade(nose.oval(0, 0.43, 0.17, 0.035, 0.07), 0.24)
    canvas.shade(nose.both(0.075, 0.405, 0.04, 0.018, tilt=12), 0.6)
    canvas.paint(mouth.area("0,0.6 0.05,0.58 0.14,0.59 0.26,0.59 0.15,0.65 0,0.66"), 0.85 * lips)
    canvas.paint(mouth.area("0,0.65 0.15,0.64 0.26,0.595 0.17,0.69 0.07,0.735 0,0.735"), lips)
    canvas.shade(mouth.line("0,0.655 0.14,0.645 0.27,0.59", 0.022), 0.65)
    canvas.shade(mouth.oval(0, 0.8, 0.13, 0.025, 0.07), 0.2)


if __name__ == "__main__":
    make_drawn_clip(Path(sys.argv[1]))
    write_drawn_target_picture(Path(sys.argv[2]))
