"""Read the crop of a picture in a Matroska or WebM file (RFC 9559), which FFmpeg does not apply."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from defacer.engine.media.mp4.boxes import open_binary

EBML, SEGMENT, CLUSTER, TRACKS, TRACK = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE
VIDEO, LEFT, TOP, RIGHT, BOTTOM = 0xE0, 0x54CC, 0x54BB, 0x54DD, 0x54AA
MAX_TRACKS_BYTES = 1024 * 1024
MAX_ELEMENTS = 1000  # before the tracks


@dataclass(frozen=True)
class Crop:
    """Pixels that a player does not show, at each side of the stored picture."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


def read_crop(source: str | BinaryIO, number: int) -> Crop:
    """Return the crop of the picture track with this number, counted from 0. Other files than Matroska have none."""
    with open_binary(source) as file:
        file.seek(0)
        if int.from_bytes(file.read(4), "big") != EBML:
            return Crop()
        pictures = [sides for sides in map(_crop_of_track, _read_tracks(file)) if sides is not None]
    return pictures[number] if number < len(pictures) else Crop()


def _read_tracks(file: BinaryIO) -> list[bytes]:
    """Return the body of each track. Muxers write the tracks before the first cluster."""
    file.seek(0)
    for _ in range(MAX_ELEMENTS):
        start = file.tell()
        head = file.read(12)
        element = _parse_head(head, 0)
        if element is None or element.kind == CLUSTER:
            break
        file.seek(start + element.start)
        if element.kind == TRACKS:
            body = file.read(min(element.size or 0, MAX_TRACKS_BYTES))
            return [data for kind, data in _elements(body) if kind == TRACK]
        if element.kind != SEGMENT:
            if element.size is None:
                break
            file.seek(element.size, 1)
    return []


def _crop_of_track(track: bytes) -> Crop | None:
    """Return the crop of a track; None if it has no picture."""
    picture = dict(_elements(track)).get(VIDEO)
    if picture is None:
        return None
    sides = dict(_elements(picture))
    return Crop(*(int.from_bytes(sides.get(side, b""), "big") for side in (LEFT, TOP, RIGHT, BOTTOM)))


@dataclass(frozen=True)
class _Head:
    """The beginning of an element. `start` is where its body begins, and `size` is None if it is not known yet."""

    kind: int
    start: int
    size: int | None


def _parse_head(data: bytes, offset: int) -> _Head | None:
    """Return the head of the element at `offset`; None if none can begin there."""
    if len(data) < offset + 2 or not data[offset]:
        return None
    kind_length = 9 - data[offset].bit_length()
    size_at = offset + kind_length
    if len(data) <= size_at or not data[size_at]:
        return None
    size_length = 9 - data[size_at].bit_length()
    start = size_at + size_length
    limit = 1 << (7 * size_length)
    size = int.from_bytes(data[size_at:start], "big") & (limit - 1)
    return _Head(int.from_bytes(data[offset:size_at], "big"), start, None if size == limit - 1 else size)


def _elements(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the body of each element."""
    offset = 0
    while (head := _parse_head(body, offset)) is not None and head.size is not None:
        offset = head.start + head.size
        yield head.kind, body[head.start : offset]
