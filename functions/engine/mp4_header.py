"""Does the header of an MP4 or MOV tell the truth about itself? (ISO/IEC 14496-12)

It says how long the video is in three places, beside the index that lists every sample, and how large the picture is,
beside the picture itself. FFmpeg believes the index and the picture; a player may believe another place and show
another part of the file. So a file whose header contradicts itself is refused.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, cast

import numpy as np

from functions.engine.boxes import Box, is_mp4, walk
from functions.engine.errors import VideoError

INTO = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl")
MOST_BOXES = 1_000  # before and in the index
MOST_TABLE_BYTES = 64 * 1024 * 1024
# Writers round, count a last frame in one place and not in another, and leave a track that ends sooner.
LOOSE_SECONDS, LOOSE_SHARE = 1.0, 0.05
UNKNOWN = (0, 2**32 - 1, 2**64 - 1)
# Their sample entries give the picture's size; older formats were written with others.
SIZED = (b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp09", b"mp4v")
LOOSE_PIXELS = 16  # a block: what is cut off at the edges is not always told


@dataclass
class _Track:
    """What is said of one track, in seconds; None: nothing. `shown` is what its edit list shows of it."""

    kind: bytes = b""
    scale: int = 0
    media: float | None = None
    presented: int | None = None
    edits: tuple[tuple[int, bool], ...] = ()  # units of the movie, and whether they show something
    held: int | None = None
    size: tuple[int, int] | None = None


@dataclass
class Mp4Header:
    """What the header says: the movie's length in units of `scale`, and of each track what it says of itself."""

    scale: int = 0
    length: int | None = None
    is_fragmented: bool = False
    tracks: list[_Track] = field(default_factory=list)

    def require_true(self) -> None:
        """Raise VideoError if its lengths contradict each other. A fragmented file's header knows no length."""
        if self.is_fragmented:
            return
        for track in self.tracks:
            if track.kind not in (b"vide", b"soun") or not track.scale or track.held is None:
                continue
            held = track.held / track.scale
            _require_near("track", track.media, held)
            for units, shows in track.edits:
                if shows and (units / (self.scale or 1)) > held + LOOSE_SECONDS + LOOSE_SHARE * held:
                    raise _lie("track", units / (self.scale or 1), held)
            # An edit of no length goes on to the end, however long that is.
            edited = sum(units for units, _ in track.edits) if all(units for units, _ in track.edits) else 0
            _require_near("track", self._seconds(track.presented), self._seconds(edited) or held)
        lengths = [self._seconds(track.presented) for track in self.tracks]
        if lengths and None not in lengths:
            _require_near("movie", self._seconds(self.length), max(cast("list[float]", lengths)))

    def require_size(self, width: int, height: int) -> None:
        """Raise VideoError if it gives the picture, `width` x `height` as stored, another size."""
        sizes = [track.size for track in self.tracks if track.kind == b"vide" and track.size]
        if sizes and not any(
            abs(size[0] - width) < LOOSE_PIXELS and abs(size[1] - height) < LOOSE_PIXELS for size in sizes
        ):
            wide, high = sizes[0]
            raise VideoError(
                f"its header gives the picture {wide}x{high}, it is {width}x{height}. Export the video again."
            )

    def _seconds(self, units: int | None) -> float | None:
        return None if units is None or not self.scale else units / self.scale


def read_header(source: str | BinaryIO) -> Mp4Header | None:
    """What the file's header says; None for a file of another kind, or without a header."""
    with _opened(source) as file:
        if not is_mp4(file):
            return None
        header, in_movie = Mp4Header(), False
        for box in islice(walk(file, INTO), MOST_BOXES):
            if in_movie and box.path[0] != b"moov":
                break
            in_movie = box.path[0] == b"moov"
            if in_movie:
                _take(header, box, file)
        return header if header.tracks else None


@contextmanager
def _opened(source: str | BinaryIO) -> Iterator[BinaryIO]:
    with open(source, "rb") if isinstance(source, str) else nullcontext(source) as file:
        yield file


def _take(header: Mp4Header, box: Box, file: BinaryIO) -> None:
    if box.kind == b"trak":
        header.tracks.append(_Track())
    elif box.kind == b"mvex":
        header.is_fragmented = True
    elif box.kind == b"mvhd":
        header.scale, header.length = _scale_and_length(box, file)
    elif header.tracks:
        _take_of_track(header.tracks[-1], box, file)


def _take_of_track(track: _Track, box: Box, file: BinaryIO) -> None:
    if box.path[-2:] == (b"trak", b"tkhd"):
        data = box.body(file, 40)
        wide = data[:1] == b"\x01"
        track.presented = _known(_number(data, 28 if wide else 20, wide))
    elif box.kind == b"elst":
        track.edits = tuple(_edits(box.body(file, MOST_TABLE_BYTES)))
    elif box.kind == b"mdhd":
        track.scale, length = _scale_and_length(box, file)
        track.media = length / track.scale if length is not None and track.scale else None
    elif box.path[-2:] == (b"mdia", b"hdlr"):
        track.kind = box.head[8:12]
    elif box.kind == b"stts" and box.end - box.start <= MOST_TABLE_BYTES:
        table = box.body(file, MOST_TABLE_BYTES)[8:]
        pairs = np.frombuffer(table[: len(table) // 8 * 8], ">u4").reshape(-1, 2).astype(np.uint64)
        track.held = int((pairs[:, 0] * pairs[:, 1]).sum()) or None
    elif box.kind == b"stsd":
        entry = box.body(file, 8 + 36)[8:]
        if entry[4:8] in SIZED and len(entry) >= 36:
            track.size = struct.unpack_from(">HH", entry, 32)


def _scale_and_length(box: Box, file: BinaryIO) -> tuple[int, int | None]:
    """Of "mvhd" and "mdhd", which begin alike."""
    data = box.body(file, 32)
    wide = data[:1] == b"\x01"
    return _number(data, 20 if wide else 12, False), _known(_number(data, 24 if wide else 16, wide))


def _edits(data: bytes) -> Iterator[tuple[int, bool]]:
    size = 8 if data[:1] == b"\x01" else 4
    for place in range(8, len(data) - 2 * size - 3, 2 * size + 4):
        yield _number(data, place, size == 8), data[place + size] < 0x80  # -1: nothing is shown


def _number(data: bytes, place: int, wide: bool) -> int:
    size = 8 if wide else 4
    return int.from_bytes(data[place : place + size], "big")


def _known(units: int) -> int | None:
    return None if units in UNKNOWN else units


def _require_near(what: str, told: float | None, true: float | None) -> None:
    if told is not None and true is not None and abs(told - true) > LOOSE_SECONDS + LOOSE_SHARE * true:
        raise _lie(what, told, true)


def _lie(what: str, told: float, true: float) -> VideoError:
    return VideoError(
        f"its header says that a {what} lasts {told:.1f} s, its index that it lasts {true:.1f} s. "
        "Export the video again."
    )
