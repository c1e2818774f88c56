"""The true boxes of the faces in the demo clip, for tests.

The true box of a face is its box in the portrait, transformed by the homography that moves the portrait.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defacer_emulator.demo.demo_clip import (
    Floats,
    Portrait,
    Role,
    Size,
    compute_homography,
    count_frames,
    demo_cast,
    interpolate_pose,
    transform,
)


@dataclass(frozen=True)
class FaceBox:
    """The upright box around one face in one frame, in displayed pixels. Frames are counted from 0.

    `covered` is the share of the box behind another person. A `visible` face is turned by at most 60 degrees and
    covered by at most 0.1.
    """

    name: str
    frame: int
    x1: float
    y1: float
    x2: float
    y2: float
    turn_degrees: float
    covered: float
    visible: bool


def compute_demo_boxes(seconds: float = 12.0, size: Size = (1280, 720), fps: int = 30) -> list[FaceBox]:
    """Return the box of each face in each frame of the clip that `make_demo_clip` writes with these values."""
    return compute_boxes(demo_cast(), count_frames(seconds, fps), size)


def compute_boxes(cast: Sequence[Role], count: int, size: Size) -> list[FaceBox]:
    """Return the box of every face of the cast (rearmost first) in each of `count` frames."""
    boxes = []
    for frame in range(count):
        poses = [interpolate_pose(role.poses, frame / max(count - 1, 1)) for role in cast]
        matrices = [
            compute_homography(role.portrait, pose, size) for role, pose in zip(cast, poses, strict=True)
        ]
        for depth, (role, pose) in enumerate(zip(cast, poses, strict=True)):
            x1, y1, x2, y2 = role.portrait.face
            grid = np.stack(np.meshgrid(np.linspace(x1, x2, 12), np.linspace(y1, y2, 12)), axis=-1)
            points = transform(matrices[depth], grid.reshape(-1, 2))
            hidden = np.zeros(len(points), np.bool_)
            for front in range(depth + 1, len(cast)):
                hidden |= is_opaque_at(cast[front].portrait, matrices[front], points)
            covered = float(hidden.mean())
            visible = abs(pose.turn) <= 60 and covered <= 0.1
            (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
            boxes.append(FaceBox(role.portrait.name, frame, x1, y1, x2, y2, pose.turn, covered, visible))
    return boxes


def is_opaque_at(portrait: Portrait, matrix: Floats, points: Floats) -> NDArray[np.bool_]:
    """Return for each of the points (count, 2) of the frame whether the portrait is more than half opaque there."""
    height, width = portrait.pixels.shape[:2]
    x, y = np.rint(transform(np.asarray(np.linalg.inv(matrix), np.float64), points)).astype(np.int64).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    alpha = portrait.pixels[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1), 3]
    return np.asarray(inside & (alpha > 127), np.bool_)
