"""The demo clip: two public-domain portraits that move, grow, turn away and cross.

The portraits come with installed packages: scikit-image's `astronaut.png` (NASA) and matplotlib's `grace_hopper.jpg`
(US Navy). Each is cut out along its outline and moves through the frame as a flat card in space. Its scale, its turn
about the vertical axis and the perspective projection are one homography (Hartley and Zisserman, "Multiple View
Geometry", 2nd edition, section 8.1.1). All pictures are RGB with 8 bits a channel. Coordinates are pixels, x to the
right, y down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defacer_emulator.demo.picture import Picture, save_picture, write_clip

Floats = NDArray[np.float64]
Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # x1, y1, x2, y2

FOCAL_LENGTH = 1.8  # in frame heights at 16:9: a mild tele lens, which distorts a turned head little

# Outlines of head and shoulders, traced by hand, in pixels of the portraits.
ASTRONAUT_FACE = (182.0, 68.0, 270.0, 187.0)
ASTRONAUT_OUTLINE = """
    20,440 20,395 30,345 45,300 62,262 87,239 97,221 112,206 121,190 128,172 137,160 158,151 184,149
    184,134 175,128 171,117 158,104 155,92 154,70 160,56 185,40 205,23 237,17 259,23 284,40 295,58 299,81
    297,98 289,116 275,133 266,139 257,162 257,175 288,204 298,219 303,234 339,263 354,302 358,346 380,345
    420,347 455,369 480,400 494,440"""
ADMIRAL_FACE = (176.0, 129.0, 358.0, 335.0)
ADMIRAL_OUTLINE = """
    12,599 20,520 28,440 40,412 53,384 80,370 129,357 165,345 186,331 196,318 196,304 186,295 172,287
    164,273 162,255 156,222 154,200 156,182 149,165 147,110 154,95 174,84 177,70 184,56 196,48 217,40
    235,31 262,25 284,31 297,43 325,52 345,66 353,86 366,90 370,110 370,176 374,190 371,220 362,260
    356,288 345,303 336,316 345,327 374,347 422,367 462,379 484,394 496,425 503,470 503,599"""


@dataclass(frozen=True)
class Portrait:
    """A cut-out portrait: `pixels` (height, width, 4) as premultiplied RGBA, and the box of its face."""

    name: str
    pixels: Picture
    face: Box


@dataclass(frozen=True)
class Pose:
    """The place of a face at a moment.

    `at` is a share of the clip's length, `x` and `y` of the frame's size, `face_height` of a 16:9 frame's height.
    Angles are in degrees: `turn` about the vertical axis (0 is frontal), `tilt` in the plane of the frame.
    """

    at: float
    x: float
    y: float
    face_height: float
    turn: float = 0.0
    tilt: float = 0.0


@dataclass(frozen=True)
class Role:
    """A portrait and its movement: at least two poses, ordered by time, the first at 0 and the last at 1."""

    portrait: Portrait
    poses: tuple[Pose, ...]


ASTRONAUT_POSES = (
    Pose(0.00, 0.22, 0.56, 0.20),
    Pose(0.19, 0.30, 0.46, 0.33, tilt=-2.0),
    Pose(0.29, 0.31, 0.45, 0.34),
    Pose(0.37, 0.27, 0.48, 0.30, turn=63.0),
    Pose(0.45, 0.29, 0.48, 0.30),
    Pose(0.72, 0.71, 0.46, 0.32, tilt=2.0),
    Pose(1.00, 0.69, 0.45, 0.34),
)
ADMIRAL_POSES = (
    Pose(0.00, 0.77, 0.68, 0.17),
    Pose(0.19, 0.71, 0.50, 0.32, tilt=2.0),
    Pose(0.29, 0.70, 0.48, 0.34),
    Pose(0.42, 0.74, 0.56, 0.26),
    Pose(0.72, 0.27, 0.56, 0.25),
    Pose(0.81, 0.29, 0.55, 0.28, turn=-63.0),
    Pose(0.90, 0.30, 0.51, 0.31),
    Pose(1.00, 0.30, 0.49, 0.33),
)


def make_demo_clip(path: Path, seconds: float = 12.0, size: Size = (1280, 720), fps: int = 30) -> None:
    """Write the demo clip as MP4: H.264 with a key frame every 2 s, and AAC sound.

    `size` is width, height in pixels. A shorter clip has the same movements, but faster. Raises ValueError for a
    length without a frame, or a size that 4:2:0 colors do not support.
    """
    write_clip(path, render_frames(demo_cast(), count_frames(seconds, fps), size), seconds, size, fps)


def write_target_picture(path: Path) -> None:
    """Write the target picture, the astronaut's head and shoulders, as PNG."""
    save_picture(path, load_astronaut()[0:350, 50:400])


def demo_cast() -> tuple[Role, ...]:
    """Return the roles of the demo clip, rearmost first."""
    admiral = cut_out("admiral", load_admiral(), ADMIRAL_OUTLINE, ADMIRAL_FACE)
    astronaut = cut_out("astronaut", load_astronaut(), ASTRONAUT_OUTLINE, ASTRONAUT_FACE)
    return Role(admiral, ADMIRAL_POSES), Role(astronaut, ASTRONAUT_POSES)


def load_astronaut() -> Picture:
    return load_packaged_photo("scikit-image", "skimage/data/astronaut.png")


def load_admiral() -> Picture:
    return load_packaged_photo("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg")


def load_packaged_photo(package: str, name: str) -> Picture:
    """Read a picture that comes with an installed package, without importing the package."""
    path = distribution(package).locate_file(name)
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if photo is None:
        raise FileNotFoundError(f"{path} is missing or damaged. Install {package} again.")
    return np.asarray(photo, np.uint8)


def cut_out(name: str, photo: Picture, outline: str, face: Box) -> Portrait:
    """Cut out a photo (height, width, 3) along the outline "x,y x,y ...", with soft edges."""
    points = np.array([pair.split(",") for pair in outline.split()], np.int32)
    photo = photo[: int(points[:, 1].max()) + 1]
    inside = np.zeros(photo.shape[:2], np.uint8)
    cv2.fillPoly(inside, [points], 255)
    rounded = cv2.GaussianBlur(inside, (0, 0), 4) / 255.0  # rounds the corners of the polygon
    opacity = cv2.GaussianBlur(np.clip((rounded - 0.5) * 4 + 0.35, 0, 1), (0, 0), 1.2)
    return add_shadow(name, photo, np.asarray(opacity, np.float64), face)


def add_shadow(name: str, photo: Picture, opacity: Floats, face: Box) -> Portrait:
    """Return a portrait of a photo (height, width, 3) with this opacity (height, width; 0 to 1) and a faint shadow.

    Its lowest part fades out, because it is inside the frame at times.
    """
    shadow = 0.28 * cv2.GaussianBlur(opacity, (0, 0), 9)
    fade = np.clip(np.linspace(1, 0, len(photo)) / 0.07, 0, 1)[:, None]
    alpha = 255 * fade * (opacity + (1 - opacity) * shadow)
    pixels = np.dstack([photo * (opacity * fade)[:, :, None], alpha])
    return Portrait(name, np.rint(pixels).astype(np.uint8), face)


def count_frames(seconds: float, fps: int) -> int:
    """Return the number of frames of a clip. Raise ValueError if it would have none."""
    count = round(seconds * fps)
    if seconds <= 0 or fps <= 0 or count < 1:
        raise ValueError(f"a clip of {seconds} s at {fps} frames/s has no frame. Choose larger values")
    return count


def interpolate_pose(poses: Sequence[Pose], at: float) -> Pose:
    """Return the pose at a share of the clip's length: smoothstep between the poses, with a slight sway."""
    table = np.array([astuple(pose) for pose in poses])
    after = int(np.clip(np.searchsorted(table[:, 0], at, side="right"), 1, len(table) - 1))
    start, end = table[after - 1], table[after]
    part = np.clip((at - start[0]) / (end[0] - start[0]), 0, 1)
    _, x, y, face_height, turn, tilt = (start + (end - start) * part * part * (3 - 2 * part)).tolist()
    sway = float(np.sin(2 * np.pi * (5 * at + x)))
    return Pose(at, x + 0.002 * sway, y + 0.002 * sway, face_height, turn, tilt + 0.8 * sway)


def compute_homography(portrait: Portrait, pose: Pose, size: Size) -> Floats:
    """Return the (3, 3) matrix from a portrait's pixels to the pixels of a frame of width, height `size`."""
    x1, y1, x2, y2 = portrait.face
    unit = min(size[0] * 9 / 16, size[1])
    scale = pose.face_height * unit / (y2 - y1)
    to_card = np.array([[scale, 0, -scale * (x1 + x2) / 2], [0, scale, -scale * (y1 + y2) / 2], [0, 0, 1]])
    turn, tilt = np.deg2rad([pose.turn, pose.tilt])
    tilted = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    focal = FOCAL_LENGTH * unit
    # The card's x axis points along (cos, 0, sin). The face's centre is one focal length away.
    project = np.array([[np.cos(turn), 0, 0], [0, 1, 0], [np.sin(turn) / focal, 0, 1]])
    to_frame = np.array([[1, 0, pose.x * size[0]], [0, 1, pose.y * size[1]], [0, 0, 1]])
    return np.asarray(to_frame @ project @ tilted @ to_card, np.float64)


def transform(matrix: Floats, points: Floats) -> Floats:
    """Transform points (count, 2) by a homography."""
    points = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(points[:, :2] / points[:, 2:], np.float64)


def render_frames(cast: Sequence[Role], count: int, size: Size) -> Iterator[Picture]:
    """Yield `count` frames (height, width, 3) of the cast (rearmost first) before a moving background."""
    scaled = [Role(scale_portrait(role, size), role.poses) for role in cast]
    grain = np.random.default_rng(7).integers(0, 4, (size[1], size[0], 3), np.uint8)  # hides banding
    for frame in range(count):
        at = frame / max(count - 1, 1)
        canvas = np.asarray(cv2.add(draw_background(at, size), grain), np.uint8)
        for role in scaled:
            draw_portrait(canvas, role.portrait, interpolate_pose(role.poses, at), size)
        yield canvas


def scale_portrait(role: Role, size: Size) -> Portrait:
    """Scale a portrait to its largest height in the clip, so that the warp does not alias."""
    portrait = role.portrait
    largest = max(pose.face_height for pose in role.poses) * min(size[0] * 9 / 16, size[1])
    scale = largest / (portrait.face[3] - portrait.face[1])
    width, height = (round(scale * length) for length in portrait.pixels.shape[1::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    pixels = cv2.resize(portrait.pixels, (width, height), interpolation=method)
    # cv2.resize aligns the outer edges of the pixels, not the centres of the first ones.
    x1, y1, x2, y2 = (scale * (edge + 0.5) - 0.5 for edge in portrait.face)
    return Portrait(portrait.name, np.asarray(pixels, np.uint8), (x1, y1, x2, y2))


def draw_portrait(canvas: Picture, portrait: Portrait, pose: Pose, size: Size) -> None:
    """Draw a portrait over the frame in place. It darkens a little as it turns away from the light."""
    matrix, (height, width) = compute_homography(portrait, pose, size), portrait.pixels.shape[:2]
    corners = transform(matrix, np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64))
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, size).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, size).astype(int).tolist()
    if left >= right or top >= bottom:
        return
    shifted = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ matrix
    card = cv2.warpPerspective(portrait.pixels, shifted, (right - left, bottom - top))
    light = 1 - 0.3 * abs(np.sin(np.deg2rad(pose.turn)))
    colors = cv2.convertScaleAbs(cv2.cvtColor(card, cv2.COLOR_RGBA2RGB), alpha=light)
    clear = cv2.cvtColor(255 - card[:, :, 3], cv2.COLOR_GRAY2RGB)
    area = canvas[top:bottom, left:right]
    area[:] = cv2.add(cv2.multiply(area, clear, scale=1 / 255), colors)


def draw_background(at: float, size: Size) -> Picture:
    """Return a soft gradient from teal to plum, with broad moving bands of light."""
    y, x = np.mgrid[0:1:54j, 0:1:96j]
    bend = x + 0.18 * np.sin(2 * np.pi * (0.9 * y + 0.5 * at)) + 0.25 * y
    bands = 0.5 + 0.5 * np.sin(2 * np.pi * (1.6 * bend - 0.7 * at))
    glow = np.exp(-((x - 0.5 - 0.25 * np.sin(2 * np.pi * at)) ** 2 + (y - 0.35) ** 2) / 0.18)
    mix = np.clip(0.75 * x + 0.35 * y - 0.05, 0, 1)[:, :, None]
    light = (18 * bands + 55 * glow)[:, :, None] * np.array([1.0, 0.95, 0.85])
    colors = (1 - mix) * np.array([38, 104, 122]) + mix * np.array([112, 72, 118]) + light
    return np.asarray(cv2.resize(colors.astype(np.uint8), size, interpolation=cv2.INTER_CUBIC), np.uint8)
