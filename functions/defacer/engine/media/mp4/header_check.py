"""Refuse an MP4 or MOV whose header contradicts itself (ISO/IEC 14496-12).

A header states the length of the video in several places, in addition to the index that lists every sample. It also
states the size of the picture, which the picture itself has too. FFmpeg uses the index and the picture. A player can
use another place, and then it shows another part of the file.

Only large contradictions count, because cameras and editors write inexact lengths. The length of a track can be that of
all its samples, or of those that an edit list shows. It can be in units of the movie, or of the track.
"""

import struct
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

import numpy as np

from defacer.engine.errors import VideoError
from defacer.engine.media.mp4.boxes import Mp4Box, is_mp4, open_binary, walk_boxes

CONTAINERS = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl")
MAX_BOXES = 10_000  # before and in the index
MAX_TABLE_BYTES = 16 * 1024 * 1024  # a longer table is not read
MAX_EDIT_BYTES = 1024 * 1024
TOLERANCE_SECONDS, TOLERANCE_FACTOR = 2.0, 1.5
TOLERANCE_PIXELS = 64  # a block: some files do not state the crop at the edges
UNKNOWN = (0, 2**32 - 1, 2**64 - 1)
# Codecs whose sample entries state the size of the picture. Older formats were written with other entries.
SIZED_CODECS = (b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp09", b"mp4v")


@dataclass
class Mp4Track:
    """The lengths that the header states for one track.

    `media_duration` ("mdhd") and `samples_duration` ("stts") are in units of `timescale`. `track_duration` ("tkhd") and
    `edits` are in units of the movie. `edits` are the lengths of all edits, of those that show something, and of the
    longest one of these. `is_unusual`: its length can differ from the sum of its samples.
    `sample_entry` names the codec, and `sample_entries` is their number: parts of a track can have other headers.
    """

    kind: bytes = b""
    timescale: int = 0
    media_duration: int | None = None
    track_duration: int | None = None
    edits: tuple[int, int, int] = (0, 0, 0)
    samples_duration: int | None = None
    is_unusual: bool = False
    size: tuple[int, int] | None = None
    sample_entry: str = ""
    sample_entries: int = 0


@dataclass
class Mp4Header:
    """The length of the movie, in units of `timescale`, and its tracks."""

    timescale: int = 0
    duration: int | None = None
    is_fragmented: bool = False
    tracks: list[Mp4Track] = field(default_factory=list)

    def require_consistent_durations(self) -> None:
        """Raise VideoError if a stated length contradicts the index. A fragmented file has no length to check."""
        tracks = [track for track in self.tracks if track.kind in (b"vide", b"soun")]
        if self.is_fragmented or not self.timescale or any(track.is_unusual for track in tracks):
            return
        possible_of_movie: list[float] = []
        for track in tracks:
            if not track.timescale or track.samples_duration is None:
                return
            samples = track.samples_duration / track.timescale
            whole, shown, longest = (units / self.timescale for units in track.edits)
            possible = [samples, whole, shown, samples + whole - shown]
            _require_near("track", _to_seconds(track.media_duration, track.timescale), possible)
            # Some writers state the track's length in the units of the track.
            if not _is_near(_to_seconds(track.track_duration, track.timescale), possible):
                _require_near("track", _to_seconds(track.track_duration, self.timescale), possible)
            if longest > samples and not _is_near(longest, [samples]):
                raise _contradiction("track", longest, samples)
            possible_of_movie += possible
        if possible_of_movie:
            _require_near("movie", _to_seconds(self.duration, self.timescale), possible_of_movie)

    def require_picture_size(self, width: int, height: int) -> None:
        """Raise VideoError if the header states a very different size from the stored picture's."""
        sizes = [track.size for track in self.tracks if track.kind == b"vide" and track.size]
        if sizes and not any(
            _is_near_size(size[0], width) and _is_near_size(size[1], height) for size in sizes
        ):
            stated_width, stated_height = sizes[0]
            raise VideoError(
                f"its header states a picture of {stated_width}x{stated_height}, it is {width}x{height}. "
                "Export the video again."
            )


def read_header(source: str | BinaryIO) -> Mp4Header | None:
    """Return the header of an MP4 or MOV; None for other files, and for a file without a header.

    Raises VideoError for a header that continues after the end of the file.
    """
    with open_binary(source) as file:
        if not is_mp4(file):
            return None
        header, is_in_movie = Mp4Header(), False
        for box in islice(walk_boxes(file, CONTAINERS), MAX_BOXES):
            if is_in_movie and box.path[0] != b"moov":
                break
            is_in_movie = box.path[0] == b"moov"
            if is_in_movie and not box.is_whole:
                raise VideoError(
                    "it is cut off: the end of its index is missing. Copy or export the video again."
                )
            if is_in_movie:
                _read_movie_box(header, box, file)
        return header if header.tracks else None


def _read_movie_box(header: Mp4Header, box: Mp4Box, file: BinaryIO) -> None:
    if box.kind == b"trak":
        header.tracks.append(Mp4Track())
    elif box.kind == b"mvex":
        header.is_fragmented = True
    elif box.kind == b"mvhd":
        header.timescale, header.duration = _read_timescale_and_duration(box, file)
    elif header.tracks:
        _read_track_box(header.tracks[-1], box, file)


def _read_track_box(track: Mp4Track, box: Mp4Box, file: BinaryIO) -> None:
    if box.path[-2:] == (b"trak", b"tkhd"):
        data = box.read_body(file, 40)
        is_wide = data[:1] == b"\x01"
        track.track_duration = _none_if_unknown(_read_number(data, 28 if is_wide else 20, is_wide))
    elif box.kind == b"elst":
        _read_edits(track, box.read_body(file, MAX_EDIT_BYTES))
    elif box.kind == b"mdhd":
        track.timescale, track.media_duration = _read_timescale_and_duration(box, file)
    elif box.path[-2:] == (b"mdia", b"hdlr"):
        track.kind = box.head[8:12]
    elif box.kind == b"stts" and box.end - box.start <= MAX_TABLE_BYTES:
        data = box.read_body(file, MAX_TABLE_BYTES)[8:]
        pairs = np.frombuffer(data[: len(data) // 8 * 8], ">u4").reshape(-1, 2).astype(np.uint64)
        track.samples_duration = int((pairs[:, 0] * pairs[:, 1]).sum()) or None
        # A negative time is an error that every reader tolerates.
        track.is_unusual |= bool((pairs[:, 1] >= 2**31).any())
    elif box.kind == b"stsd":
        entry = box.read_body(file, 8 + 36)[8:]
        track.sample_entry = entry[4:8].decode("latin1")
        track.sample_entries = _read_number(box.head, 4, False)
        size = struct.unpack_from(">HH", entry, 32) if len(entry) >= 36 else (0, 0)
        track.size = size if entry[4:8] in SIZED_CODECS and all(size) else None


def _read_edits(track: Mp4Track, data: bytes) -> None:
    """Read an edit list.

    An edit without a length lasts to the end. An edit at another speed lasts longer or shorter than its samples.
    """
    is_wide = data[:1] == b"\x01"
    length, start = (">u8", ">i8") if is_wide else (">u4", ">i4")
    entry = np.dtype([("length", length), ("start", start), ("rate", ">u4")])
    edits = np.frombuffer(data[8 : 8 + (len(data) - 8) // entry.itemsize * entry.itemsize], entry)
    lengths, is_shown = edits["length"].astype(np.uint64), edits["start"] >= 0
    shown = lengths[is_shown]
    track.edits = (int(lengths.sum()), int(shown.sum()), int(shown.max(initial=0)))
    track.is_unusual |= bool((lengths == 0).any() or (edits["rate"] != 0x10000).any())


def _read_timescale_and_duration(box: Mp4Box, file: BinaryIO) -> tuple[int, int | None]:
    """Read them from "mvhd" or "mdhd", which begin in the same way."""
    data = box.read_body(file, 32)
    is_wide = data[:1] == b"\x01"
    timescale = _read_number(data, 20 if is_wide else 12, False)
    return timescale, _none_if_unknown(_read_number(data, 24 if is_wide else 16, is_wide))


def _read_number(data: bytes, offset: int, is_wide: bool) -> int:
    size = 8 if is_wide else 4
    return int.from_bytes(data[offset : offset + size], "big")


def _none_if_unknown(units: int) -> int | None:
    return None if units in UNKNOWN else units


def _to_seconds(units: int | None, timescale: int) -> float | None:
    return None if units is None else units / timescale


def _is_near_size(stated: int, actual: int) -> bool:
    if abs(stated - actual) <= TOLERANCE_PIXELS:
        return True
    return actual / TOLERANCE_FACTOR <= stated <= actual * TOLERANCE_FACTOR


def _is_near(stated: float | None, possible: list[float]) -> bool:
    return stated is None or any(
        one / TOLERANCE_FACTOR - TOLERANCE_SECONDS <= stated <= one * TOLERANCE_FACTOR + TOLERANCE_SECONDS
        for one in possible
        if one
    )


def _require_near(what: str, stated: float | None, possible: list[float]) -> None:
    if stated is not None and not _is_near(stated, possible):
        raise _contradiction(what, stated, possible[0])


def _contradiction(what: str, stated: float, actual: float) -> VideoError:
    return VideoError(
        f"its header says that a {what} lasts {stated:.1f} s, its index that it lasts {actual:.1f} s. "
        "Export the video again."
    )
