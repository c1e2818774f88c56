"""What an MP4's header claims before it is believed: a demuxer makes room for every frame that is claimed.

A table that gives one size for all samples (ISO/IEC 14496-12, 8.7.3.2) claims any number of them in twelve bytes,
and so does a fragment that describes none of them (8.8.8). FFmpeg takes 30 bytes of memory for each.
"""

from contextlib import nullcontext
from typing import BinaryIO

from defacer.engine.errors import VideoError
from defacer.engine.media.mp4.boxes import Box, walk

MAX_SAMPLES = 10_000_000  # a day at 115 frames a second
INTO = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf")
# Where in a box of samples their number stands.
NUMBER_AT = {b"stsz": 8, b"stz2": 8, b"trun": 4}
MAX_BOXES, DEEPEST = 10_000, 8
# Uncompressed sound has a sample for each of its sample times, and its index is not by sample: it does not count.
SOUND, EACH_LASTS_ONE = b"soun", (1, 1)


def require_likely_samples(source: str | BinaryIO) -> None:
    """Raise VideoError for an MP4 that claims more samples than any video has, in a track or the first fragment."""
    with open(source, "rb") if isinstance(source, str) else nullcontext(source) as file:
        samples, compressed, sound, fragments = 0, False, False, 0
        for number, box in enumerate(walk(file, INTO)):
            if number > MAX_BOXES or len(box.path) > DEEPEST:
                raise VideoError(
                    "its header is in more pieces than any program writes. Export the video again."
                )
            fragments += box.kind == b"moof"
            if fragments and (fragments > 1 or box.path[0] != b"moof"):
                break
            if box.kind in (b"trak", b"moof"):
                _require_likely(samples, compressed or not sound)
                samples, compressed, sound = 0, False, False
            elif box.path[-2:] == (b"mdia", b"hdlr"):  # a MOV has another one inside "minf"
                sound = box.head[8:12] == SOUND
            elif box.kind == b"stts":
                compressed |= (_number(box, 4), _number(box, 12)) != EACH_LASTS_ONE
            elif box.kind in NUMBER_AT:
                samples = max(samples, _number(box, NUMBER_AT[box.kind]))
        _require_likely(samples, compressed or not sound)


def _require_likely(samples: int, counts: bool) -> None:
    if counts and samples > MAX_SAMPLES:
        raise VideoError(
            f"its header claims {samples} frames in one track, more than {MAX_SAMPLES}. Export the video again."
        )


def _number(box: Box, offset: int) -> int:
    return int.from_bytes(box.head[: box.end - box.start][offset : offset + 4], "big")
