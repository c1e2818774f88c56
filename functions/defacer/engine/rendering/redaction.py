"""Redaction styles: blur, pixelate, solid, image. They work on the stored planes of a frame (OpenCV).

Only the samples under the mask change; the rest of the frame keeps its exact values, in any pixel format
and bit depth, because no sample is converted to RGB and back. The mask is an ellipse larger than the face's box,
opaque over all of the face. Its soft edge is outside the face, in the box's corners and beyond. A box that a person
drew has a rectangle with hard edges as its mask, opaque over all of the box.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from defacer.engine.errors import PictureError, VideoError
from defacer.engine.media.orientation import Orientation, orientation_of
from defacer.report.compact_boxes import Box

Plane = npt.NDArray[Any]  # (rows, columns) or (rows, columns, 2) of uint8 or uint16

OPAQUE_SCALE = (
    1.3  # axes of the opaque ellipse, compared with the box's sides: it contains the face, not the corners
)
SOFT_SCALE = 1.2  # axes of the soft edge, compared with those of the opaque ellipse
# The detail of a face that remains at strength 1. With more detail, smooth faces still look like the original:
# tests/quality/irreversible.py measures it. Cells and blocks are counted over the whole mask, 1.56 times the face.
BLUR_CELLS = 2  # along each side
PIXELATE_BLOCKS = 7  # along the longer side: 4.5 for each face
SMOOTH_SIZE = 16  # a blur's cells are smoothed at this size, then enlarged
MASK_SIZE = 128
COARSE_SIDE = (
    24  # pixels: a region is first reduced by a whole factor to about this size, which is five times as fast
)
PICTURE_SIZES = (64, 128, 256, 512, 1024)  # sizes in which a replacement picture is cached


@dataclass(frozen=True, eq=False)  # compared by identity: a picture is converted once for each style
class Style:
    """How to redact. `color` is "#RRGGBB" (mode solid), and `picture` is RGBA uint8 (H, W, 4) (mode image)."""

    mode: str = "blur"
    strength: float = 1.0
    color: str = "#000000"
    picture: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Openings:
    """Where masks stay open: in `kept` boxes, but nowhere in `closed` boxes."""

    kept: Sequence[Box] = ()
    closed: Sequence[Box] = ()


def redact_boxes(
    frame: av.VideoFrame,
    boxes: Sequence[Box],
    style: Style,
    orientation: Orientation | None = None,
    openings: Openings = Openings(),
) -> None:
    """Redact each box (x1, y1, x2, y2 in displayed pixels) in `frame`, in place.

    All samples in the openings keep their values under any mask. Without `orientation`, the frame states its rotation,
    and its pixels are taken as square. A frame that was made writable does not state its rotation.

    Raises VideoError for a pixel format whose samples cannot be changed in place (convert such frames first).
    """
    if not boxes:
        return
    if style.mode == "image" and style.picture is None:
        raise PictureError("Mode image needs a replacement picture: add replacement.png to the channel.")
    orientation = orientation or orientation_of(frame)
    frame.make_writable()  # the decoder might still predict from this picture
    planes = _planes(frame, orientation)
    hidden, kept, closed = (
        [orientation.to_stored_box(box, frame.width, frame.height) for box in which]
        for which in (boxes, openings.kept, openings.closed)
    )
    for plane in planes:
        opened = [_save_opening(plane, box, closed) for box in kept]
        for stored in hidden:
            _redact_plane(plane, stored, style)
        for region, samples, is_open in opened:
            np.copyto(region, samples, where=is_open)


def redact_rectangles(
    frame: av.VideoFrame, boxes: Sequence[Box], style: Style, orientation: Orientation
) -> None:
    """Redact all of each box (x1, y1, x2, y2 in displayed pixels) in `frame`, in place. See `redact_boxes`.

    Only the part of a box inside the frame takes memory.
    """
    width, height = frame.width, frame.height
    stored = [orientation.to_stored_box(box, width, height) for box in boxes]
    inside = [(max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)) for x1, y1, x2, y2 in stored]
    inside = [box for box in inside if box[0] < box[2] and box[1] < box[3]]
    if not inside:
        return
    frame.make_writable()
    for plane in _planes(frame, orientation):
        for box in inside:
            _redact_plane(plane, box, style, is_rectangle=True)


@dataclass(frozen=True)
class _SampleFormat:
    """The meaning of a plane's samples."""

    channels: tuple[int, ...]  # which of Y, U, V (0, 1, 2) the components are
    depth: int
    matrix: int  # ITU-T H.273
    full_range: bool
    orientation: Orientation


@dataclass(frozen=True)
class _PlaneView:
    samples: Plane  # a view of the frame's memory
    scale_x: float
    scale_y: float
    form: _SampleFormat


@dataclass(frozen=True)
class _Region:
    """The part of a plane under a whole ellipse. `part` and `place` select its part inside the frame."""

    width: int
    height: int
    part: tuple[slice, slice]
    place: tuple[slice, slice]


@lru_cache(maxsize=16)
def can_redact(pixel_format: str) -> bool:
    """Return whether frames of this pixel format can be redacted in place."""
    form = av.VideoFormat(pixel_format, 16, 16)
    return (
        pixel_format.startswith(("yuv", "gray", "nv12", "p010le"))
        and not pixel_format.endswith("be")
        and not form.is_rgb
        and all(8 <= component.bits <= 16 for component in form.components)
        and not pixel_format.startswith(("yuyv", "yuva", "grayf"))
        and "msb" not in pixel_format
    )


def _planes(frame: av.VideoFrame, orientation: Orientation) -> list[_PlaneView]:
    form = frame.format
    if not can_redact(form.name):
        raise VideoError(
            f"its pixel format {form.name} cannot be processed. Convert the video to H.264 first."
        )
    views = []
    interleaved = form.name in ("nv12", "p010le")
    bits = form.components[0].bits
    dtype = np.dtype(np.uint8 if bits == 8 else "<u2")
    depth = 16 if form.name == "p010le" else bits
    for index, plane in enumerate(frame.planes):
        components = 2 if interleaved and index else 1
        rows = np.frombuffer(memoryview(plane), dtype)[: plane.height * plane.line_size // dtype.itemsize]
        rows = rows.reshape(plane.height, plane.line_size // dtype.itemsize)
        samples = rows[:, : plane.width * components]
        if components == 2:
            samples = samples.reshape(plane.height, plane.width, 2)
        channels = (1, 2) if components == 2 else (index,)
        views.append(
            _PlaneView(
                samples,
                plane.width / frame.width,
                plane.height / frame.height,
                _SampleFormat(
                    channels, depth, int(frame.colorspace), int(frame.color_range) == 2, orientation
                ),
            )
        )
    return views


def _redact_plane(view: _PlaneView, box: Box, style: Style, *, is_rectangle: bool = False) -> None:
    under = _region_under(view, box)
    if under is None:
        return
    region = view.samples[under.place]
    mask, rest = (
        whole[under.part]
        for whole in _mask_of_size(under.width, under.height, view.samples.dtype.str, is_rectangle)
    )
    if style.mode == "solid":
        color = _convert_color(style.color, view.form)
        hidden = np.broadcast_to(color.astype(region.dtype), (*region.shape[:2], len(color)))
        hidden = np.ascontiguousarray(hidden).reshape(region.shape)
    else:
        if style.mode == "pixelate":
            hidden = _pixelate(region, under, style, view.form.orientation)
        else:
            hidden = _blur(region, style)
        if style.mode == "image":
            hidden = _paste_picture(hidden, under, style, view.form, is_rectangle=is_rectangle)
    _blend(region, hidden, mask, rest)


def _save_opening(
    view: _PlaneView, kept: Box, closed: Sequence[Box]
) -> tuple[Plane, Plane, npt.NDArray[np.bool_]]:
    """Return the samples of a kept box, a copy of them, and which of them stay as they are.

    Samples partly outside the kept box or partly in a closed box do not stay.
    """
    x1, y1, x2, y2 = _scale_to_plane(view, kept)
    left, top = max(math.ceil(x1), 0), max(math.ceil(y1), 0)
    region = view.samples[top : max(math.floor(y2), top), left : max(math.floor(x2), left)]
    is_open = np.ones(region.shape, np.bool_)
    for box in closed:
        x1, y1, x2, y2 = _scale_to_plane(view, box)
        rows = slice(max(math.floor(y1) - top, 0), max(math.ceil(y2) - top, 0))
        columns = slice(max(math.floor(x1) - left, 0), max(math.ceil(x2) - left, 0))
        is_open[rows, columns] = False
    return region, region.copy(), is_open


def _scale_to_plane(view: _PlaneView, box: Box) -> Box:
    return (box[0] * view.scale_x, box[1] * view.scale_y, box[2] * view.scale_x, box[3] * view.scale_y)


def _region_under(view: _PlaneView, box: Box) -> _Region | None:
    """Return the region under the ellipse of the box, or None if it is outside the frame."""
    rows, columns = view.samples.shape[:2]
    center_x = (box[0] + box[2]) / 2 * view.scale_x
    center_y = (box[1] + box[3]) / 2 * view.scale_y
    half_width = max((box[2] - box[0]) * view.scale_x, 1.0) / 2 * OPAQUE_SCALE * SOFT_SCALE
    half_height = max((box[3] - box[1]) * view.scale_y, 1.0) / 2 * OPAQUE_SCALE * SOFT_SCALE
    left, right = round(center_x - half_width), round(center_x + half_width)
    top, bottom = round(center_y - half_height), round(center_y + half_height)
    right, bottom = max(right, left + 2), max(bottom, top + 2)
    inside_left, inside_right = max(left, 0), min(right, columns)
    inside_top, inside_bottom = max(top, 0), min(bottom, rows)
    if inside_left >= inside_right or inside_top >= inside_bottom:
        return None
    return _Region(
        right - left,
        bottom - top,
        np.s_[inside_top - top : inside_bottom - top, inside_left - left : inside_right - left],
        np.s_[inside_top:inside_bottom, inside_left:inside_right],
    )


@lru_cache(maxsize=2)  # both chroma planes use the same mask
def _mask_of_size(width: int, height: int, dtype: str, is_rectangle: bool) -> tuple[Plane, Plane]:
    """Return the opacity (height, width), from 0 to the type's largest value, and its complement."""
    if is_rectangle:
        mask: Plane = np.zeros((height, width), dtype)
        mask[_opaque_part(height), _opaque_part(width)] = np.iinfo(dtype).max
    else:
        mask = cv2.resize(_unit_mask(dtype), (width, height), interpolation=cv2.INTER_LINEAR)
    return mask, cv2.bitwise_not(mask)


def _opaque_part(size: int) -> slice:
    """Return the part of a side of a rectangle's region that the box takes, with a pixel for rounding at both ends."""
    margin = size * (1 - 1 / (OPAQUE_SCALE * SOFT_SCALE)) / 2
    return slice(max(math.floor(margin) - 1, 0), min(math.ceil(size - margin) + 1, size))


@lru_cache(maxsize=2)
def _unit_mask(dtype: str) -> Plane:
    """Return the opacity (MASK_SIZE, MASK_SIZE): full in the opaque ellipse, and 0 outside the soft edge."""
    axis = (np.arange(MASK_SIZE, dtype=np.float32) + 0.5) / MASK_SIZE * 2 - 1
    radius = np.hypot(axis[None], axis[:, None])
    fall = np.clip((1 - radius) / (1 - 1 / SOFT_SCALE), 0, 1)
    return np.rint(fall * np.iinfo(dtype).max).astype(dtype)


def _blend(region: Plane, hidden: Plane, mask: Plane, rest: Plane) -> None:
    """Blend `hidden` over `region`. The result is exact where the mask is full or empty, else within 1 level."""
    if region.ndim == 3:
        mask, rest = cv2.merge([mask, mask]), cv2.merge([rest, rest])
    scale = 1 / float(np.iinfo(mask.dtype).max)
    blended = cv2.multiply(region, rest, scale=scale)
    cv2.add(blended, cv2.multiply(hidden, mask, scale=scale), dst=blended)
    np.copyto(region, blended.reshape(region.shape))


def _average_cells(region: Plane, across: int, down: int) -> Plane:
    """Return the means of `across` x `down` cells: no mode keeps more of the original."""
    rows, columns = region.shape[:2]
    step = min(rows, columns) // COARSE_SIDE
    if step > 1:
        rows, columns = rows // step, columns // step
        region = region[: rows * step, : columns * step]
        region = cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA)
    return cv2.resize(region, (min(across, columns), min(down, rows)), interpolation=cv2.INTER_AREA)


def _blur(region: Plane, style: Style) -> Plane:
    """Return the smoothed colors of a few cells. At a higher strength they differ less."""
    cells = _average_cells(region, BLUR_CELLS, BLUR_CELLS)
    if style.strength != 1:
        mean = cells.mean(axis=(0, 1))
        cells = np.rint(mean + (cells - mean) / style.strength).astype(region.dtype)
    smooth = cv2.resize(cells, (SMOOTH_SIZE, SMOOTH_SIZE), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.blur(smooth, (5, 5), borderType=cv2.BORDER_REPLICATE)
    return _enlarge(smooth, region, cv2.INTER_LINEAR)


def _pixelate(region: Plane, under: _Region, style: Style, orientation: Orientation) -> Plane:
    """Return blocks that are square as displayed."""
    rows, columns = region.shape[:2]
    wide, high = orientation.pixel_width, orientation.pixel_height
    block = max(under.width * wide, under.height * high) / PIXELATE_BLOCKS * style.strength
    cells = _average_cells(region, max(1, round(columns * wide / block)), max(1, round(rows * high / block)))
    return _enlarge(cells, region, cv2.INTER_NEAREST)


def _enlarge(small: Plane, region: Plane, how: int) -> Plane:
    rows, columns = region.shape[:2]
    return cv2.resize(small, (columns, rows), interpolation=how).reshape(region.shape)


def _paste_picture(
    underlay: Plane, under: _Region, style: Style, form: _SampleFormat, *, is_rectangle: bool
) -> Plane:
    """Return the picture over the blurred `underlay`, which shows where the picture is transparent.

    The picture fills the whole ellipse, or exactly the rectangle.
    """
    size = next((size for size in PICTURE_SIZES if size >= max(under.width, under.height)), PICTURE_SIZES[-1])
    rows, columns = (
        _opaque_part(side) if is_rectangle else slice(0, side) for side in (under.height, under.width)
    )
    borders = (rows.start, under.height - rows.stop, columns.start, under.width - columns.stop)
    sides = (columns.stop - columns.start, rows.stop - rows.start)
    colors, opacity = (
        cv2.copyMakeBorder(
            cv2.resize(plane, sides, interpolation=cv2.INTER_LINEAR), *borders, cv2.BORDER_REPLICATE
        )[under.part]
        for plane in _convert_picture(style, form, size, underlay.dtype.str)
    )
    result = underlay.copy()
    _blend(result, colors.reshape(underlay.shape), opacity, cv2.bitwise_not(opacity))
    return result


@lru_cache(maxsize=16)
def _convert_picture(style: Style, form: _SampleFormat, size: int, dtype: str) -> tuple[Plane, Plane]:
    """Return the picture's components and opacity in the frame's format, with a longer side of `size` at most."""
    assert style.picture is not None  # noqa: S101
    picture = form.orientation.to_stored_image(style.picture)
    rows, columns = picture.shape[:2]
    share = min(1.0, size / max(rows, columns))
    small = (max(1, round(columns * share)), max(1, round(rows * share)))
    samples = cv2.resize(picture, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    colors = np.rint(_to_yuv(samples[..., :3], form)).astype(dtype)
    opacity = np.rint(samples[..., 3] / 255 * np.iinfo(dtype).max).astype(dtype)
    return (colors[..., 0] if len(form.channels) == 1 else colors), opacity


@lru_cache(maxsize=8)
def _convert_color(color: str, form: _SampleFormat) -> npt.NDArray[np.float32]:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
    return np.rint(_to_yuv(rgb, form)).astype(np.float32)


def _to_yuv(rgb: npt.NDArray[np.float32], form: _SampleFormat) -> npt.NDArray[np.float32]:
    """Convert RGB 0..255 (..., 3) to a plane's components, by the frame's matrix and range (ITU-T H.273)."""
    red_weight, blue_weight = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}.get(
        form.matrix, (0.299, 0.114)
    )
    red, green, blue = rgb[..., 0] / 255, rgb[..., 1] / 255, rgb[..., 2] / 255
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    blue_difference = (blue - luma) / (2 * (1 - blue_weight))
    red_difference = (red - luma) / (2 * (1 - red_weight))
    unit = float(1 << (form.depth - 8))
    if form.full_range:
        planes = (luma * 255, blue_difference * 255 + 128, red_difference * 255 + 128)
    else:
        planes = (luma * 219 + 16, blue_difference * 224 + 128, red_difference * 224 + 128)
    # In full range, a difference of 0.5 is one level above the largest sample.
    largest = float((1 << form.depth) - 1)
    chosen = [np.clip(planes[channel] * unit, 0, largest) for channel in form.channels]
    return np.stack(chosen, axis=-1).astype(np.float32)
