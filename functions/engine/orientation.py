"""How a player turns and mirrors the stored picture: FFmpeg's display matrix (libavutil/display.h)."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import SideData

from functions.engine.errors import VideoError

Box = tuple[float, float, float, float]
Matrix = tuple[int, ...]  # nine numbers, row by row, of which the first two columns are in 65536ths
UPRIGHT: Matrix = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


@dataclass(frozen=True)
class Orientation:
    """Displayed x is `a` times stored x and `c` times stored y, displayed y is `b` x and `d` y; each -1, 0 or 1."""

    a: int = 1
    b: int = 0
    c: int = 0
    d: int = 1

    @property
    def is_turned(self) -> bool:
        """Whether width and height change places."""
        return not self.a

    def displayed_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as shown, of those as stored; the way back is the same."""
        return (height, width) if self.is_turned else (width, height)

    def displayed(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A stored image (H, W, ...) as a player shows it."""
        if self.is_turned:
            image = image.swapaxes(0, 1)
        across, down = (self.c, self.b) if self.is_turned else (self.a, self.d)
        return np.ascontiguousarray(image[::down, ::across])

    def stored(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The opposite of `displayed`."""
        across, down = (self.c, self.b) if self.is_turned else (self.a, self.d)
        image = image[::down, ::across]
        return np.ascontiguousarray(image.swapaxes(0, 1) if self.is_turned else image)

    def to_stored(self, box: Box, width: int, height: int) -> Box:
        """A displayed box in a stored picture of `width` x `height`."""
        x1, y1, x2, y2 = box
        shown_width, shown_height = self.displayed_size(width, height)
        across, down = (self.c, self.b) if self.is_turned else (self.a, self.d)
        if across < 0:
            x1, x2 = shown_width - x2, shown_width - x1
        if down < 0:
            y1, y2 = shown_height - y2, shown_height - y1
        return (y1, x1, y2, x2) if self.is_turned else (x1, y1, x2, y2)


def matrix_of(frame: av.VideoFrame) -> Matrix:
    """The frame's display matrix as the file has it; upright if there is none.

    Once for a stream, not for each frame: PyAV ties a knot between a frame and its side data, so that it stays in
    memory. And not for a frame that was made writable: PyAV would read freed memory.
    """
    for data in cast(Iterable[SideData], frame.side_data):
        if data.type.name == "DISPLAYMATRIX":
            return struct.unpack("<9i", bytes(data)[:36])
    return UPRIGHT


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """How the frame is shown. Raises VideoError for any but right angles."""
    matrix = matrix_of(frame)
    a, b, c, d = (int(np.sign(matrix[place])) for place in (0, 1, 3, 4))
    if (bool(a), bool(b)) != (bool(d), bool(c)) or bool(a) == bool(b):
        raise VideoError("its picture is turned by an odd angle. Export it upright.")
    return Orientation(a, b, c, d)
