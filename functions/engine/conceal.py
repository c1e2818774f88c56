"""The ways to hide a face: blur, pixelate, solid, image. Works on the stored planes of a frame (OpenCV).

Only the samples under the mask change; the rest of the frame keeps its exact values, whatever its pixel format
and bit depth, because nothing is converted to RGB and back. The mask is an ellipse larger than the face's box,
opaque over all of the face; its soft edge lies outside it, in the box's corners and beyond.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from functions.engine.errors import PictureError, VideoError

Box = tuple[float, float, float, float]
Plane = npt.NDArray[Any]  # (rows, columns, components) of uint8 or uint16, a view of the frame's memory

OPAQUE = 1.3  # the opaque ellipse's axes over the box's sides: the box's corners stay outside, all of the face inside
SOFT = 1.2  # the soft edge ends here, over the opaque ellipse
BLUR_CELLS = 4  # samples across a face that a blur leaves at strength 1
PIXELATE_BLOCKS = 7  # blocks across a face at strength 1
MASK_SIZE = 128


@dataclass(frozen=True)
class Style:
    """How to hide. `color` is "#RRGGBB" (solid); `picture` is RGBA uint8 (H, W, 4) (image)."""

    mode: str = "blur"
    strength: float = 1.0
    color: str = "#000000"
    picture: npt.NDArray[np.uint8] | None = None


def conceal(frame: av.VideoFrame, boxes: Sequence[Box], style: Style) -> None:
    """Hide each box (x1, y1, x2, y2 in displayed pixels) in `frame`, in place.

    Raises VideoError for a pixel format whose samples can't be reached (convert such frames first).
    """
    if not boxes:
        return
    frame.make_writable()  # the decoder may still predict from this picture
    planes = _planes(frame)
    for box in boxes:
        stored = _to_stored(box, frame.width, frame.height, int(frame.rotation))
        for plane in planes:
            _conceal_plane(plane, stored, style, frame)


@dataclass(frozen=True)
class _PlaneView:
    samples: Plane
    channels: tuple[int, ...]  # which of Y, U, V (0, 1, 2) the components are
    scale_x: Fraction
    scale_y: Fraction
    depth: int


def can_conceal(pixel_format: str) -> bool:
    """Whether frames of this pixel format can be concealed as they are stored."""
    form = av.VideoFormat(pixel_format, 16, 16)
    return (
        pixel_format.startswith(("yuv", "gray", "nv12", "p010le"))
        and not pixel_format.endswith("be")
        and not form.is_rgb
        and all(8 <= component.bits <= 16 for component in form.components)
        and not pixel_format.startswith(("yuyv", "yuva", "grayf"))
        and "msb" not in pixel_format
    )


def _planes(frame: av.VideoFrame) -> list[_PlaneView]:
    form = frame.format
    if not can_conceal(form.name):
        raise VideoError(f"its pixel format {form.name} can't be worked on. Convert it to yuv420p.")
    views = []
    interleaved = form.name in ("nv12", "p010le")
    for index, plane in enumerate(frame.planes):
        depth = form.components[0].bits
        dtype = np.dtype(np.uint8 if depth == 8 else "<u2")
        components = 2 if interleaved and index else 1
        rows = np.frombuffer(memoryview(plane), dtype)[: plane.height * plane.line_size // dtype.itemsize]
        rows = rows.reshape(plane.height, plane.line_size // dtype.itemsize)
        samples = rows[:, : plane.width * components].reshape(plane.height, plane.width, components)
        channels = (1, 2) if components == 2 else (index,)
        views.append(
            _PlaneView(
                samples,
                channels,
                Fraction(plane.width, frame.width),
                Fraction(plane.height, frame.height),
                16 if form.name == "p010le" else depth,
            )
        )
    return views


def _to_stored(box: Box, width: int, height: int, rotation: int) -> Box:
    """From displayed to stored pixels: a player turns the stored picture counter-clockwise by `rotation`."""
    x1, y1, x2, y2 = box
    return {
        0: (x1, y1, x2, y2),
        90: (width - y2, x1, width - y1, x2),
        180: (width - x2, height - y2, width - x1, height - y1),
        270: (y1, height - x2, y2, height - x1),
    }[rotation % 360]


def _conceal_plane(view: _PlaneView, box: Box, style: Style, frame: av.VideoFrame) -> None:
    rows, columns = view.samples.shape[:2]
    center_x = (box[0] + box[2]) / 2 * float(view.scale_x)
    center_y = (box[1] + box[3]) / 2 * float(view.scale_y)
    width = max((box[2] - box[0]) * float(view.scale_x), 1.0)
    height = max((box[3] - box[1]) * float(view.scale_y), 1.0)
    # The region under the whole ellipse; parts of it may lie outside the frame.
    left, right = (round(center_x + sign * width / 2 * OPAQUE * SOFT) for sign in (-1, 1))
    top, bottom = (round(center_y + sign * height / 2 * OPAQUE * SOFT) for sign in (-1, 1))
    right, bottom = max(right, left + 2), max(bottom, top + 2)
    inside_left, inside_right = max(left, 0), min(right, columns)
    inside_top, inside_bottom = max(top, 0), min(bottom, rows)
    if inside_left >= inside_right or inside_top >= inside_bottom:
        return
    part = np.s_[inside_top - top : inside_bottom - top, inside_left - left : inside_right - left]
    mask = cv2.resize(_mask(), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)[part][..., None]
    region = view.samples[inside_top:inside_bottom, inside_left:inside_right]
    hidden = _hidden(region, (width, height), style)
    if style.mode == "solid":
        hidden = np.broadcast_to(_yuv_color(style.color, view, frame), region.shape).astype(np.float32)
    elif style.mode == "image":
        hidden = _with_picture(hidden, (right - left, bottom - top), part, style, view, frame)
    blended = region + (hidden - region) * mask
    np.copyto(region, np.rint(blended), casting="unsafe")


@lru_cache(maxsize=1)
def _mask() -> npt.NDArray[np.float32]:
    """Opacity (MASK_SIZE, MASK_SIZE): 1 inside the opaque ellipse, falling to 0 at the soft edge's end."""
    axis = (np.arange(MASK_SIZE, dtype=np.float32) + 0.5) / MASK_SIZE * 2 - 1
    radius = np.hypot(axis[None], axis[:, None])
    fall = (1 - radius) / (1 - 1 / SOFT)
    return np.clip(fall, 0, 1).astype(np.float32)


def _hidden(region: Plane, face: tuple[float, float], style: Style) -> npt.NDArray[np.float32]:
    """The region reduced to few samples a face: all that any mode keeps of the original."""
    rows, columns = region.shape[:2]
    across = PIXELATE_BLOCKS if style.mode == "pixelate" else BLUR_CELLS
    cell = max(face[0], face[1]) / (across / style.strength)
    size = (max(1, round(columns / cell)), max(1, round(rows / cell)))
    small = cv2.resize(region, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    how = cv2.INTER_NEAREST if style.mode == "pixelate" else cv2.INTER_CUBIC
    large = cv2.resize(small, (columns, rows), interpolation=how)
    peak = float(np.iinfo(region.dtype).max)
    return np.clip(large, 0, peak).reshape(region.shape).astype(np.float32)


def _with_picture(
    underlay: npt.NDArray[np.float32],
    size: tuple[int, int],
    part: tuple[slice, slice],
    style: Style,
    view: _PlaneView,
    frame: av.VideoFrame,
) -> npt.NDArray[np.float32]:
    """The replacement picture over a blurred underlay: where it is transparent, the blur shows, not the face."""
    if style.picture is None:
        raise PictureError("mode image needs a replacement picture: add replacement.png to the channel.")
    turned = np.rot90(style.picture, k=-(int(frame.rotation) // 90))
    picture = cv2.resize(np.ascontiguousarray(turned), size, interpolation=cv2.INTER_AREA)[part]
    opacity = picture[..., 3:].astype(np.float32) / 255
    colors = _to_yuv(picture[..., :3].astype(np.float32), view, frame)
    return (underlay + (colors - underlay) * opacity).astype(np.float32)


def _yuv_color(color: str, view: _PlaneView, frame: av.VideoFrame) -> npt.NDArray[np.float32]:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
    return _to_yuv(rgb, view, frame)


def _to_yuv(rgb: npt.NDArray[np.float32], view: _PlaneView, frame: av.VideoFrame) -> npt.NDArray[np.float32]:
    """RGB 0..255 (..., 3) to this plane's components, by the frame's matrix and range (ITU-T H.273)."""
    red_weight, blue_weight = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}.get(
        int(frame.colorspace), (0.299, 0.114)
    )
    red, green, blue = rgb[..., 0] / 255, rgb[..., 1] / 255, rgb[..., 2] / 255
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    blue_difference = (blue - luma) / (2 * (1 - blue_weight))
    red_difference = (red - luma) / (2 * (1 - red_weight))
    full = int(frame.color_range) == 2
    unit = float(1 << (view.depth - 8))
    if full:
        planes = (luma * 255, blue_difference * 255 + 128, red_difference * 255 + 128)
    else:
        planes = (luma * 219 + 16, blue_difference * 224 + 128, red_difference * 224 + 128)
    return np.stack([planes[channel] * unit for channel in view.channels], axis=-1).astype(np.float32)
