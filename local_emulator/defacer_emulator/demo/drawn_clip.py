"""A short clip with two invented people, drawn by computation, for places that may show no real person.

A face is built from soft shapes laid over each other: by the width of its edge, one oval is skin, shade or light.
Lengths are in half faces from the middle of the face: the hairline lies at y = -1, the chin at y = 1. Colours are
RGB, 0 to 255; an outline is "x,y x,y ..." and gives the right half, which the left half mirrors.
"""

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
    frame_count,
    render,
    with_shadow,
)
from defacer_emulator.demo.picture import save_picture, write_clip

HALF_FACE = 150  # pixels
WIDTH, HEIGHT, MIDDLE_X, MIDDLE_Y = 660, 860, 330, 270
FACE = (216.0, 142.0, 444.0, 420.0)  # x1, y1, x2, y2


@dataclass(frozen=True)
class Place:
    """Where a feature goes: lowered by `low`, stretched. The methods return masks (height, width), 0 to 1."""

    low: float = 0.0
    across: float = 1.0
    down: float = 1.0

    def oval(self, x: float, y: float, wide: float, high: float, edge: float = 0.03, tilt: int = 0) -> Floats:
        """Draw an ellipse with half axes `wide` and `high`, turned by `tilt` degrees."""
        rows, columns = np.ogrid[0:HEIGHT, 0:WIDTH]
        right = (columns - MIDDLE_X) / HALF_FACE - x * self.across
        below = (rows - MIDDLE_Y) / HALF_FACE - y * self.down - self.low
        wide, high = wide * self.across, high * self.down
        cosine, sine = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
        distance = np.hypot((right * cosine + below * sine) / wide, (below * cosine - right * sine) / high)
        part = np.clip((1 - distance) * min(wide, high) / edge + 0.5, 0, 1)
        return np.asarray(part * part * (3 - 2 * part), np.float64)

    def both(self, x: float, y: float, wide: float, high: float, edge: float = 0.03, tilt: int = 0) -> Floats:
        """Draw an ellipse and its mirror image."""
        return np.maximum(self.oval(x, y, wide, high, edge, tilt), self.oval(-x, y, wide, high, edge, -tilt))

    def area(self, outline: str, edge: float = 0.012) -> Floats:
        """Fill an outline."""
        points = self.points(outline)
        return soft(np.vstack([points, points[-2::-1] * [-1, 1]]), 0, edge)

    def line(self, outline: str, thickness: float, edge: float = 0.01) -> Floats:
        """Draw an open outline and its mirror image."""
        points = self.points(outline)
        return np.maximum(soft(points, thickness, edge), soft(points * [-1, 1], thickness, edge))

    def points(self, outline: str) -> Floats:
        pairs = np.array([pair.split(",") for pair in outline.split()], np.float64)
        return pairs * [self.across, self.down] + [0, self.low]


@dataclass(frozen=True)
class Look:
    """What tells one drawn person from another."""

    name: str
    colours: str  # of skin, hair, lips, eyes, coat, as hexadecimal RGB
    face: str
    hair: str
    features: tuple[Place, Place, Place]  # eyes, nose, mouth
    bearded: bool  # and with glasses; or else long-haired

    def colour(self, part: int) -> Floats:
        return np.array(list(bytes.fromhex(self.colours.split()[part])), np.float64)


WOMAN = Look(
    "woman",
    "f0c6ae 8e5230 c04a52 467a70 26706c",
    "0,-1.1 0.42,-1.04 0.7,-0.7 0.75,-0.2 0.72,0.25 0.56,0.68 0.28,0.96 0,1.04",
    "0,-1.44 .3,-1.42 .7,-1.22 .92,-.8 .99,-.2 1,.5 1.02,1.1 .84,1.35 .74,.9 .8,.3 .72,-.3 .45,-.72 .1,-1 0,-1.06",
    (Place(0.045, 0.92, 0.93), Place(-0.05, 1.04, 0.79), Place(0.04, 1.08, 0.8)),
    bearded=False,
)
MAN = Look(
    "man",
    "a67454 2c2320 98564f 322016 cc9e46",
    "0,-1.1 0.45,-1.04 0.74,-0.7 0.79,-0.2 0.77,0.3 0.68,0.68 0.36,1 0,1.06",
    "0,-1.48 .26,-1.45 .6,-1.26 .82,-.86 .86,-.4 .82,-.12 .78,-.12 .76,-.5 .64,-.86 .34,-1 0,-1.03",
    (Place(-0.01, 1.26, 0.84), Place(0, 0.94, 1), Place(-0.02, 1, 0.9)),
    bearded=True,
)
# One comes nearer while the other goes; both stay frontal enough to be found in every frame.
WOMAN_POSES = Pose(0, 0.28, 0.46, 0.29, turn=-14, tilt=-1), Pose(1, 0.33, 0.47, 0.35, turn=16, tilt=1)
MAN_POSES = Pose(0, 0.70, 0.47, 0.35, turn=-10, tilt=2), Pose(1, 0.73, 0.48, 0.29, turn=14, tilt=-1)


def make_drawn_clip(path: Path, seconds: float = 3.0, size: Size = (1280, 720), fps: int = 30) -> None:
    """Write a clip as `make_demo_clip` does, of two drawn people who do not cross; the errors are the same."""
    write_clip(path, render(drawn_cast(), frame_count(seconds, fps), size), seconds, size, fps)


def drawn_target_picture(path: Path) -> None:
    """Write the picture of the one to keep, the woman before a light wall, as PNG."""
    pixels = draw(WOMAN).pixels[:700]
    wall = (1 - pixels[:, :, 3:] / 255) * (222, 224, 226)
    save_picture(path, np.rint(pixels[:, :, :3] + wall).astype(np.uint8))


def drawn_cast() -> tuple[Role, ...]:
    """Return the roles of the drawn clip, the rearmost first; `demo_clip.truth` takes them too."""
    return Role(draw(MAN), MAN_POSES), Role(draw(WOMAN), WOMAN_POSES)


class Sheet:
    """A picture being painted: `colours` (height, width, 3) and `opacity` (height, width; 0 to 1)."""

    def __init__(self) -> None:
        self.colours: Floats = np.zeros((HEIGHT, WIDTH, 3))
        self.opacity: Floats = np.zeros((HEIGHT, WIDTH))

    def paint(self, mask: Floats, colour: Floats | tuple[int, int, int]) -> None:
        """Lay a colour over everything, as opaque as the mask says."""
        self.colours += mask[:, :, None] * (np.asarray(colour) - self.colours)
        self.opacity += mask * (1 - self.opacity)

    def shade(self, mask: Floats, strength: float) -> None:
        """Take away that share of the light where the mask is 1; a strength below 0 adds light."""
        self.colours *= 1 - strength * mask[:, :, None]


def soft(points: Floats, thickness: float, edge: float) -> Floats:
    """Return the mask of a line through points (count, 2) or, without a thickness, of what it encloses."""
    for _ in range(3):  # rounds corners by cutting them: Chaikin, "High-speed curve generation", 1974
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


def strands(along: float, across: float) -> Floats:
    """Return noise (height, width, 1) around 1, drawn out downwards like hair."""
    noise = np.random.default_rng(3).standard_normal((HEIGHT, WIDTH))
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=along), np.float64)
    return np.asarray(np.clip(1 + 0.13 * noise / noise.std(), 0.6, 1.5)[:, :, None], np.float64)


def draw(look: Look) -> Portrait:
    """Draw a person's head and shoulders."""
    sheet, head, skin, locks = Sheet(), Place(), look.colour(0), strands(12, 1.2) * look.colour(1)
    face, hair = head.area(look.face), head.area(look.hair)
    if not look.bearded:
        sheet.paint(head.area("0,-1.3 0.6,-1.2 0.9,-0.6 0.95,0.5 0.98,1.3 0.6,1.6 0,1.6"), 0.6 * locks)
    sheet.paint(head.area("0,1.3 0.4,1.34 1,1.55 1.6,1.8 1.9,2.3 2,4.3 0,4.3"), look.colour(4))
    sheet.shade(1 - head.oval(-0.2, 2.4, 1.3, 1.9, 1.0), 0.35)
    sheet.paint(head.area("0,0.5 0.4,0.5 0.4,1.1 0.46,1.32 0.64,1.44 0.3,1.72 0,1.9"), 0.86 * skin)
    sheet.shade(head.oval(0, 0.98, 0.74, 0.36, 0.3), 0.42)  # the chin's shadow
    sheet.paint(head.both(0.79, 0.02, 0.09, 0.22, tilt=-8), 0.82 * skin)  # ears
    sheet.paint(face, skin)
    sheet.shade(face * (1 - head.oval(-0.12, -0.1, 0.62, 0.95, 0.7)), 0.3)
    sheet.shade(head.both(0.42, 0.2, 0.16, 0.12, 0.25), -0.1)  # cheekbones
    sheet.paint(0.14 * head.both(0.44, 0.32, 0.18, 0.14, 0.3), look.colour(2))
    draw_features(sheet, look)
    sheet.paint(hair, locks)
    sheet.shade(hair * head.oval(-0.3, -1.08, 0.5, 0.1, 0.25, -14), -0.45)
    if look.bearded:
        beard = "0,0.51 0.2,0.51 0.36,0.66 0.52,0.64 0.68,0.3 0.8,0.1 0.81,0.3 0.7,0.72 0.38,1.04 0,1.08"
        bare = head.area("0,0.57 0.18,0.57 0.31,0.58 0.2,0.74 0,0.79", 0.02)
        sheet.paint(0.92 * head.area(beard, 0.03) * (1 - bare), strands(2.5, 1) * look.colour(1))
        wire = "0,-.16 .06,-.16 .06,0 .08,.25 .34,.25 .6,.25 .62,0 .6,-.33 .34,-.33 .08,-.33 .06,-.16 .06,-.1"
        sheet.paint(look.features[0].line(wire, 0.022), (112, 86, 56))
    return with_shadow(look.name, np.clip(sheet.colours, 0, 255).astype(np.uint8), sheet.opacity, FACE)


def draw_features(sheet: Sheet, look: Look) -> None:
    (eyes, nose, mouth), lips, dark = look.features, look.colour(2), 0.4 * look.colour(1)
    white = eyes.both(0.33, -0.1, 0.16, 0.08, 0.02)
    sheet.shade(eyes.both(0.32, -0.14, 0.22, 0.13, 0.2), 0.16)
    sheet.paint(white, (238, 234, 230))
    sheet.paint(white * eyes.both(0.33, -0.11, 0.08, 0.08, 0.02), look.colour(3))
    sheet.paint(white * eyes.both(0.33, -0.11, 0.038, 0.038, 0.015), (12, 10, 10))
    sheet.paint(eyes.both(0.33, -0.135, 0.015, 0.015, 0.012), (255, 255, 255))
    sheet.paint(0.9 * eyes.line("0.17,-0.08 0.22,-0.15 0.33,-0.19 0.44,-0.155 0.52,-0.1", 0.03), dark)
    sheet.shade(eyes.line("0.19,-0.2 0.33,-0.25 0.5,-0.18", 0.025, 0.02), 0.22)
    sheet.paint(0.85 * eyes.line("0.15,-0.33 0.3,-0.4 0.42,-0.385 0.53,-0.32", 0.055, 0.018), 1.6 * dark)
    sheet.shade(nose.oval(-0.02, 0.08, 0.045, 0.28, 0.08), -0.12)
    sheet.shade(nose.oval(0.1, 0.1, 0.04, 0.26, 0.1), 0.16)
    sheet.shade(nose.oval(-0.02, 0.33, 0.1, 0.08, 0.09), -0.18)
    sheet.shade(nose.line("0.19,0.31 0.2,0.37 0.16,0.42 0.1,0.41", 0.02, 0.015), 0.3)
    sheet.shade(nose.oval(0, 0.43, 0.17, 0.035, 0.07), 0.24)
    sheet.shade(nose.both(0.075, 0.405, 0.04, 0.018, tilt=12), 0.6)
    sheet.paint(mouth.area("0,0.6 0.05,0.58 0.14,0.59 0.26,0.59 0.15,0.65 0,0.66"), 0.85 * lips)
    sheet.paint(mouth.area("0,0.65 0.15,0.64 0.26,0.595 0.17,0.69 0.07,0.735 0,0.735"), lips)
    sheet.shade(mouth.line("0,0.655 0.14,0.645 0.27,0.59", 0.022), 0.65)
    sheet.shade(mouth.oval(0, 0.8, 0.13, 0.025, 0.07), 0.2)
