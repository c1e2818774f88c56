"""Whether a face can still be seen in a result, and whether all else came back as it was: by pixels and packets.

A face is seen when the detail in its box is that of the source: what is finer than a sixteenth of the face, as a
correlation. A second encode keeps that, whatever hides a face does not; colours and outlines do not count.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from defacer_emulator.demo.demo_clip import FaceBox
from tests.soak.clips import Sort

Grey = NDArray[np.uint8]

# Faces that were hidden come to 0.45 at most, those that were only encoded once more to 0.98 at least.
SEEN_CORRELATION = 0.6
FINEST_PART = 16


def leaked(sort: Sort, result: bytes) -> int:
    """How many faces that must be hidden can be seen."""
    before, after = list(pictures(sort.video)), list(pictures(BytesIO(result)))
    hidden = [face for face in sort.faces if face.name in sort.hidden]
    return sum(
        likeness(before[face.frame], after[face.frame], face) > SEEN_CORRELATION
        for face in hidden
        if face.frame < len(after)
    )


def changed(source: Path, result: bytes) -> str | None:
    """What is not as in the source: the frames' size, their number, their times, the sound. None: nothing."""
    before, after = (list(pictures(file)) for file in (source, BytesIO(result)))
    if [picture.shape for picture in before] != [picture.shape for picture in after]:
        return f"{len(after)} frames, {len(before)} in the source, or another size"
    if not np.allclose(times(source), times(BytesIO(result)), atol=1e-6):
        return "the frames' times"
    return None if sound(source) == sound(BytesIO(result)) else "the sound"


def likeness(before: Grey, after: Grey, face: FaceBox) -> float:
    """How much of the detail inside a face's box is the same: from -1 to 1, which is all."""
    box = np.s_[max(round(face.y1), 0) : round(face.y2), max(round(face.x1), 0) : round(face.x2)]
    a, b = (_detail(picture[box]) for picture in (before, after))
    both = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / both if both else 0.0


def _detail(picture: Grey) -> NDArray[np.float32]:
    finest = max(picture.shape) / FINEST_PART
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), finest)
    return np.asarray(picture.astype(np.float32) - smooth, np.float32)


def pictures(file: Any) -> Iterator[Grey]:
    """The luma of each frame."""
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="gray"), np.uint8)


def times(file: Any) -> Sequence[float]:
    """When each frame is shown, in seconds."""
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def sound(file: Any) -> list[tuple[float, bytes]]:
    """Each packet of sound, with its time in seconds."""
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.pts is not None]
        return [(round(float(packet.pts * packet.time_base), 6), bytes(packet)) for packet in packets]
