"""Judge a result by pixels and packets: is a face still visible, and is everything else unchanged?

A face counts as visible if the fine detail in its box correlates with that of the source. Detail is fine if it is
smaller than a sixteenth of the face. It survives another encoding, but no redaction. Colors and outlines are ignored.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tests.demo_boxes import FaceBox
from tests.soak.clips import JobKind

Gray = NDArray[np.uint8]

# Redacted faces reach at most 0.45, faces that were only encoded again at least 0.98.
VISIBLE_CORRELATION = 0.6
DETAIL_DIVISOR = 16


def count_leaked_faces(kind: JobKind, result: bytes) -> int:
    """Return the number of visible faces that must be hidden."""
    before, after = list(read_luma(kind.video)), list(read_luma(BytesIO(result)))
    hidden = [face for face in kind.faces if face.name in kind.hidden]
    return sum(
        correlate_detail(before[face.frame], after[face.frame], face) > VISIBLE_CORRELATION
        for face in hidden
        if face.frame < len(after)
    )


def find_change(source: Path, result: bytes) -> str | None:
    """Return what differs from the source: the frames' size, number or times, or the sound. None means nothing."""
    before, after = (list(read_luma(file)) for file in (source, BytesIO(result)))
    if [picture.shape for picture in before] != [picture.shape for picture in after]:
        return f"{len(after)} frames, {len(before)} in the source, or a different size"
    if not np.allclose(frame_times(source), frame_times(BytesIO(result)), atol=1e-6):
        return "the frames' times"
    return None if audio_packets(source) == audio_packets(BytesIO(result)) else "the sound"


def correlate_detail(before: Gray, after: Gray, face: FaceBox) -> float:
    """Return the correlation of the fine detail inside a face's box, from -1 to 1."""
    box = np.s_[max(round(face.y1), 0) : round(face.y2), max(round(face.x1), 0) : round(face.x2)]
    a, b = (_detail(picture[box]) for picture in (before, after))
    both = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / both if both else 0.0


def _detail(picture: Gray) -> NDArray[np.float32]:
    finest = max(picture.shape) / DETAIL_DIVISOR
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), finest)
    return np.asarray(picture.astype(np.float32) - smooth, np.float32)


def read_luma(file: Any) -> Iterator[Gray]:
    """Yield the luma of each frame."""
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="gray"), np.uint8)


def frame_times(file: Any) -> Sequence[float]:
    """Return the time of each frame in seconds."""
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def audio_packets(file: Any) -> list[tuple[float, bytes]]:
    """Return each audio packet with its time in seconds."""
    with av.open(str(file) if isinstance(file, Path) else file) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.pts is not None]
        return [(round(float(packet.pts * packet.time_base), 6), bytes(packet)) for packet in packets]
