"""Write HEIC and AVIF files as cameras do: with tiles, rotation, mirroring, crop and transparency."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import av
import numpy as np

from defacer.engine.media.pictures.heif import read_heif
from tests.clips import Picture, encode_picture

KINDS = {"heic": (b"hvc1", b"hvcC"), "avif": (b"av01", b"av1C")}  # of a coded image and its configuration
COLOR, TILE, ALPHA = 1, 10, 5000  # numbers of items
ALPHA_KIND = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"


@dataclass
class HeifFile:
    """The parts of a file. A test can change each of them before `to_bytes`.

    `columns` and `rows` divide the picture into tiles; without them it is one coded image. `claimed` is the size that
    the file states, of the picture and of its tile.
    """

    picture: Picture
    kind: str = "heic"
    columns: int = 0
    rows: int = 0
    alpha: Picture | None = None
    changes: Sequence[tuple[bytes, bytes]] = ()
    claimed: tuple[int, int] | None = None
    claimed_tile: tuple[int, int] | None = None
    _items: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    _properties: list[bytes] = field(default_factory=list)
    _owned: dict[int, list[int]] = field(default_factory=dict)
    _references: bytes = b""

    def to_bytes(self) -> bytes:
        height, width = self.picture.shape[:2]
        if self.columns:
            self._add_grid(width, height)
        else:
            self._add_image(COLOR, self.picture, self.claimed or (width, height))
        for kind, body in self.changes:
            self._own(COLOR, kind, body)
        if self.alpha is not None:
            self._add_image(ALPHA, self.alpha, self.alpha.shape[1::-1])
            self._own(ALPHA, b"auxC", bytes(4) + ALPHA_KIND)
            self._references += _box(b"auxl", struct.pack(">HHH", ALPHA, 1, COLOR))
        return self._write()

    def _add_grid(self, width: int, height: int) -> None:
        across, down = -(-width // self.columns), -(-height // self.rows)
        across, down = across + across % 2, down + down % 2
        padded = np.pad(
            self.picture,
            ((0, down * self.rows - height), (0, across * self.columns - width), (0, 0)),
            mode="edge",
        )
        tiles = range(TILE, TILE + self.columns * self.rows)
        stated = self.claimed or (width, height)
        self._items.append(
            (COLOR, b"grid", struct.pack(">BBBBII", 0, 1, self.rows - 1, self.columns - 1, *stated))
        )
        self._own(COLOR, b"ispe", struct.pack(">III", 0, *stated))
        self._references += _box(b"dimg", struct.pack(f">HH{len(tiles)}H", COLOR, len(tiles), *tiles))
        for number, item in enumerate(tiles):
            row, column = divmod(number, self.columns)
            tile = padded[row * down : (row + 1) * down, column * across : (column + 1) * across]
            self._add_image(item, tile, self.claimed_tile or (across, down))

    def _add_image(self, item: int, picture: Picture, size: tuple[int, ...]) -> None:
        kind, configuration_kind = KINDS[self.kind]
        configuration, data = encode(picture, self.kind)
        self._items.append((item, kind, data))
        self._own(item, b"ispe", struct.pack(">III", 0, *size))
        self._own(item, configuration_kind, configuration)

    def _own(self, item: int, kind: bytes, body: bytes) -> None:
        self._properties.append(_box(kind, body))
        # A reader must know each property, as the highest bit says.
        self._owned.setdefault(item, []).append(len(self._properties) | 0x8000)

    def _write(self) -> bytes:
        brand = self.kind.encode()
        head = _box(b"ftyp", brand + bytes(4) + b"mif1" + brand)
        length = len(head) + len(self._meta(0))
        return head + self._meta(length + 8) + _box(b"mdat", b"".join(data for _, _, data in self._items))

    def _meta(self, start: int) -> bytes:
        """Return the tables. The data of the first item is at `start`."""
        entries, places = b"", b""
        for item, kind, data in self._items:
            entries += _box(b"infe", struct.pack(">IHH4sB", 2 << 24, item, 0, kind, 0))
            places += struct.pack(">HHHII", item, 0, 1, start, len(data))
            start += len(data)
        owned = b"".join(
            struct.pack(f">HB{len(numbers)}H", item, len(numbers), *numbers)
            for item, numbers in sorted(self._owned.items())
        )
        body = _box(b"hdlr", bytes(8) + b"pict" + bytes(13))
        body += _box(b"pitm", struct.pack(">IH", 0, COLOR))
        body += _box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(self._items)) + places)
        body += _box(b"iinf", struct.pack(">IH", 0, len(self._items)) + entries)
        if self._references:
            body += _box(b"iref", bytes(4) + self._references)
        associations = _box(b"ipma", struct.pack(">II", 1, len(self._owned)) + owned)
        body += _box(b"iprp", _box(b"ipco", b"".join(self._properties)) + associations)
        return _box(b"meta", bytes(4) + body)


def heic_that_claims(side: int, kind: str = "heic") -> bytes:
    """Return a HEIC of four tiles that claims to have `side` x `side` pixels."""
    black = np.zeros((128, 128, 3), np.uint8)
    return HeifFile(black, kind, 2, 2, claimed=(side, side), claimed_tile=(side // 2, side // 2)).to_bytes()


def encode(picture: Picture, kind: str) -> tuple[bytes, bytes]:
    """Return a picture as a decoder's configuration and the coded image."""
    if kind == "avif":  # OpenCV writes whole AVIF files
        [tile] = read_heif(encode_picture(picture, ".avif")).color.tiles
        return tile.configuration, tile.data
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        quiet = {"x265-params": "log-level=none:pools=none:info=0", "crf": "12"}
        stream = container.add_stream("libx265", rate=1, options=quiet)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.pts = packet.dts = 0  # the encoder leaves them unset
            container.mux(packet)
    buffer.seek(0)
    with av.open(buffer) as container:
        packet = next(container.demux(video=0))
        return bytes(packet.stream.codec_context.extradata or b""), bytes(packet)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body
