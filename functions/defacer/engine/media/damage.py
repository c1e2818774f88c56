"""Reading past damage: in place of each frame that can't be decoded, a black one at its time.

What leans on a damaged frame may show traces of faces in places where nobody looks for them, so everything from a
damaged packet to the next key frame is black, and so are the frames before that one that lean on both.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.video.stream import VideoStream

from defacer.engine.errors import VideoError

Decoded = Iterator[tuple["av.Packet[VideoStream]", list[av.VideoFrame] | None]]


@dataclass
class CorruptionScan:
    """The times of the frames that a player would show, those of them that are damaged, and a sound frame."""

    shown: list[int]
    damaged: set[int]
    sample: av.VideoFrame


def decode_all(
    packets: Iterator["av.Packet[VideoStream]"],
    stream: VideoStream,
    progress: Callable[[], None] = lambda: None,
) -> Decoded:
    """Each packet with the frames that came of it; None where it could not be decoded. In one thread: so each error
    is told with the packet that has it. `progress` is called for each, and may raise to stop."""
    stream.thread_type = "NONE"
    for packet in packets:
        progress()
        try:
            frames: list[av.VideoFrame] | None = list(packet.decode())
        except av.error.InvalidDataError:
            frames = None
        yield packet, frames


def scan_for_corruption(packets: Decoded, end: int | None) -> CorruptionScan:
    """Decode up to `end` and tell what is damaged. Raises VideoError if nothing could be decoded."""
    order: list[tuple[int, bool]] = []  # time and whether it is a key frame, in the order of decoding
    shown: set[int] = set()
    sound: set[int] = set()
    bad: set[int] = set()
    sample: av.VideoFrame | None = None
    for packet, frames in packets:
        if packet.pts is not None and packet.size:
            order.append((packet.pts, packet.is_keyframe))
            if not packet.is_discard:
                shown.add(packet.pts)
            if frames is None or packet.is_corrupt:
                bad.add(packet.pts)
        for frame in frames or ():
            if frame.pts is None:
                continue
            if frame.is_corrupt:
                bad.add(frame.pts)
            else:
                sound.add(frame.pts)
                sample = sample or frame
        if end is not None and packet.dts is not None and packet.dts > end:
            break
    if sample is None:
        raise VideoError("none of its frames can be decoded. Export the video again.")
    last = max(sound)
    bad |= {pts for pts in shown - sound if end is None or pts <= last}
    return CorruptionScan(sorted(shown), _with_what_leans_on_it(order, bad), sample)


def _with_what_leans_on_it(order: list[tuple[int, bool]], bad: set[int]) -> set[int]:
    damaged: set[int] = set()
    broken, until = False, None
    for pts, is_key in order:
        if is_key:
            until, broken = (pts if broken else None), False
        broken = broken or pts in bad
        if broken or (until is not None and pts < until):
            damaged.add(pts)
    return damaged


def black(sample: av.VideoFrame, pts: int) -> av.VideoFrame:
    """A black frame of the sample's form."""
    nothing = np.zeros((sample.height, sample.width, 3), np.uint8)
    empty = av.VideoFrame.from_ndarray(nothing, format="rgb24").reformat(format=sample.format.name)
    # There and back makes a frame of its own, with the sample's properties.
    other = "yuv444p" if sample.format.name != "yuv444p" else "yuv420p"
    frame = sample.reformat(format=other).reformat(format=sample.format.name)
    for plane, filled in zip(frame.planes, empty.planes, strict=True):
        plane.update(bytes(filled))
    frame.pts = pts
    return frame
