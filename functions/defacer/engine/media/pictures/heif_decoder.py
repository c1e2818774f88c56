"""Decode the picture of a HEIF file with FFmpeg. This runs native code on hostile input: see image_decoder.py."""

import struct
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from defacer.engine.media.pictures.heif import CodedPicture, Tile, read_heif
from defacer.engine.media.pictures.heif_tables import HeifError, Property

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Image

BLOCK = 64  # pixels; a codec pads an image to whole blocks


def decode_heif(data: bytes, alpha: bool) -> "Image":
    """Return the displayed picture as RGB uint8 (H, W, 3), or RGBA (H, W, 4).

    Raise HeifError or av.FFmpegError if it can't be decoded. Color profiles are ignored, as those of a JPEG are.
    """
    picture = read_heif(data)
    color = _decode(picture.color, "rgb24")
    if not alpha:
        return color
    height, width = color.shape[:2]
    opacity = _decode(picture.alpha, "gray") if picture.alpha else np.full((height, width), 255, np.uint8)
    if opacity.shape != (height, width):
        raise HeifError("its transparency has another size")
    return np.dstack([color, opacity])


def _decode(picture: CodedPicture, pixel_format: str) -> "Image":
    channels = (3,) if pixel_format == "rgb24" else ()
    image = np.zeros((picture.height, picture.width, *channels), np.uint8)
    for number, tile in enumerate(picture.tiles):
        row, column = divmod(number, picture.columns)
        top, left = row * picture.tile_height, column * picture.tile_width
        place = image[top : top + picture.tile_height, left : left + picture.tile_width]
        pixels = _decode_tile(tile, picture.tile_width, picture.tile_height, pixel_format)
        place[:] = pixels[: place.shape[0], : place.shape[1]]
    for change in picture.changes:
        image = _apply(change, image)
    return np.ascontiguousarray(image)


def _decode_tile(tile: Tile, width: int, height: int, pixel_format: str) -> "Image":
    """Return the pixels. FFmpeg refuses an image that is larger than the tile claims before it allocates memory."""
    context: VideoCodecContext = VideoCodecContext.create(tile.codec, "r")  # type: ignore[assignment]
    context.extradata = tile.configuration
    context.thread_count = 1
    context.options = {"max_pixels": str((width + BLOCK) * (height + BLOCK)), "err_detect": "explode"}
    frames = [*context.decode(av.Packet(tile.data)), *context.decode(None)]
    if len(frames) != 1 or (frames[0].width, frames[0].height) != (width, height):
        raise HeifError("a tile has another size than the file claims, or is not one image")
    return frames[0].to_ndarray(format=pixel_format).astype(np.uint8, copy=False)


def _apply(change: Property, image: "Image") -> "Image":
    if change.kind == b"irot":
        return np.rot90(image, change.data[0] & 3)
    if change.kind == b"imir":
        return np.flip(image, change.data[0] & 1)
    return _crop(change.data, image)


def _crop(data: bytes, image: "Image") -> "Image":
    """Return the clean aperture. `data` is its size and the offset of its centre (ISO/IEC 14496-12, 12.1.4)."""
    try:
        numbers = struct.unpack_from(">IIIIiIiI", data)
        width, height, right, down = (
            Fraction(numbers[at], numbers[at + 1]) for at in range(0, len(numbers), 2)
        )
    except (struct.error, ZeroDivisionError) as error:
        raise HeifError("its crop is damaged") from error
    left = round(right + Fraction(image.shape[1] - width, 2))
    top = round(down + Fraction(image.shape[0] - height, 2))
    bottom, right_side = top + round(height), left + round(width)
    if not (0 <= left < right_side <= image.shape[1] and 0 <= top < bottom <= image.shape[0]):
        raise HeifError("its crop is outside the picture")
    return image[top:bottom, left:right_side]
