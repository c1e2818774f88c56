"""Find the frames that can't be decoded, and make black frames in their place.

A frame that depends on a damaged one can show traces of a face in a place that the detector does not search. So all
frames from a damaged packet to the next key frame are black. Frames that are shown before that key frame but decoded
after it depend on both sides, so they are black too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.video.stream import VideoStream

from defacer.engine.errors import NO_FRAME, VideoError
from defacer.engine.media.clock.packet_clock import is_shown
from defacer.report.clock import Clock

DAMAGE_ADVICE = (
    'Export the video again, or accept black frames in place of damaged ones (on_decode_error: "hide").'
)
CUT_OFF_ADVICE = 'Copy or export the video again, or accept the part before that (on_decode_error: "hide").'
Decoded = Iterator[tuple["av.Packet[VideoStream]", list[av.VideoFrame] | None]]


def damage_at(seconds: float) -> VideoError:
    """Return the error for a damaged or missing part. `seconds` is the time that a player shows there."""
    return VideoError(f"a part of it at {max(seconds, 0):.2f} s is damaged or missing. {DAMAGE_ADVICE}")


def torn_at(seconds: float) -> VideoError:
    """Return the error for a last frame that may be incomplete, where recordings are joined as `cat` does.

    No decoder tells whether its end is missing.
    """
    return VideoError(
        f"another recording follows after {seconds:.2f} s, maybe in another size, and the last frame before it may be "
        f"incomplete. {DAMAGE_ADVICE}"
    )


@dataclass
class CorruptionScan:
    """The times of the frames that a player shows, those of them that are damaged, and one intact frame."""

    shown: set[int]
    damaged: set[int]
    sample: av.VideoFrame


def decode_packets(
    packets: Iterator["av.Packet[VideoStream]"],
    stream: VideoStream,
    progress: Callable[[], None] = lambda: None,
) -> Decoded:
    """Yield each packet with its decoded frames, or with None if it could not be decoded.

    Decoding uses one thread, so that FFmpeg reports each error at the packet that has it. `progress` is called for
    each packet and can raise an error to stop.
    """
    stream.thread_type = "NONE"
    for packet in packets:
        progress()
        try:
            frames: list[av.VideoFrame] | None = list(packet.decode())
        except av.error.InvalidDataError:
            frames = None
        yield packet, frames


def scan_for_corruption(packets: Decoded, end: int | None, clock: Clock) -> CorruptionScan:
    """Decode up to `end` and return the damaged frames. Raises VideoError if no frame can be decoded."""
    order: list[tuple[int, bool]] = []  # time and whether it is a key frame, in the order of decoding
    shown: set[int] = set()
    intact: set[int] = set()
    bad: set[int] = set()
    sample: av.VideoFrame | None = None
    for packet, frames in packets:
        if packet.pts is not None and packet.size:
            order.append((packet.pts, packet.is_keyframe))
            if is_shown(packet, clock):
                shown.add(packet.pts)
            if frames is None or packet.is_corrupt:
                bad.add(packet.pts)
        for frame in frames or ():
            if frame.pts is None:
                continue
            if frame.is_corrupt:
                bad.add(frame.pts)
            else:
                intact.add(frame.pts)
                sample = sample or frame
        if end is not None and packet.dts is not None and packet.dts > end:
            break
    if sample is None:
        raise VideoError(NO_FRAME)
    last = max(intact)
    bad |= {pts for pts in shown - intact if end is None or pts <= last}
    return CorruptionScan(shown, _add_dependent_frames(order, bad), sample)


def _add_dependent_frames(order: list[tuple[int, bool]], bad: set[int]) -> set[int]:
    """Return the times of the bad frames and of all frames that depend on them.

    `order` lists time and key frame flag of each packet in decode order.
    """
    damaged: set[int] = set()
    is_broken, until = False, None
    for pts, is_key in order:
        if is_key:
            until, is_broken = (pts if is_broken else None), False
        is_broken = is_broken or pts in bad
        if is_broken or (until is not None and pts < until):
            damaged.add(pts)
    return damaged


def black_frame(sample: av.VideoFrame, pts: int) -> av.VideoFrame:
    """Return a black frame with the size, format and properties of `sample`."""
    pixels = np.zeros((sample.height, sample.width, 3), np.uint8)
    empty = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=sample.format.name)
    # Two conversions make a copy that keeps the properties of the sample.
    other = "yuv444p" if sample.format.name != "yuv444p" else "yuv420p"
    frame = sample.reformat(format=other).reformat(format=sample.format.name)
    for plane, filled in zip(frame.planes, empty.planes, strict=True):
        plane.update(bytes(filled))
    frame.pts = pts
    return frame
