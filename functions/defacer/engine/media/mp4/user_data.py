"""List the boxes with user data of cameras and editors, and XMP, which FFmpeg does not expose.

Only the headers of the boxes are read. No result contains these boxes. The report lists their kinds.
"""

from itertools import islice
from typing import BinaryIO

from defacer.engine.media.display.projection import SPHERICAL_V1
from defacer.engine.media.mp4.boxes import Mp4Box, is_mp4, open_binary, walk_boxes

XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # the uuid of Adobe's XMP (ISO 16684-1)
# A 360-degree picture's projection is copied (see `display/projection.py`).
KNOWN_UUIDS = {XMP: "XMP", SPHERICAL_V1: ""}
QUICKTIME_TAG = b"\xa9"  # FFmpeg exposes these boxes as tags
CONTAINERS = (b"moov", b"trak", b"udta")
# Exposed as tags: "meta" and "loci". Copied: chapters. Without personal data: a track's name, hints for streaming.
KNOWN = (b"meta", b"loci", b"chpl", b"name", b"hnti", b"hinf")
MAX_BOXES = 10_000  # of one file, because a header can claim any number


def list_user_data(source: str | BinaryIO) -> tuple[str, ...]:
    """Return the kinds of user data in the file, each once and in file order. Other files than MP4 have none."""
    with open_binary(source) as file:
        if not is_mp4(file):
            return ()
        kinds = (_user_data_kind(box) for box in islice(walk_boxes(file, CONTAINERS), MAX_BOXES))
        return tuple(dict.fromkeys(kind for kind in kinds if kind))


def _user_data_kind(box: Mp4Box) -> str:
    """Return the kind of user data that the report lists; "" for any other box."""
    if box.kind == b"uuid":
        return KNOWN_UUIDS.get(box.head[:16], "uuid box")
    if box.path[-2:-1] == (b"udta",) and box.kind not in KNOWN and not box.kind.startswith(QUICKTIME_TAG):
        is_printable = box.kind.replace(b"_", b"").isalnum()
        return f"user data {box.kind.decode('latin1')}" if is_printable else "user data"
    return ""
