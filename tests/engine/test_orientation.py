"""Test that rotated and mirrored pictures are displayed as FFmpeg does, and converted back."""

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.errors import VideoError
from defacer.engine.media.orientation import Orientation, orientation_of
from defacer.engine.media.reader import read_frames, read_video_info
from tests.clips import astronaut
from tests.inputs.write_video import X265, Video, write

ALL = [(degrees, mirrored) for degrees in (0, 90, 180, -90) for mirrored in (False, True)]
WIDTH, HEIGHT = 320, 192


@pytest.fixture
def rotated(tmp_path: Path, degrees: int, mirrored: bool) -> Path:
    path = tmp_path / "rotated.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height = WIDTH, HEIGHT
        stream.set_display_rotation(degrees, hflip=mirrored)
        picture = np.ascontiguousarray(astronaut()[:HEIGHT, :WIDTH])
        picture = np.pad(picture, ((0, 0), (0, WIDTH - picture.shape[1]), (0, 0)))
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p"))
        )
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("degrees", "mirrored"), ALL)
def test_picture_is_displayed_as_in_ffmpeg(rotated: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("ffmpeg is not on the PATH. Run `apt-get install ffmpeg`.")
    command = [ffmpeg, "-v", "error", "-i", str(rotated), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    shown = subprocess.run(command, capture_output=True, check=True).stdout
    (frame,) = read_frames(str(rotated))
    ours = orientation_of(frame).to_displayed(frame.to_ndarray(format="rgb24").astype(np.uint8))
    theirs = np.frombuffer(shown, np.uint8).reshape(ours.shape).astype(int)
    assert np.abs(ours.astype(int) - theirs).mean() < 2
    info = read_video_info(str(rotated))
    assert (info.height, info.width) == ours.shape[:2]


@pytest.mark.parametrize(("degrees", "mirrored"), ALL)
def test_stored_picture_and_box_are_restored(rotated: Path) -> None:
    (frame,) = read_frames(str(rotated))
    orientation = orientation_of(frame)
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[20:60, 30:90] = 255
    shown = orientation.to_displayed(stored)
    assert (orientation.to_stored_image(shown) == stored).all()
    rows, columns = np.nonzero(shown[..., 0])
    box = (float(columns.min()), float(rows.min()), columns.max() + 1.0, rows.max() + 1.0)
    assert orientation.to_stored_box(box, WIDTH, HEIGHT) == (30, 20, 90, 60)
    assert orientation.displayed_size(WIDTH, HEIGHT) == shown.shape[1::-1]


def test_frame_without_a_matrix_is_upright() -> None:
    assert orientation_of(av.VideoFrame(16, 16, "yuv420p")) == Orientation()


def test_rotated_hevc_of_a_phone_is_read(tmp_path: Path) -> None:
    contents = Video(
        codec="libx265", options=X265, turned=(90.0, False), sound=(), seconds=0.4, size=(128, 96)
    )
    path = write(tmp_path / "in.mp4", contents)
    info = read_video_info(str(path))
    assert (info.width, info.height) == (96, 128)
    assert len(list(read_frames(str(path)))) == 10


def test_rotation_by_30_degrees_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.set_display_rotation(30)
        container.mux(stream.encode(av.VideoFrame(WIDTH, HEIGHT, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="not turned by a multiple of 90 degrees"):
        read_video_info(str(path))
