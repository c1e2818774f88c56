"""A short span of a clip in memory, with the faces of each frame, and how it is written and graded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from defacer.engine.media.reader import read_frames
from tests.quality.clips import Clip, Truth

Image = np.ndarray
Box = tuple[float, float, float, float]
TIME_BASE = Fraction(1, 90_000)
MIN_PART = 0.35  # of a face's box: a smaller part inside of the frame is not graded
CRF = "14"  # nearly no loss


@dataclass(frozen=True)
class Face:
    """A face of the truth in one frame."""

    track: int
    role: str
    box: Box

    def shifted(self, right: float, down: float) -> "Face":
        x1, y1, x2, y2 = self.box
        return replace(self, box=(x1 + right, y1 + down, x2 + right, y2 + down))


@dataclass(frozen=True)
class SpanFrame:
    """An RGB image with its faces, and its time in seconds."""

    image: Image = field(repr=False)
    faces: tuple[Face, ...]
    seconds: float


Span = Sequence[SpanFrame]


def read_span(clip: Clip, start: float, seconds: float) -> list[SpanFrame]:
    """Return the frames of a clip from `start` (a share of its frames) for some seconds. Times begin at 0."""
    by_frame: dict[int, list[Face]] = {}
    for number, track, role, x1, y1, x2, y2 in clip.truth["faces"]:
        by_frame.setdefault(number, []).append(Face(track, role, (x1, y1, x2, y2)))
    first = round(start * clip.truth["frames"])
    span: list[SpanFrame] = []
    began = 0.0
    for number, frame in enumerate(read_frames(str(clip.video))):
        if number < first:
            continue
        time = float((frame.pts or 0) * (frame.time_base or 1))
        began = began if span else time
        if time - began >= seconds:
            break
        faces = tuple(by_frame.get(number, ()))
        span.append(SpanFrame(frame.to_ndarray(format="rgb24"), faces, time - began))
    return span


def warped(frame: SpanFrame, matrix: Image, size: tuple[int, int]) -> SpanFrame:
    """Return the frame mapped by an affine matrix (2, 3) into a frame of this width and height."""
    shrinks = abs(np.linalg.det(matrix[:, :2])) < 1
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    scales_alone = matrix[0, 1] == matrix[1, 0] == matrix[0, 2] == matrix[1, 2] == 0
    height, width = frame.image.shape[:2]
    fills = abs(matrix[0, 0] * width - size[0]) < 1 and abs(matrix[1, 1] * height - size[1]) < 1
    if scales_alone and fills:
        image = cv2.resize(frame.image, size, interpolation=how)
    else:
        scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        image = frame.image if scale > 0.7 else cv2.GaussianBlur(frame.image, (0, 0), 0.4 / scale)
        image = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
    faces = tuple(_inside(replace(face, box=_mapped(face.box, matrix)), size) for face in frame.faces)
    return replace(frame, image=image, faces=tuple(face for face in faces if face))


def _mapped(box: Box, matrix: Image) -> Box:
    """Return the box around the mapped ellipse of a face."""
    x1, y1, x2, y2 = box
    center = matrix @ np.array([(x1 + x2) / 2, (y1 + y2) / 2, 1])
    half = np.sqrt((matrix[:, :2] ** 2) @ np.array([((x2 - x1) / 2) ** 2, ((y2 - y1) / 2) ** 2]))
    (left, top), (right, bottom) = center - half, center + half
    return (float(left), float(top), float(right), float(bottom))


def _inside(face: Face, size: tuple[int, int]) -> Face | None:
    """Return the face cut at the frame's edges; with the role "ignore" if a small part is left."""
    x1, y1, x2, y2 = face.box
    left, top, right, bottom = max(0.0, x1), max(0.0, y1), min(size[0], x2), min(size[1], y2)
    if right <= left or bottom <= top:
        return None
    part = (right - left) * (bottom - top) / max((x2 - x1) * (y2 - y1), 1e-6)
    role = face.role if part >= MIN_PART else "ignore"
    return Face(face.track, role, (left, top, right, bottom))


def write_span(span: Iterable[SpanFrame], path: Path, crf: str = CRF) -> Truth:
    """Write a video of these frames, and return its truth."""
    faces: list[list[Any]] = []
    count = 0
    with av.open(str(path), "w") as out:
        stream = None
        for frame in span:
            if stream is None:
                stream = out.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": crf})
                height, width = (side // 2 * 2 for side in frame.image.shape[:2])
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.time_base = stream.codec_context.time_base = TIME_BASE
            image = np.ascontiguousarray(frame.image[:height, :width])
            made = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            made.pts, made.time_base = round(frame.seconds / TIME_BASE), TIME_BASE
            out.mux(stream.encode(made))
            faces += [
                [count, face.track, face.role, *(round(side) for side in face.box)] for face in frame.faces
            ]
            count += 1
        if stream is not None:
            out.mux(stream.encode(None))
    return {"frames": count, "target_image": None, "faces": faces}
