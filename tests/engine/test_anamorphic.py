"""Test videos whose pixels are not square: faces are detected, recognized and hidden as displayed."""

from collections.abc import Iterator
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from defacer.engine.engine import Engine
from defacer.engine.media.orientation import MAX_STRETCH, Orientation, orientation_of
from defacer.engine.media.reader import Segment
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Gallery
from defacer.engine.rendering.preview import render_preview_frame
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.engine.rendering.redaction import Style, redact_boxes
from defacer.engine.tracking.linking import link_faces
from defacer.report.faces import Faces
from tests.engine.conftest import DEMO_SIZE

SQUARE = ((640, 360), Fraction(1))
HALF_WIDTH = ((320, 360), Fraction(2))  # half D1, 1080N, half of a side-by-side 3D picture
HALF_HEIGHT = ((640, 180), Fraction(1, 2))  # 2CIF
WIDE_DV = ((480, 360), Fraction(4, 3))
FRAMES = 20


def write_squeezed(source: Path, path: Path, size: tuple[int, int], shape: Fraction, turned: int = 0) -> Path:
    """Write the first frames of a clip with another stored size, displayed as the clip is."""
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height = size[::-1] if turned else size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = 1 / shape if turned else shape
        if turned:
            stream.set_display_rotation(turned)
        for number, frame in zip(range(FRAMES), given.decode(video=0), strict=False):
            picture = cv2.resize(frame.to_ndarray(format="rgb24"), size, interpolation=cv2.INTER_AREA)
            image = np.ascontiguousarray(np.rot90(picture, -turned // 90)).astype(np.uint8)
            made = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            made.pts, made.time_base = number, Fraction(1, 30)
            out.mux(stream.encode(made))
        out.mux(stream.encode(None))
    return path


def faces_of(engine: Engine, path: Path, gallery: Gallery) -> Faces:
    return link_faces([engine.detect_segment(Segment(str(path)), gallery, Options())], gallery, Options())


def displayed(path: Path | str, orientation: Orientation) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield orientation.to_displayed(frame.to_ndarray(format="gray").astype(np.uint8)).astype(
                np.float32
            )


@pytest.fixture(scope="module")
def square(
    engine: Engine, demo_clip: Path, gallery: Gallery, tmp_path_factory: pytest.TempPathFactory
) -> Faces:
    path = write_squeezed(demo_clip, tmp_path_factory.mktemp("square") / "square.mp4", *SQUARE)
    return faces_of(engine, path, gallery)


@pytest.mark.parametrize(
    ("size", "shape", "turned"), [(*HALF_WIDTH, 0), (*HALF_HEIGHT, 0), (*WIDE_DV, 0), (*HALF_WIDTH, 90)]
)
def test_squeezed_video_gets_the_decisions_of_the_square_one(
    size: tuple[int, int],
    shape: Fraction,
    turned: int,
    square: Faces,
    engine: Engine,
    demo_clip: Path,
    gallery: Gallery,
    tmp_path: Path,
) -> None:
    path = write_squeezed(demo_clip, tmp_path / "squeezed.mp4", size, shape, turned)
    faces = faces_of(engine, path, gallery)
    assert (faces.width, faces.height) == DEMO_SIZE == (square.width, square.height)
    assert sorted((track.decision, track.person) for track in faces.tracks) == sorted(
        (track.decision, track.person) for track in square.tracks
    )
    assert {track.decision for track in faces.tracks} == {"keep", "hide"}
    for track, expected in (
        (by_decision(faces, kind), by_decision(square, kind)) for kind in ("keep", "hide")
    ):
        assert np.abs(np.array(track) - expected).max() < 8
    out = tmp_path / "out.nut"
    redact_segment(Segment(str(path)), faces, str(out), Options(mode="solid"))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        orientation = orientation_of(next(container.decode(stream)), stream.sample_aspect_ratio)
    kept, hidden = (
        box.round().astype(int) for box in (by_decision(faces, "keep"), by_decision(faces, "hide"))
    )
    with av.open(str(out)) as container:
        assert container.streams.video[0].sample_aspect_ratio == (1 / shape if turned else shape)
    before, after = (next(displayed(file, orientation)) for file in (path, out))
    change = np.abs(before - after)
    x1, y1, x2, y2 = hidden
    assert after[y1:y2, x1:x2].mean() < 10
    x1, y1, x2, y2 = kept
    assert change[y1:y2, x1:x2].mean() < 4


def by_decision(faces: Faces, decision: str) -> np.ndarray:
    """Return the first box of the track with that decision."""
    return np.array(next(track.detections[0].box for track in faces.tracks if track.decision == decision))


@pytest.mark.parametrize(("size", "shape"), [SQUARE, HALF_WIDTH, HALF_HEIGHT])
@pytest.mark.parametrize("mode", ["solid", "pixelate", "blur"])
def test_mask_is_round_as_displayed(size: tuple[int, int], shape: Fraction, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format="yuv420p")
    before = frame.to_ndarray(format="gray")
    orientation = orientation_of(frame, shape)
    redact_boxes(frame, [(270.0, 130.0, 370.0, 230.0)], Style(mode), orientation)
    changed = orientation.to_displayed((frame.to_ndarray(format="gray") != before).astype(np.uint8) * 255)
    rows, columns = np.nonzero(changed > 64)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=6)
    assert (rows.mean(), columns.mean()) == pytest.approx((180, 320), abs=3)


def test_pixelated_blocks_are_square_as_displayed() -> None:
    wide, square = (
        np.unique(_pixelated(size, shape)[shape_of(size)]).size for size, shape in (HALF_WIDTH, SQUARE)
    )
    assert wide == square


def _pixelated(size: tuple[int, int], shape: Fraction) -> np.ndarray:
    """Return a ramp from left to right with a pixelated middle."""
    ramp = np.tile(np.linspace(0, 255, size[0], dtype=np.uint8), (size[1], 1))
    frame = av.VideoFrame.from_ndarray(ramp, format="gray")
    redact_boxes(frame, [(170.0, 30.0, 470.0, 330.0)], Style("pixelate"), orientation_of(frame, shape))
    return frame.to_ndarray(format="gray")


def shape_of(size: tuple[int, int]) -> tuple[int, slice]:
    """Return the index of the middle of the mask's middle row, for a picture of 640x360 as displayed."""
    return size[1] // 2, slice(size[0] * 3 // 8, size[0] * 5 // 8)


@pytest.mark.parametrize("shape", [None, Fraction(1), Fraction(404, 405), Fraction(0)])
def test_nearly_square_pixels_count_as_square(shape: Fraction | None) -> None:
    assert orientation_of(av.VideoFrame(16, 16, "yuv420p"), shape) == Orientation()


@pytest.mark.parametrize("shape", [Fraction(10_000), Fraction(1, 10_000)])
def test_absurd_pixel_shape_is_limited(shape: Fraction) -> None:
    orientation = orientation_of(av.VideoFrame(16, 16, "yuv420p"), shape)
    assert max(orientation.displayed_size(16, 16)) == 16 * MAX_STRETCH


def test_preview_shows_the_picture_as_displayed(engine: Engine, demo_clip: Path, tmp_path: Path) -> None:
    path = write_squeezed(demo_clip, tmp_path / "squeezed.mp4", *HALF_WIDTH)
    shown = render_preview_frame(str(path), 0.0, Options(), engine.detector, nullcontext())
    picture = cv2.imdecode(np.frombuffer(shown.picture, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1::-1] == DEMO_SIZE
    assert shown.faces == 2
