"""Test pictures that change in the middle, or that data of the container crops, turns or projects.

The results are compared with the drawn scene, and by ffprobe.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from defacer.engine.media.orientation import orientation_of
from defacer.engine.media.probe import probe
from defacer.engine.options import Options
from defacer.report.changes import ChangeCode, list_dropped
from tests.inputs.picture_files import (
    FRAMES,
    RATE,
    SPHERE,
    SPHERE_V1,
    STEREO_MODE,
    Part,
    crop_elements,
    mkv_with,
    mp4_with,
    photos,
    scene,
    spatial_video,
    stereo_box,
    with_color_matrix,
    with_messages,
    with_other_track,
    write_parts,
)
from tests.inputs.run_engine import deface
from tests.inputs.segment_check import require_same_at_key_frames
from tests.inputs.test_rows import EngineWithoutDetector

FAST = (("preset", "ultrafast"), ("crf", "12"))
VPX = (("deadline", "realtime"), ("cpu-used", "8"), ("b", "2M"))
MPEG2 = (("b", "8M"), ("g", "10"))
MIN_PSNR = 30.0
BLUR = (7, 7)  # because the edges of a scaled picture can be a pixel off


@dataclass(frozen=True)
class Changing:
    """A video of parts. `sizes` are the displayed sizes of the parts, and the first is that of the result."""

    make: Callable[[Path], Path]
    sizes: tuple[tuple[int, int], ...]
    frames: int = FRAMES


def parts(
    name: str, *given: Part, codec: str = "libx264", options: tuple[tuple[str, str], ...] = FAST
) -> Changing:
    sizes = tuple((round(part.size[0] * part.shape), part.size[1]) for part in given)
    return Changing(lambda folder: write_parts(folder / name, given, codec, options), sizes)


WIDE, SMALL, LARGE, TALL = Part((320, 180)), Part((160, 120)), Part((640, 360)), Part((180, 320))
CHANGING = {
    "television that changes its size": parts("in.ts", WIDE, SMALL, LARGE),
    "television that changes its proportions": parts(
        "in.ts", Part((352, 288), Fraction(12, 11)), Part((352, 288), Fraction(16, 11)), codec="mpeg2video",
        options=MPEG2),
    "a call in VP8": parts("in.webm", WIDE, LARGE, TALL, codec="libvpx", options=VPX),
    "a screen recording in VP9": parts("in.webm", LARGE, WIDE, codec="libvpx-vp9", options=VPX),
    "other chroma samples": parts("in.ts", WIDE, Part((320, 180), pixel_format="yuv444p"), WIDE),
    "photos that EXIF turns in two ways": Changing(
        lambda folder: photos(folder, 6, 1, 8, 3), ((270, 480),) * 4, frames=12),
    "photos that EXIF mirrors": Changing(lambda folder: photos(folder, 1, 4, 2), ((270, 480),) * 3, frames=12),
}  # fmt: skip
FIRST = {"television that changes its size", "photos that EXIF mirrors"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FIRST else [pytest.mark.slow]) for name in CHANGING]
)
def test_changing_picture_is_fitted_into_the_first_size(name: str, tmp_path: Path) -> None:
    changing = CHANGING[name]
    source, out = changing.make(tmp_path), tmp_path / "out.mp4"
    require_same_at_key_frames(source)
    _, joined = deface(EngineWithoutDetector(), source, out, Options(), 1.0)
    (change,) = [change for change in joined.changes if change.code == ChangeCode.CONVERTED_PICTURE]
    rate = 10 if changing.frames == 12 else RATE
    assert change.text == f"a picture that changes its size or format at {changing.frames / rate:.2f} s"
    shown = displayed(out)
    assert len(shown) == changing.frames * len(changing.sizes)
    for number, picture in enumerate(shown):
        assert picture.shape[1::-1] == changing.sizes[0]
        size = changing.sizes[number // changing.frames]
        expected = fitted(scene(*size, number), changing.sizes[0])
        assert cv2.PSNR(cv2.blur(picture, BLUR), cv2.blur(expected, BLUR)) >= MIN_PSNR, number
    assert times(source) == pytest.approx(times(out), abs=0.002)


def displayed(path: Path) -> list[np.ndarray]:
    """Return the displayed frames of a video, RGB, in square pixels."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            orientation_of(frame, stream.sample_aspect_ratio).to_displayed(
                frame.to_ndarray(format="rgb24").astype(np.uint8)
            )
            for frame in container.decode(stream)
        ]


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the picture scaled to fit into this size, with black bars."""
    scale = min(size[0] / picture.shape[1], size[1] / picture.shape[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = (min(side, limit) for side, limit in zip(small.shape[:2], size[::-1], strict=True))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    whole = np.zeros((size[1], size[0], 3), np.uint8)
    whole[top : top + height, left : left + width] = small[:height, :width]
    return whole


def ask_ffprobe(path: Path, entries: str) -> dict[str, Any]:
    """Return these entries of the picture tracks. Skip the test without ffprobe."""
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not on the PATH. Run `apt-get install ffmpeg`.")
    command = ["ffprobe", "-v", "error", "-select_streams", "v", "-of", "json", "-show_entries", entries]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def times(path: Path) -> list[float]:
    """Return the times of the frames, relative to the first, as ffprobe states them."""
    found = sorted(float(packet["pts_time"]) for packet in ask_ffprobe(path, "packet=pts_time")["packets"])
    return [time - found[0] for time in found]


@dataclass(frozen=True)
class Stated:
    """A video whose container states how to show its picture. `side_data` is the result's, as ffprobe lists it."""

    make: Callable[[Path], Path]
    size: tuple[int, int] = (480, 270)
    corner: tuple[int, int] = (0, 0)  # of the shown part
    side_data: frozenset[str] = frozenset()
    changes: tuple[str, ...] = ()


SPHERE_DATA = "Spherical Mapping: equirectangular, 30/10/5"
FLAT_SPHERE_DATA = "Spherical Mapping: equirectangular, 0/0/0"
STATED = {
    "360 degrees, version 2": Stated(
        mp4_with(stereo_box(1) + SPHERE), side_data=frozenset({SPHERE_DATA, "Stereo 3D: top and bottom"})
    ),
    "360 degrees, version 1": Stated(
        mp4_with(track=SPHERE_V1), side_data=frozenset({FLAT_SPHERE_DATA, "Stereo 3D: top and bottom"})
    ),
    "3D in an MP4": Stated(mp4_with(stereo_box(2)), side_data=frozenset({"Stereo 3D: side by side"})),
    "3D in an MKV": Stated(
        mkv_with(STEREO_MODE + b"\x81\x01"), side_data=frozenset({"Stereo 3D: side by side"})
    ),
    "3D that an MP4 can't state": Stated(mkv_with(STEREO_MODE + b"\x81\x07"), changes=("3D layout",)),
    "a crop in an MKV": Stated(mkv_with(crop_elements(40, 20, 40, 20)), (400, 230), (40, 20)),
    "an odd crop in an MKV": Stated(mkv_with(crop_elements(1, 0, 2, 3)), (476, 266), (2, 0)),
}


STATED_FIRST = {"360 degrees, version 2", "3D in an MKV", "an odd crop in an MKV"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in STATED_FIRST else [pytest.mark.slow]) for name in STATED]
)
def test_result_states_the_projection_and_has_the_crop(name: str, tmp_path: Path) -> None:
    stated = STATED[name]
    source, out = stated.make(tmp_path), tmp_path / "out.mp4"
    require_same_at_key_frames(source)
    _, joined = deface(EngineWithoutDetector(), source, out, Options(), 1.0)
    assert side_data(out) == stated.side_data
    assert joined.dropped == stated.changes == list_dropped(probe(str(source), Options()).changes)
    assert b"Phone" not in out.read_bytes()
    left, top = stated.corner
    for before, after in zip(displayed(source), displayed(out), strict=True):
        assert after.shape[1::-1] == stated.size
        shown = before[top : top + stated.size[1], left : left + stated.size[0]]
        assert cv2.PSNR(after, shown) >= MIN_PSNR


def side_data(path: Path) -> set[str]:
    (stream,) = ask_ffprobe(path, "stream_side_data")["streams"]
    return {_describe(data) for data in stream.get("side_data_list", ())}


def _describe(data: dict[str, object]) -> str:
    if "projection" in data:
        return f"{data['side_data_type']}: {data['projection']}, {data['yaw']}/{data['pitch']}/{data['roll']}"
    return f"{data['side_data_type']}: {data['type']}"


@pytest.mark.parametrize("matrix", [8, 10, 13, 14])
def test_color_matrix_that_the_scaler_does_not_know_is_kept(matrix: int, tmp_path: Path) -> None:
    source, out = with_color_matrix(matrix)(tmp_path), tmp_path / "out.mp4"
    deface(EngineWithoutDetector(), source, out, Options(), 1.0)
    with av.open(str(source)) as given, av.open(str(out)) as made:
        before, after = (next(container.decode(video=0)) for container in (given, made))
        assert int(before.colorspace) == int(after.colorspace) == matrix


OTHER_TRACKS = {
    "a cover of one frame, MP4": with_other_track(".mp4", 1),
    "a cover of one frame, MKV": with_other_track(".mkv", 1),
    "an empty track": with_other_track(".mp4", 0, "libx264"),
    "a video of photos beside the video": with_other_track(".mp4", 5),
    "a single frame of H.264": with_other_track(".mp4", 1, "libx264"),
}


@pytest.mark.parametrize("name", OTHER_TRACKS)
def test_track_that_a_player_shows_is_chosen(name: str, tmp_path: Path) -> None:
    source, out = OTHER_TRACKS[name](tmp_path), tmp_path / "out.mp4"
    _, joined = deface(EngineWithoutDetector(), source, out, Options(), 1.0)
    assert {picture.shape[1::-1] for picture in displayed(out)} == {(480, 270)}
    assert joined.frames == 65
    assert name == "an empty track" or "another picture track" in joined.dropped


@pytest.mark.parametrize("codec", ["libx264", pytest.param("libx265", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("first", "second"), [((90, False, False), (90, False, False)), ((0, False, False), (0, False, True))]
)
def test_rotation_in_the_stream_itself_is_not_applied(
    first: tuple[int, bool, bool], second: tuple[int, bool, bool], codec: str, tmp_path: Path
) -> None:
    """As in Chromium and in FFmpeg 5.1. Newer versions of FFmpeg apply it to H.264 in key frames only."""
    source, out = with_messages(codec, first, second)(tmp_path), tmp_path / "out.mp4"
    require_same_at_key_frames(source)
    _, joined = deface(EngineWithoutDetector(), source, out, Options(), 1.0)
    lost = ("rotation that most players do not apply",) if first[0] else ()
    assert joined.dropped == lost == list_dropped(probe(str(source), Options()).changes)
    for number, picture in enumerate(displayed(out)):
        assert cv2.PSNR(picture, scene(320, 180, number)) >= MIN_PSNR, number


def test_spatial_video_becomes_a_video_of_its_main_view(tmp_path: Path) -> None:
    source, out = spatial_video(tmp_path), tmp_path / "out.mp4"
    require_same_at_key_frames(source)
    _, joined = deface(EngineWithoutDetector(), source, out, Options(), 1.0)
    assert (
        joined.dropped
        == ("second view of a spatial video",)
        == list_dropped(probe(str(source), Options()).changes)
    )
    shown = displayed(out)
    assert len(shown) == FRAMES
    for number, picture in enumerate(shown):
        assert cv2.PSNR(picture, scene(320, 192, number)) >= MIN_PSNR, number
