"""Pictures in: JPEG and PNG. How large one is is read in its header, and only then is it decoded.

A few kilobytes may claim any size, and a decoder makes room for what is claimed.
"""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from functions.engine.errors import PictureError

if TYPE_CHECKING:
    from functions.engine.detect import Image

MOST_PIXELS = 100_000_000  # 0.3 GB decoded
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"
# Markers of a JPEG (ITU-T T.81, table B.1): those without a length, and those that give the size.
ALONE = {0x01, *range(0xD0, 0xD9)}
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def require_size(data: bytes, label: str, most_pixels: int = MOST_PIXELS) -> None:
    """Raise PictureError that names the picture if it is no JPEG or PNG, or claims more pixels; decodes nothing."""
    width, height = _png_size(data) or _jpeg_size(data) or (0, 0)
    if not width or not height:
        raise PictureError(f"{label} is not a picture that can be read. Use a JPEG or PNG file.")
    if width * height > most_pixels:
        raise PictureError(
            f"{label} has {width}x{height} pixels, at most {most_pixels} are allowed. Use a smaller picture."
        )


def decode_picture(data: bytes, label: str, alpha: bool = False) -> "Image":
    """A JPEG or PNG as RGB uint8 (H, W, 3), or RGBA (H, W, 4). Raises PictureError that names it."""
    require_size(data, label)
    flags = cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_COLOR
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # damaged in a way that OpenCV raises for
        image = None
    if image is None:
        raise PictureError(f"{label} is not a picture that can be read. Use a JPEG or PNG file.")
    if not alpha:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    if image.dtype != np.uint8:
        image = (image // 257).astype(np.uint8)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    conversion = cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGBA
    return cv2.cvtColor(image, conversion).astype(np.uint8, copy=False)


def _png_size(data: bytes) -> tuple[int, int] | None:
    """From the chunk IHDR, which must be the first and only one (https://www.w3.org/TR/png-3/#11IHDR).

    No chunk may claim to be longer than the file: OpenCV makes room for what it claims.
    """
    if not data.startswith(PNG) or data[12:16] != b"IHDR" or len(data) < 24:
        return None
    position = len(PNG)
    while position + 8 <= len(data):
        if data[position + 4 : position + 8] == b"IHDR" and position > len(PNG):
            return None
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    if position > len(data):
        return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """From the first frame header (ITU-T T.81, B.2.2)."""
    if not data.startswith(JPEG):
        return None
    position = len(JPEG)
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in ALONE:  # a fill byte, or a marker that stands alone
            position += 1 if marker == 0xFF else 2
            continue
        if marker in FRAMES:
            height, width = data[position + 5 : position + 7], data[position + 7 : position + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        position += 2 + max(int.from_bytes(data[position + 2 : position + 4], "big"), 2)
    return None
