"""Turned and mirrored pictures: as FFmpeg's own player tools show them, and the way back."""

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.errors import VideoError
from defacer.engine.media.orientation import Orientation, orientation_of
from defacer.engine.media.reader import probe, read_frames
from tests.clips import astronaut

ALL = [(degrees, mirrored) for degrees in (0, 90, 180, -90) for mirrored in (False, True)]
WIDTH, HEIGHT = 320, 192


@pytest.fixture
def turned(tmp_path: Path, degrees: int, mirrored: bool) -> Path:
    path = tmp_path / "turned.mp4"
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
def test_it_is_shown_as_ffmpeg_shows_it(turned: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("there is no ffmpeg on the PATH: apt-get install ffmpeg")
    command = [ffmpeg, "-v", "error", "-i", str(turned), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    shown = subprocess.run(command, capture_output=True, check=True).stdout
    (frame,) = read_frames(str(turned))
    ours = orientation_of(frame).displayed(frame.to_ndarray(format="rgb24"))
    theirs = np.frombuffer(shown, np.uint8).reshape(ours.shape).astype(int)
    assert np.abs(ours.astype(int) - theirs).mean() < 2
    info = probe(str(turned))
    assert (info.height, info.width) == ours.shape[:2]


@pytest.mark.parametrize(("degrees", "mirrored"), ALL)
def test_the_way_back_leads_to_the_stored_picture_and_box(turned: Path) -> None:
    (frame,) = read_frames(str(turned))
    orientation = orientation_of(frame)
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[20:60, 30:90] = 255
    shown = orientation.displayed(stored)
    assert (orientation.stored(shown) == stored).all()
    rows, columns = np.nonzero(shown[..., 0])
    box = (float(columns.min()), float(rows.min()), columns.max() + 1.0, rows.max() + 1.0)
    assert orientation.to_stored(box, WIDTH, HEIGHT) == (30, 20, 90, 60)
    assert orientation.displayed_size(WIDTH, HEIGHT) == shown.shape[1::-1]


def test_upright_is_the_rule() -> None:
    assert orientation_of(av.VideoFrame(16, 16, "yuv420p")) == Orientation()


def test_an_odd_angle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.set_display_rotation(30)
        container.mux(stream.encode(av.VideoFrame(WIDTH, HEIGHT, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="odd angle"):
        probe(str(path))
