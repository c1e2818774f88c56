"""Draw frames with faces at stated places, and measure whether a face is visible after redaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from defacer.engine.rendering.masks import MaskSchedule
from defacer.engine.rendering.redaction import Style, redact_boxes
from defacer.report.compact_boxes import Box, CompactBoxes
from defacer.report.faces import Faces
from defacer.report.tracks import Decision, Reason, TrackRecord
from tests.clips import Picture, admiral, astronaut

WIDTH, HEIGHT, RATE = 640, 360, 25
SEEN_SSIM = 0.70  # a face counts as visible at this structural similarity or above
BLUR = Style()
PATCH = 0.25  # of the face's size: the width of the portrait's border that is shown around the face
FACE_BOXES: dict[str, Box] = {"astronaut": (100, 57, 191, 179), "admiral": (172, 131, 353, 337)}


@dataclass(frozen=True)
class Shown:
    """A person's face in a frame. Faces later in a list are in front."""

    person: str
    box: Box


@cache
def _portrait(person: str) -> Picture:
    return astronaut() if person == "astronaut" else admiral()


def draw(faces: Sequence[Shown], width: int = WIDTH, height: int = HEIGHT, patch: float = PATCH) -> Picture:
    """Draw each face so that it fills its box, on a smooth background."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = np.linspace(60, 160, width).astype(np.uint8)[None]
    frame[..., 1] = np.linspace(60, 160, height).astype(np.uint8)[:, None]
    frame[..., 2] = 110
    for shown in faces:
        x1, y1, x2, y2 = FACE_BOXES[shown.person]
        (left, top, right, bottom) = shown.box
        across, down = (right - left) / (x2 - x1), (bottom - top) / (y2 - y1)
        matrix = np.array([[across, 0, left - across * x1], [0, down, top - down * y1]])
        picture = cv2.warpAffine(_portrait(shown.person), matrix, (width, height), flags=cv2.INTER_AREA)
        more_x, more_y = (right - left) * patch, (bottom - top) * patch
        rows = slice(max(0, round(top - more_y)), max(0, round(bottom + more_y)))
        columns = slice(max(0, round(left - more_x)), max(0, round(right + more_x)))
        frame[rows, columns] = picture[rows, columns]
    return frame


def track(
    number: int,
    detections: dict[int, Box],
    decision: Decision = "hide",
    continues: int | None = None,
) -> TrackRecord:
    """Return a track that was detected at these frames, in these boxes."""
    seen = CompactBoxes(sorted(detections.items()))
    return TrackRecord(
        number, seen[0].pts, seen[-1].pts, decision, None, Reason.NO_MATCH, None, None, continues, seen
    )


def faces_of(
    tracks: Sequence[TrackRecord], shots: Sequence[int] = (), width: int = WIDTH, height: int = HEIGHT
) -> Faces:
    """Return the faces of a video whose times are frame numbers."""
    return Faces("", None, 0.7, width, height, f"1/{RATE}", 0, 0, cuts=tuple(shots), tracks=tuple(tracks))


def visible(
    frames: Sequence[Sequence[Shown]], faces: Faces, style: Style = BLUR, patch: float = PATCH
) -> list[list[str]]:
    """Redact each frame by these faces, and return the people who are still visible in it."""
    schedule = MaskSchedule(faces)
    seen = []
    for number, shown in enumerate(frames):
        before, after = _redacted(draw(shown, faces.width, faces.height, patch), schedule, number, style)
        seen.append([face.person for face in shown if is_seen(before, after, face.box)])
    return seen


def redacted(picture: Picture, faces: Faces) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the first frame of a video in gray, before and after it is redacted by these faces."""
    return _redacted(picture, MaskSchedule(faces), 0, BLUR)


def _redacted(
    picture: Picture, schedule: MaskSchedule, pts: int, style: Style
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
    before = frame.to_ndarray(format="gray").astype(np.uint8)
    redact_boxes(frame, schedule.boxes(pts), style, openings=schedule.openings(pts))
    return before, frame.to_ndarray(format="gray").astype(np.uint8)


def is_seen(before: NDArray[np.uint8], after: NDArray[np.uint8], box: Box) -> bool:
    """Return whether the structure in the box survived: the test of the evaluation's `score.py`."""
    return _similarity(_crop(before, box), _crop(after, box)) >= SEEN_SSIM


def _crop(gray: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
    x1, y1, x2, y2 = (max(0, int(side)) for side in box)
    return cv2.resize(gray[y1:y2, x1:x2], (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32)


def _similarity(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    def smooth(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.GaussianBlur(image, (7, 7), 1.5).astype(np.float32)

    mean, other_mean = smooth(one), smooth(other)
    variance, other_variance = smooth(one * one) - mean**2, smooth(other * other) - other_mean**2
    shared = smooth(one * other) - mean * other_mean
    small, smaller = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean * other_mean + small) * (2 * shared + smaller)
    return float(
        np.mean(likeness / ((mean**2 + other_mean**2 + small) * (variance + other_variance + smaller)))
    )
