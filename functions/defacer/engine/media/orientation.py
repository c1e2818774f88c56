"""Convert between the stored and the displayed picture: rotation, mirroring, and pixels that are not square.

The detector and the recognizer work on the displayed picture, which has square pixels. They fail on a squeezed face.
"""

import struct
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
import numpy.typing as npt

from defacer.engine.errors import VideoError
from defacer.engine.media.display.side_data import DISPLAY_MATRIX, side_data_of

Box = tuple[float, float, float, float]
Matrix = tuple[int, ...]  # FFmpeg's display matrix: nine numbers by row, the first two columns in 65536ths
UPRIGHT: Matrix = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
MIN_STRETCH = 1.03  # a smaller one comes from rounding an aspect ratio, and a face looks the same
MAX_STRETCH = 4.0  # beyond every real format


@dataclass(frozen=True)
class Orientation:
    """Displayed x is `a` times stored x plus `c` times stored y, displayed y is `b` x plus `d` y. Each is -1, 0 or 1.

    A stored pixel is displayed `pixel_width` wide and `pixel_height` high. One of them is 1, so the displayed picture
    has at least as many pixels as the stored one.
    """

    a: int = 1
    b: int = 0
    c: int = 0
    d: int = 1
    pixel_width: float = 1.0
    pixel_height: float = 1.0

    @property
    def is_transposed(self) -> bool:
        """Return whether width and height are swapped."""
        return not self.a

    def displayed_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the displayed width and height, in square pixels, of a stored picture."""
        width, height = self._stretched_size(width, height)
        return (height, width) if self.is_transposed else (width, height)

    def _stretched_size(self, width: int, height: int) -> tuple[int, int]:
        return round(width * self.pixel_width), round(height * self.pixel_height)

    def relative_to(self, other: "Orientation") -> "Orientation":
        """Return how to turn a stored picture of this orientation into one of the other orientation."""
        return Orientation(
            other.a * self.a + other.b * self.b,
            other.c * self.a + other.d * self.b,
            other.a * self.c + other.b * self.d,
            other.c * self.c + other.d * self.d,
        )

    def to_displayed(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return a stored image (H, W, ...) as a player displays it."""
        size = self._stretched_size(image.shape[1], image.shape[0])
        if size != image.shape[1::-1]:
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        if self.is_transposed:
            image = image.swapaxes(0, 1)
        across, down = (self.c, self.b) if self.is_transposed else (self.a, self.d)
        return np.ascontiguousarray(image[::down, ::across])

    def to_stored_image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return a displayed image with the rotation and mirroring of the stored picture. It is not scaled."""
        across, down = (self.c, self.b) if self.is_transposed else (self.a, self.d)
        image = image[::down, ::across]
        return np.ascontiguousarray(image.swapaxes(0, 1) if self.is_transposed else image)

    def to_stored_box(self, box: Box, width: int, height: int) -> Box:
        """Return a displayed box in pixels of the stored picture of `width` x `height`."""
        x1, y1, x2, y2 = box
        shown_width, shown_height = self.displayed_size(width, height)
        across, down = (self.c, self.b) if self.is_transposed else (self.a, self.d)
        if across < 0:
            x1, x2 = shown_width - x2, shown_width - x1
        if down < 0:
            y1, y2 = shown_height - y2, shown_height - y1
        if self.is_transposed:
            x1, y1, x2, y2 = y1, x1, y2, x2
        wide, high = self._stretched_size(width, height)
        per_x, per_y = width / wide, height / high
        return (x1 * per_x, y1 * per_y, x2 * per_x, y2 * per_y)


def matrix_from(side_data: dict[str, bytes]) -> Matrix:
    """Return the display matrix in the side data of a frame; UPRIGHT if it has none."""
    data = side_data.get(DISPLAY_MATRIX)
    return UPRIGHT if data is None else struct.unpack("<9i", data[:36])


def orientation_from(matrix: Matrix, pixel_shape: Fraction | None = None) -> Orientation:
    """Return how a picture is displayed. `pixel_shape` is the width of a stored pixel over its height (None: square).

    Raises VideoError unless the rotation is a multiple of 90 degrees.
    """
    a, b, c, d = (int(np.sign(matrix[place])) for place in (0, 1, 3, 4))
    if (bool(a), bool(b)) != (bool(d), bool(c)) or bool(a) == bool(b):
        raise VideoError("its picture is not turned by a multiple of 90 degrees. Export the video upright.")
    return Orientation(a, b, c, d, *_pixel_sides(float(pixel_shape or 1)))


def orientation_of(frame: av.VideoFrame, pixel_shape: Fraction | None = None) -> Orientation:
    """Return how the frame is displayed. See `side_data_of` for the limits of a frame's side data."""
    return orientation_from(matrix_of(frame), pixel_shape)


def matrix_of(frame: av.VideoFrame) -> Matrix:
    """Return the display matrix of the frame; UPRIGHT if it has none. See `side_data_of`."""
    return matrix_from(side_data_of(frame))


def _pixel_sides(shape: float) -> tuple[float, float]:
    """Return the displayed width and height of a stored pixel. The shorter side is 1."""
    stretch = min(max(shape, 1 / shape), MAX_STRETCH)
    if stretch < MIN_STRETCH:
        return 1.0, 1.0
    return (stretch, 1.0) if shape > 1 else (1.0, stretch)
