"""Find out from the index of an MP4 or MOV whether all of its frames have times of their own."""

from collections.abc import Callable
from itertools import islice
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from defacer.engine.media.mp4.boxes import Mp4Box, is_mp4, open_binary, walk_boxes

CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
MAX_BOXES = 10_000
MAX_TABLE_BYTES = 64 * 1024 * 1024
MAX_FRAMES = 10_000_000
PICTURE = b"vide"


class _Track:
    """The tables of one track: durations ("stts"), offsets to presentation times ("ctts"), and key frames ("stss")."""

    def __init__(self) -> None:
        self.kind = b""
        self.tables: dict[bytes, NDArray[np.int64]] = {}

    def read(self, box: Mp4Box, file: BinaryIO) -> None:
        if box.path[-2:] == (b"mdia", b"hdlr"):
            self.kind = box.head[8:12]
        elif box.kind in (b"stts", b"ctts", b"stss"):
            columns = 1 if box.kind == b"stss" else 2
            data = box.read_body(file, MAX_TABLE_BYTES)[8:]
            rows = len(data) // (4 * columns)
            table = np.frombuffer(data[: rows * 4 * columns], ">i4").reshape(rows, columns)
            self.tables[box.kind] = table.astype(np.int64)

    def has_plain_times(self, can_reorder: Callable[[], bool]) -> bool:
        """Return whether the first frame is a key frame and is displayed first, and all frames have different times.

        Without offsets the times are those of decoding, so the codec must not reorder frames.
        """
        durations = _expand(self.tables.get(b"stts"))
        offsets = _expand(self.tables.get(b"ctts"))
        keys = self.tables.get(b"stss")
        if (
            durations is None
            or not len(durations)
            or (keys is not None and (not len(keys) or keys[0, 0] != 1))
        ):
            return False
        times = np.concatenate([[0], np.cumsum(durations)[:-1]])
        if b"ctts" not in self.tables:
            return not can_reorder() and bool((durations[:-1] > 0).all())
        if offsets is None or len(offsets) != len(times):
            return False
        times = times + offsets
        return len(np.unique(times)) == len(times) and int(times.min()) == int(times[0])


def has_plain_times(source: str | BinaryIO, can_reorder: Callable[[], bool]) -> bool:
    """Return whether this is a whole MP4 or MOV, not in fragments, whose frames all have times of their own.

    `can_reorder` returns whether the codec displays frames in another order than it decodes them.
    """
    with open_binary(source) as file:
        if not is_mp4(file):
            return False
        tracks: list[_Track] = []
        for box in islice(walk_boxes(file, CONTAINERS), MAX_BOXES):
            if not box.is_whole or box.kind in (b"mvex", b"moof"):
                return False
            if box.kind == b"trak":
                tracks.append(_Track())
            elif tracks and box.path[0] == b"moov":
                tracks[-1].read(box, file)
        pictures = [track for track in tracks if track.kind == PICTURE]
        return bool(pictures) and all(track.has_plain_times(can_reorder) for track in pictures)


def _expand(table: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return one value for each frame of a table of counts and values."""
    if table is None or int(table[:, 0].sum()) > MAX_FRAMES or (table[:, 0] < 0).any():
        return None
    return np.repeat(table[:, 1], table[:, 0])
