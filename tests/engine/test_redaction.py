"""Tests of the redaction styles: in every pixel format and rotation, only pixels under the mask change."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.engine.errors import PictureError, VideoError
from defacer.engine.media.orientation import Orientation, orientation_of
from defacer.engine.media.reader import read_frames
from defacer.engine.rendering.redaction import (
    OPAQUE_SCALE,
    SOFT_SCALE,
    Openings,
    Style,
    can_redact,
    redact_boxes,
)
from defacer.report.compact_boxes import Box
from tests.clips import astronaut

SIZE = 300
FACE: Box = (102, 68, 190, 187)
MODES = ["blur", "pixelate", "solid", "image"]
RED_DOT = np.zeros((64, 64, 4), np.uint8)
RED_DOT[..., 0] = 255
RED_DOT[16:48, 16:48, 3] = 255


def frame_of(picture: np.ndarray, pixel_format: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)


def style(mode: str, strength: float = 1.0) -> Style:
    return Style(mode, strength, color="#ff0000", picture=RED_DOT)


def luma(frame: av.VideoFrame) -> np.ndarray:
    return frame.reformat(format="gray").to_ndarray()


def outside(box: Box) -> np.ndarray:
    """Return the pixels that no mask over `box` changes, with one pixel of tolerance."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    half = [(box[side + 2] - box[side]) / 2 * OPAQUE_SCALE * SOFT_SCALE + 2 for side in (0, 1)]
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return ((columns - x) / half[0]) ** 2 + ((rows - y) / half[1]) ** 2 > 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "yuv420p10le"])
def test_face_is_redacted_and_other_pixels_are_unchanged(mode: str, pixel_format: str) -> None:
    frame = frame_of(astronaut(), pixel_format)
    before = luma(frame)
    redact_boxes(frame, [FACE], style(mode))
    after = luma(frame)
    assert frame.format.name == pixel_format
    x1, y1, x2, y2 = (int(side) for side in FACE)
    inside = np.s_[y1:y2, x1:x2]
    detail = [cv2.Laplacian(image[inside].astype(np.float32), cv2.CV_32F) for image in (before, after)]
    likeness = np.corrcoef(detail[0].ravel(), detail[1].ravel())[0, 1]
    assert not likeness > 0.35  # a flat color has no detail at all: NaN
    # Chroma cells reach one pixel farther than the mask.
    untouched = cv2.erode(outside(FACE).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert (before[untouched] == after[untouched]).all()


@pytest.mark.parametrize("mode", MODES)
def test_centre_of_the_mask_does_not_depend_on_its_pixels(mode: str) -> None:
    """Fine detail (a checkerboard) under the mask leaves no trace, because only its mean could."""
    board = np.full((SIZE, SIZE, 3), 128, np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 255
    flat = np.full((SIZE, SIZE, 3), round(float(board.mean())), np.uint8)
    results = []
    for picture in (board, flat):
        frame = frame_of(picture, "yuv444p")
        redact_boxes(frame, [FACE], style(mode))
        results.append(luma(frame)[100:155, 120:172].astype(int))
    assert np.abs(results[0] - results[1]).max() <= 3


def test_pixelate_has_at_most_eight_blocks_across_a_face_of_any_size() -> None:
    ramp = np.repeat(np.linspace(0, 255, SIZE).astype(np.uint8)[None, :, None], SIZE, 0).repeat(3, 2)
    for half in (12, 40, 90):
        frame = frame_of(ramp, "yuv444p")
        box = (150.0 - half, 150.0 - half, 150.0 + half, 150.0 + half)
        redact_boxes(frame, [box], style("pixelate"))
        across = luma(frame)[150, 150 - half : 150 + half].astype(int)
        assert 2 <= np.count_nonzero(np.diff(across)) + 1 <= 8


def stored(frame: av.VideoFrame) -> list[np.ndarray]:
    """Return a copy of each plane's samples without padding: (rows, columns)."""
    dtype = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else "<u2")
    planes = []
    for index, plane in enumerate(frame.planes):
        components = 2 if index and frame.format.name in ("nv12", "p010le") else 1
        rows = np.frombuffer(bytes(plane), dtype).reshape(plane.height, -1)
        planes.append(rows[:, : plane.width * components])
    return planes


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p16le", "nv12", "p010le", "yuv420p10le", "gray"])
def test_outside_the_mask_every_sample_keeps_its_value(mode: str, pixel_format: str) -> None:
    """The largest values are the first to change where numbers are rounded."""
    noise = np.random.default_rng(0).choice(np.array([0, 128, 255], np.uint8), (SIZE, SIZE, 3))
    frame = frame_of(noise, pixel_format)
    before = stored(frame)
    redact_boxes(frame, [FACE], style(mode))
    for old, new in zip(before, stored(frame), strict=True):
        near = cv2.dilate((~outside(FACE)).astype(np.uint8), np.ones((5, 5), np.uint8))
        near = cv2.resize(near, (old.shape[1], old.shape[0]), interpolation=cv2.INTER_AREA)
        assert (old[near == 0] == new[near == 0]).all()
        assert (old != new).any()
        bits = 16 if pixel_format == "p010le" else frame.format.components[0].bits
        assert new.max() < 1 << bits


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "p010le"])
@pytest.mark.parametrize("box", [FACE, (20.0, 30.0, 27.0, 38.0), (5.0, 60.0, 290.0, 291.0)])
def test_mask_is_opaque_over_the_whole_face(pixel_format: str, box: Box) -> None:
    """The opaque ellipse is a tenth larger than the one that fills the box."""
    noise = np.random.default_rng(1).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    frame = frame_of(noise, pixel_format)
    redact_boxes(frame, [box], Style("solid", color="#ffffff"))
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    half = [(box[side + 2] - box[side]) / 2 * 1.1 for side in (0, 1)]
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    face = ((columns - x) / half[0]) ** 2 + ((rows - y) / half[1]) ** 2 <= 1
    assert len(np.unique(stored(frame)[0][face])) == 1


@pytest.mark.parametrize("mode", ["blur", "pixelate"])
def test_remaining_detail_does_not_grow_with_the_size_of_a_face(mode: str) -> None:
    """A redacted picture of twice the size equals the enlarged redacted picture."""
    small = frame_of(astronaut(), "yuv444p")
    double = frame_of(cv2.resize(astronaut(), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST), "yuv444p")
    redact_boxes(small, [FACE], style(mode))
    redact_boxes(double, [(FACE[0] * 2, FACE[1] * 2, FACE[2] * 2, FACE[3] * 2)], style(mode))
    halved = cv2.resize(luma(double), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    inside = np.s_[85:170, 115:177]
    assert (
        np.median(np.abs(halved[inside].astype(int) - luma(small)[inside])) <= 4
    )  # cells' edges are rounded


def test_blur_keeps_at_most_four_colors() -> None:
    """Only the means of the mask's quarters remain: two pictures with the same means have the same result."""
    quarters = np.random.default_rng(2).integers(60, 180, (2, 2), np.uint8)
    flat = quarters.repeat(150, 0).repeat(150, 1)[..., None].repeat(3, 2)
    wave = np.indices((SIZE, SIZE)).sum(0) // 2 % 2 * 60 - 30  # diagonal stripes, half of them bright
    striped = (flat.astype(int) + wave[..., None]).astype(np.uint8)
    results = []
    for picture in (flat, striped):
        frame = frame_of(picture, "yuv444p")
        redact_boxes(frame, [(100.0, 90.0, 200.0, 210.0)], style("blur"))
        results.append(luma(frame)[105:195, 112:188].astype(int))  # the box's corners are in the soft edge
    assert np.abs(results[0] - results[1]).max() <= 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(37, 53), (641, 359), (16, 16)])
def test_tiny_faces_in_frames_of_odd_sizes_are_redacted(mode: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (size[1], size[0], 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format="yuv444p")
    before = luma(frame)
    redact_boxes(frame, [(5.3, 4.2, 6.1, 5.5), (9.0, 8.0, 17.5, 19.5), (-3.0, -3.0, 0.5, 0.5)], style(mode))
    assert (frame.width, frame.height) == size
    assert (before[9:16, 10:16] != luma(frame)[9:16, 10:16]).mean() > 0.8


def test_strength_makes_blur_coarser() -> None:
    detail = []
    for strength in (1.0, 3.0):
        frame = frame_of(astronaut())
        redact_boxes(frame, [FACE], style("blur", strength))
        detail.append(float(luma(frame)[75:180, 110:182].std()))
    assert detail[1] < detail[0]


def test_solid_and_image_have_the_requested_color() -> None:
    for mode in ("solid", "image"):
        frame = frame_of(astronaut(), "yuv444p")
        redact_boxes(frame, [FACE], style(mode))
        red, green, blue = frame.to_ndarray(format="rgb24")[128, 146].astype(int)
        assert red > 240
        assert max(green, blue) < 15


def test_face_is_blurred_where_the_picture_is_transparent() -> None:
    clear = Style("image", picture=np.zeros((8, 8, 4), np.uint8))
    with_picture, with_blur = frame_of(astronaut()), frame_of(astronaut())
    redact_boxes(with_picture, [FACE], clear)
    redact_boxes(with_blur, [FACE], Style("blur"))
    assert (luma(with_picture) == luma(with_blur)).all()


def test_boxes_beyond_the_frames_edge_are_redacted_up_to_the_edge() -> None:
    frame = frame_of(astronaut())
    redact_boxes(frame, [(-60, -60, 40, 40), (280, 280, 400, 400), (900, 900, 950, 950)], style("solid"))
    assert luma(frame)[0, 0] == luma(frame)[299, 299] == luma(frame)[10, 10]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_boxes_are_those_of_the_displayed_frame(rotation: int, mirrored: bool, tmp_path: Path) -> None:
    """A player rotates the frame, but its stored samples are redacted."""
    stored_picture = np.zeros((192, 320, 3), np.uint8)
    stored_picture[20:60, 30:70] = 255
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height = 320, 192
        stream.set_display_rotation(rotation, hflip=mirrored)
        container.mux(stream.encode(frame_of(stored_picture)))
        container.mux(stream.encode(None))
    (frame,) = read_frames(str(path))
    assert luma(frame).max() > 200
    rows, columns = np.nonzero(orientation_of(frame).to_displayed(stored_picture)[..., 0])
    redact_boxes(
        frame,
        [(columns.min() - 8, rows.min() - 8, columns.max() + 8, rows.max() + 8)],
        Style("solid", color="#000000"),
    )
    assert luma(frame).max() < 30


def test_pixel_format_that_cannot_be_changed_in_place_is_refused() -> None:
    assert not can_redact("rgb24")
    assert not can_redact("yuv420p10be")
    with pytest.raises(VideoError, match="pixel format rgb24 cannot be processed"):
        redact_boxes(av.VideoFrame.from_ndarray(astronaut(), format="rgb24"), [FACE], Style())


def test_mode_image_without_a_picture_is_refused() -> None:
    with pytest.raises(PictureError, match="replacement"):
        redact_boxes(frame_of(astronaut()), [FACE], Style("image"))


ORIENTATIONS = [Orientation(), Orientation(0, 1, -1, 0), Orientation(-1, 0, 0, 1), Orientation(0, 1, 1, 0)]
KEPT, CLOSED = [(151, 41, 251, 121), (10, 10, 41, 41)], [FACE, (221, 61, 400, 90)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "nv12", "p010le", "yuv420p10le", "gray"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_openings_keep_their_samples_and_other_samples_are_masked(
    mode: str, pixel_format: str, orientation: Orientation
) -> None:
    noise = np.random.default_rng(4).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    source, closed, opened = (frame_of(noise, pixel_format) for _ in range(3))
    boxes = [FACE, (200.0, 50.0, 300.0, 110.0)]
    redact_boxes(closed, boxes, style(mode), orientation)
    redact_boxes(opened, boxes, style(mode), orientation, Openings(KEPT, CLOSED))
    is_open = np.zeros((SIZE, SIZE), np.uint8)
    for value, group in ((1, KEPT), (0, CLOSED)):
        for x1, y1, x2, y2 in group:
            is_open[y1:y2, x1:x2] = value
    is_open = orientation.to_stored_image(is_open)
    for before, masked, after in zip(*map(stored, (source, closed, opened)), strict=True):
        rows = before.shape[0]
        columns = before.shape[1] // (2 if pixel_format in ("nv12", "p010le") and rows < SIZE else 1)
        whole = is_open.reshape(rows, SIZE // rows, columns, SIZE // columns).min(axis=(1, 3)) > 0
        whole = whole.repeat(before.shape[1] // columns, axis=1)
        assert (after[whole] == before[whole]).all()
        assert (after[~whole] == masked[~whole]).all()
        assert (masked[whole] != before[whole]).any()
