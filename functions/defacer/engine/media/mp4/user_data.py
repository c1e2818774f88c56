"""What an MP4 or MOV holds in boxes that FFmpeg does not tell of: user data of cameras and editors, XMP.

Only the boxes' headers are read. None of them goes into a result; the report names their kinds.
"""

from itertools import islice
from typing import BinaryIO

from defacer.engine.media.mp4.boxes import Box, is_mp4, walk
from defacer.engine.media.reader import Source

XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # the uuid of Adobe's XMP (ISO 16684-1)
QUICKTIME_TAG = b"\xa9"  # FFmpeg tells of these, as tags
INTO = (b"moov", b"trak", b"udta")
# Told as tags: "meta" and "loci"; kept: chapters; of no meaning: a track's name, hints for streaming.
KNOWN = (b"meta", b"loci", b"chpl", b"name", b"hnti", b"hinf")
MAX_BOXES = 10_000  # of one file: a header can lie


def user_data(source: Source) -> tuple[str, ...]:
    """The kinds of such boxes, each once, in order; none for other files."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            return _kinds(file)
    return _kinds(source)


def _kinds(file: BinaryIO) -> tuple[str, ...]:
    if not is_mp4(file):
        return ()
    found = (_told(box) for box in islice(walk(file, INTO), MAX_BOXES))
    return tuple(dict.fromkeys(told for told in found if told))


def _told(box: Box) -> str:
    """What is told of a box; "" for nothing."""
    if box.kind == b"uuid":
        return "XMP" if box.head[:16] == XMP else "uuid box"
    if box.path[-2:-1] == (b"udta",) and box.kind not in KNOWN and not box.kind.startswith(QUICKTIME_TAG):
        plain = box.kind.replace(b"_", b"").isalnum()
        return f"user data {box.kind.decode('latin1')}" if plain else "user data"
    return ""
