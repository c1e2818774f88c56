"""Refuse an MP4 that claims an absurd number of samples, before a demuxer allocates memory for each of them.

A table with one size for all samples (ISO/IEC 14496-12, 8.7.3.2) claims any number of them in twelve bytes. A fragment
that describes no sample does so too (8.8.8). FFmpeg allocates 30 bytes for each sample.
"""

from typing import BinaryIO

from defacer.engine.errors import VideoError
from defacer.engine.media.mp4.boxes import Mp4Box, open_binary, walk_boxes

MAX_SAMPLES = 10_000_000  # a day at 115 frames a second
CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")
# The offset of the number of samples in the body of each box that has one.
COUNT_OFFSETS = {b"stsz": 8, b"stz2": 8, b"trun": 4}
MAX_BOXES, MAX_DEPTH = 10_000, 8
# Uncompressed sound has one sample for each sample time. FFmpeg does not index it by sample, so it is not limited.
SOUND, ONE_EACH = b"soun", (1, 1)


def require_plausible_sample_count(source: str | BinaryIO) -> None:
    """Raise VideoError if a track, or the first fragment, claims more than MAX_SAMPLES."""
    with open_binary(source) as file:
        samples, is_compressed, is_sound, fragments = 0, False, False, 0
        for number, box in enumerate(walk_boxes(file, CONTAINERS)):
            if number > MAX_BOXES or len(box.path) > MAX_DEPTH:
                raise VideoError(
                    f"its header has more than {MAX_BOXES} boxes or {MAX_DEPTH} levels of them. Export the video again."
                )
            fragments += box.kind == b"moof"
            if fragments and (fragments > 1 or box.path[0] != b"moof"):
                break
            if box.kind in (b"trak", b"moof"):
                _require_plausible(samples, is_compressed or not is_sound)
                samples, is_compressed, is_sound = 0, False, False
            elif box.path[-2:] == (b"mdia", b"hdlr"):  # a MOV has another "hdlr" inside "minf"
                is_sound = box.head[8:12] == SOUND
            elif box.kind == b"stts":
                is_compressed |= (_read_number(box, 4), _read_number(box, 12)) != ONE_EACH
            elif box.kind in COUNT_OFFSETS:
                samples = max(samples, _read_number(box, COUNT_OFFSETS[box.kind]))
        _require_plausible(samples, is_compressed or not is_sound)


def _require_plausible(samples: int, is_limited: bool) -> None:
    if is_limited and samples > MAX_SAMPLES:
        raise VideoError(
            f"its header claims {samples} frames in one track, at most {MAX_SAMPLES} are allowed. "
            "Export the video again."
        )


def _read_number(box: Mp4Box, offset: int) -> int:
    return int.from_bytes(box.head[: box.end - box.start][offset : offset + 4], "big")
