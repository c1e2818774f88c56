"""Compare the frames of segments that begin at each key frame with the frames of the whole file."""

import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.clock.packet_clock import demux
from defacer.engine.media.reader import open_video, read_frames
from defacer.engine.options import OnDecodeError
from defacer.report.clock import Clock

Frame = tuple[int, int]  # presentation time, checksum of the luma samples


def require_same_at_key_frames(
    path: Path, on_decode_error: OnDecodeError = "refuse", clock: Clock | None = None
) -> None:
    """Raise AssertionError unless the segments have the frames of the whole file, each once and with its samples."""
    source = ClockedSource(str(path), clock or Clock())
    whole = list(_frames(source, None, None, on_decode_error))
    starts: list[int | None] = [time for time in _key_frames(source) if time > whole[0][0]]
    for start, end in pairwise([None, *starts, None]):
        held = [
            frame
            for frame in whole
            if (start is None or frame[0] >= start) and (end is None or frame[0] < end)
        ]
        assert list(_frames(source, start, end, on_decode_error)) == held, (
            f"the segment from {start} to {end}"
        )


def _key_frames(source: ClockedSource) -> list[int]:
    with open_video(source) as (container, stream):
        found = demux(container, stream, source.clock, picture_only=True)
        packets = (packet for packet in found if packet.is_keyframe)
        return sorted({packet.pts for packet in packets if packet.pts is not None})


def _frames(
    source: ClockedSource, start: int | None, end: int | None, on_decode_error: OnDecodeError
) -> Iterator[Frame]:
    for frame in read_frames(source, start, end, [] if on_decode_error == "hide" else None):
        assert frame.pts is not None
        luma = frame.reformat(format="gray").to_ndarray()
        yield frame.pts, zlib.crc32(np.ascontiguousarray(luma).tobytes())
