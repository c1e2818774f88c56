"""Read the size of the first picture of a TIFF (TIFF 6.0, section 2, and BigTIFF). Nothing is decoded here."""

import struct
from dataclasses import dataclass

WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT = 256, 257, 322, 323  # tags
NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # the types of whole numbers
MAX_ENTRIES = 1000  # of a directory; cameras write up to 60


@dataclass(frozen=True)
class TiffSize:
    """The size of the picture in pixels, the size of a tile (0 without tiles), and the number of directory entries."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    entries: int


def read_tiff_size(data: bytes) -> TiffSize | None:
    """Return the size of the first picture. None if its directory is damaged or too long."""
    order = "<" if data.startswith(b"I") else ">"
    is_big = b"+" in data[2:4]
    offset, count, length = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    try:
        (start,) = struct.unpack_from(order + offset, data, 8 if is_big else 4)
        (entries,) = struct.unpack_from(order + count, data, start)
        if entries > MAX_ENTRIES:
            return None
        found = {}
        for index in range(entries):
            entry = start + struct.calcsize(count) + index * length
            tag, kind = struct.unpack_from(order + "HH", data, entry)
            if kind in NUMBERS:
                (found[tag],) = struct.unpack_from(
                    order + NUMBERS[kind], data, entry + length - struct.calcsize(offset)
                )
    except (struct.error, OverflowError):
        return None
    width, height, tile_width, tile_height = (
        found.get(tag, 0) for tag in (WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT)
    )
    return TiffSize(width, height, tile_width, tile_height, entries)
