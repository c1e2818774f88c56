"""Find the picture in a HEIF file, such as HEIC or AVIF, and its size (ISO/IEC 23008-12). Nothing is decoded here.

A picture is one coded image, or a grid of them, its tiles: cameras write tiles of 512 x 512 pixels. Size, crop,
rotation and mirroring are properties of the picture, and its transparency is a picture of its own.
"""

import struct
from dataclasses import dataclass, field

from defacer.engine.media.pictures.heif_tables import HeifError, HeifTables, Property

HEIF_TYPES = ("image/heic", "image/avif")
CODECS = {b"hvc1": "hevc", b"av01": "libdav1d"}  # FFmpeg's decoders by the kind of an item
CONFIGURATIONS = (b"hvcC", b"av1C")  # what a decoder needs before the first tile
CHANGES = (b"clap", b"irot", b"imir")
ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
MAX_TILES = 1024  # 100 megapixels in tiles of 512 x 512 pixels are 400


@dataclass(frozen=True)
class Tile:
    """A coded image. `codec` is the name of FFmpeg's decoder."""

    codec: str
    configuration: bytes = field(repr=False)
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class CodedPicture:
    """Tiles of one size, row by row, which cover `width` x `height` pixels. Then `changes` apply, in their order."""

    width: int
    height: int
    columns: int
    tile_width: int
    tile_height: int
    tiles: tuple[Tile, ...] = field(repr=False)
    changes: tuple[Property, ...] = ()

    @property
    def sizes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Width and height of the picture and of a tile."""
        return (self.width, self.height), (self.tile_width, self.tile_height)


@dataclass(frozen=True)
class HeifPicture:
    """The picture of a file, and its transparency, if any."""

    color: CodedPicture
    alpha: CodedPicture | None


def read_heif(data: bytes) -> HeifPicture:
    """Return the picture in a HEIF file. Raise HeifError if it can't be decoded."""
    tables = HeifTables(data)
    try:
        color = _picture(tables, tables.primary)
        alpha = _alpha_of(tables, tables.primary)
        return HeifPicture(color, None if alpha is None else _picture(tables, alpha))
    except (struct.error, IndexError, KeyError) as error:
        raise HeifError("a property or an item is missing") from error


def _picture(tables: HeifTables, item: int) -> CodedPicture:
    changes = tuple(tables.properties(item, *CHANGES))
    if tables.kinds[item] != b"grid":
        width, height = _size(tables, item)
        return CodedPicture(width, height, 1, width, height, (_tile(tables, item),), changes)
    grid = tables.read(item)
    rows, columns = grid[2] + 1, grid[3] + 1
    width, height = struct.unpack_from(">II" if grid[1] & 1 else ">HH", grid, 4)
    tiles = _targets(tables, b"dimg", item)
    sizes = {_size(tables, tile) for tile in tiles}
    if len(tiles) != rows * columns or len(tiles) > MAX_TILES or len(sizes) != 1:
        raise HeifError(f"its grid has no tiles of one size, or more than {MAX_TILES}")
    [(tile_width, tile_height)] = sizes
    if not (
        0 <= columns * tile_width - width < tile_width and 0 <= rows * tile_height - height < tile_height
    ):
        raise HeifError("its tiles do not cover the picture")
    coded = tuple(_tile(tables, tile) for tile in tiles)
    return CodedPicture(width, height, columns, tile_width, tile_height, coded, changes)


def _tile(tables: HeifTables, item: int) -> Tile:
    kind = tables.kinds[item]
    if kind not in CODECS:
        raise HeifError(f"its picture has the kind {kind!r}")
    return Tile(CODECS[kind], tables.properties(item, *CONFIGURATIONS)[0].data, tables.read(item))


def _size(tables: HeifTables, item: int) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", tables.properties(item, b"ispe")[0].data, 4)
    return width, height


def _targets(tables: HeifTables, kind: bytes, item: int) -> tuple[int, ...]:
    matches = (found.targets for found in tables.references if (found.kind, found.source) == (kind, item))
    return next(matches, ())


def _alpha_of(tables: HeifTables, item: int) -> int | None:
    """Return the item that is the transparency of this one."""
    for found in tables.references:
        if found.kind == b"auxl" and item in found.targets:
            for kind in tables.properties(found.source, b"auxC"):
                if kind.data[4:].partition(b"\0")[0] in ALPHA:
                    return found.source
    return None
