"""Does the header of an MP4 or MOV tell the truth about itself? (ISO/IEC 14496-12)

It says how long the video is in several places, beside the index that lists every sample, and how large the picture
is, beside the picture itself. FFmpeg believes the index and the picture; a player may believe another place, and show
another part of the file. So a header that contradicts itself is refused.

Only far contradictions count: cameras and editors are loose with what they write. A track's length may be that of all
its samples or of those that an edit list shows, in the movie's units or in its own.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

import numpy as np

from defacer.engine.errors import VideoError
from defacer.engine.media.mp4.boxes import Box, is_mp4, walk

INTO = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl")
MAX_BOXES = 10_000  # before and in the index
MAX_TABLE_BYTES = 16 * 1024 * 1024  # a longer one is not looked at
MAX_EDIT_BYTES = 1024 * 1024
LOOSE_SECONDS, LOOSE_FACTOR = 2.0, 1.5
UNKNOWN = (0, 2**32 - 1, 2**64 - 1)
# Their sample entries give the picture's size; older formats were written with others.
SIZED = (b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp09", b"mp4v")
LOOSE_PIXELS = 64  # a block: what is cut off at the edges is not always told


@dataclass
class _Track:
    """What is said of one track; lengths in units of its `scale`, but `presented` and `edits` in the movie's.

    `edits` are the lengths of all edits together, of those that show something, and of the longest of these. `is_odd`:
    it has what makes its length another one than the sum of its samples.
    """

    kind: bytes = b""
    scale: int = 0
    media: int | None = None
    presented: int | None = None
    edits: tuple[int, int, int] = (0, 0, 0)
    held: int | None = None
    is_odd: bool = False
    size: tuple[int, int] | None = None


@dataclass
class Mp4Header:
    """What the header says: the movie's length in units of `scale`, and of each track what it says of itself."""

    scale: int = 0
    length: int | None = None
    is_fragmented: bool = False
    tracks: list[_Track] = field(default_factory=list)

    def require_true(self) -> None:
        """Raise VideoError if its lengths contradict the index. A fragmented file's header knows no length."""
        tracks = [track for track in self.tracks if track.kind in (b"vide", b"soun")]
        if self.is_fragmented or not self.scale or any(track.is_odd for track in tracks):
            return
        all_true: list[float] = []
        for track in tracks:
            if not track.scale or track.held is None:
                return
            held, (whole, shown, longest) = track.held / track.scale, (n / self.scale for n in track.edits)
            true = [held, whole, shown, held + whole - shown]
            _require_near("track", _seconds(track.media, track.scale), true)
            if not _is_near(
                _seconds(track.presented, track.scale), true
            ):  # some write it in the track's own units
                _require_near("track", _seconds(track.presented, self.scale), true)
            if longest > held and not _is_near(longest, [held]):
                raise _lie("track", longest, held)
            all_true += true
        if all_true:
            _require_near("movie", _seconds(self.length, self.scale), all_true)

    def require_size(self, width: int, height: int) -> None:
        """Raise VideoError if it gives the picture, `width` x `height` as stored, quite another size."""
        sizes = [track.size for track in self.tracks if track.kind == b"vide" and track.size]
        if sizes and not any(_is_about(size[0], width) and _is_about(size[1], height) for size in sizes):
            wide, high = sizes[0]
            raise VideoError(
                f"its header gives the picture {wide}x{high}, it is {width}x{height}. Export the video again."
            )


def read_header(source: str | BinaryIO) -> Mp4Header | None:
    """What the file's header says; None for a file of another kind, or without a header.

    Raises VideoError for one that goes on beyond the end of the file.
    """
    with _opened(source) as file:
        if not is_mp4(file):
            return None
        header, in_movie = Mp4Header(), False
        for box in islice(walk(file, INTO), MAX_BOXES):
            if in_movie and box.path[0] != b"moov":
                break
            in_movie = box.path[0] == b"moov"
            if in_movie and not box.is_whole:
                raise VideoError(
                    "it is cut off: the end of its index is missing. Copy or export the video again."
                )
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
        _take_edits(track, box.body(file, MAX_EDIT_BYTES))
    elif box.kind == b"mdhd":
        track.scale, track.media = _scale_and_length(box, file)
    elif box.path[-2:] == (b"mdia", b"hdlr"):
        track.kind = box.head[8:12]
    elif box.kind == b"stts" and box.end - box.start <= MAX_TABLE_BYTES:
        data = box.body(file, MAX_TABLE_BYTES)[8:]
        pairs = np.frombuffer(data[: len(data) // 8 * 8], ">u4").reshape(-1, 2).astype(np.uint64)
        track.held = int((pairs[:, 0] * pairs[:, 1]).sum()) or None
        track.is_odd |= bool((pairs[:, 1] >= 2**31).any())  # a negative time: broken, and read by all
    elif box.kind == b"stsd":
        entry = box.body(file, 8 + 36)[8:]
        size = struct.unpack_from(">HH", entry, 32) if len(entry) >= 36 else (0, 0)
        track.size = size if entry[4:8] in SIZED and all(size) else None


def _take_edits(track: _Track, data: bytes) -> None:
    """An edit without a length goes on to the end, and one at another speed is longer or shorter than what it shows."""
    wide = data[:1] == b"\x01"
    entry = np.dtype(
        [("length", ">u8"), ("start", ">i8"), ("rate", ">u4")]
        if wide
        else [("length", ">u4"), ("start", ">i4"), ("rate", ">u4")]
    )
    edits = np.frombuffer(data[8 : 8 + (len(data) - 8) // entry.itemsize * entry.itemsize], entry)
    lengths, shows = edits["length"].astype(np.uint64), edits["start"] >= 0
    shown = lengths[shows]
    track.edits = (int(lengths.sum()), int(shown.sum()), int(shown.max(initial=0)))
    track.is_odd |= bool((lengths == 0).any() or (edits["rate"] != 0x10000).any())


def _scale_and_length(box: Box, file: BinaryIO) -> tuple[int, int | None]:
    """Of "mvhd" and "mdhd", which begin alike."""
    data = box.body(file, 32)
    wide = data[:1] == b"\x01"
    return _number(data, 20 if wide else 12, False), _known(_number(data, 24 if wide else 16, wide))


def _number(data: bytes, place: int, wide: bool) -> int:
    size = 8 if wide else 4
    return int.from_bytes(data[place : place + size], "big")


def _known(units: int) -> int | None:
    return None if units in UNKNOWN else units


def _seconds(units: int | None, scale: int) -> float | None:
    return None if units is None else units / scale


def _is_about(told: int, true: int) -> bool:
    return abs(told - true) <= LOOSE_PIXELS or true / LOOSE_FACTOR <= told <= true * LOOSE_FACTOR


def _is_near(told: float | None, true: list[float]) -> bool:
    return told is None or any(
        one / LOOSE_FACTOR - LOOSE_SECONDS <= told <= one * LOOSE_FACTOR + LOOSE_SECONDS
        for one in true
        if one
    )


def _require_near(what: str, told: float | None, true: list[float]) -> None:
    if told is not None and not _is_near(told, true):
        raise _lie(what, told, true[0])


def _lie(what: str, told: float, true: float) -> VideoError:
    return VideoError(
        f"its header says that a {what} lasts {told:.1f} s, its index that it lasts {true:.1f} s. "
        "Export the video again."
    )
