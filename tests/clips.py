"""Write small videos with known contents, and provide pictures of public-domain faces."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
import skimage.data
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
SAMPLE_RATE = 48_000


@dataclass(frozen=True)
class Clip:
    """The contents of a clip: a gradient that moves one pixel per frame, and optionally a portrait in the middle.

    `portrait` is RGB. Each `keyframe_seconds` start with a key frame. `audio` adds an AAC tone.
    """

    seconds: float = 2.0
    size: tuple[int, int] = (320, 180)
    rate: int = 25
    keyframe_seconds: float = 0.4
    b_frames: int = 2
    audio: bool = True
    portrait: Picture | None = None

    @property
    def frames(self) -> int:
        return round(self.seconds * self.rate)


def write_clip(path: Path, clip: Clip = Clip()) -> Path:
    """Write the clip as H.264 (and AAC) in the container that the suffix names."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=clip.rate)
        video.width, video.height, video.pix_fmt = *clip.size, "yuv420p"
        video.codec_context.gop_size = round(clip.keyframe_seconds * clip.rate)
        video.options = {"preset": "ultrafast", "bf": str(clip.b_frames), "x264-params": "scenecut=0"}
        video.time_base = Fraction(1, clip.rate)
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if clip.audio else None
        for index, picture in enumerate(pictures(clip)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, clip.rate)
            container.mux(video.encode(frame))
            if audio is not None:
                container.mux(audio.encode(_tone(index, clip)))
        container.mux(video.encode())
        if audio is not None:
            container.mux(audio.encode())
    return path


def turned(portrait: Picture, column: float) -> Picture:
    """Return a portrait whose face seems turned: compressed left of `column` (near the nose), stretched right."""
    height, width = portrait.shape[:2]
    away = np.arange(width) - column
    columns = np.tile(column + np.where(away < 0, away / 0.15, away / 2), (height, 1))
    rows = np.tile(np.arange(height)[:, None], (1, width))
    there = columns.astype(np.float32), rows.astype(np.float32)
    return cv2.remap(portrait, *there, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def pictures(clip: Clip) -> Iterator[Picture]:
    """Yield the clip's RGB frames before encoding."""
    width, height = clip.size
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    for index in range(clip.frames):
        picture = np.zeros((height, width, 3), np.uint8)
        picture[:, :, 0] = np.roll(ramp, index)
        picture[:, :, 1] = np.linspace(40, 200, height, dtype=np.uint8)[:, None]
        if clip.portrait is not None:
            side = height * 9 // 10
            small = cv2.resize(clip.portrait, (side, side), interpolation=cv2.INTER_AREA)
            left, top = (width - side) // 2 + index % 8, (height - side) // 2
            picture[top : top + side, left : left + side] = small
        yield picture


def frame_times(path: Path) -> list[int]:
    """Return the presentation times of a video's decoded frames, in order."""
    with av.open(str(path)) as container:
        return [frame.pts for frame in container.decode(video=0) if frame.pts is not None]


def frame_seconds(path: Path) -> list[Fraction]:
    """Return the exact presentation times in seconds, because NUT has a finer time base than its source."""
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
        assert base is not None
        return [frame.pts * base for frame in container.decode(video=0) if frame.pts is not None]


def astronaut() -> Picture:
    """Return a square RGB portrait of Eileen Collins (NASA, public domain)."""
    return np.ascontiguousarray(skimage.data.astronaut()[0:300, 80:380])


def admiral() -> Picture:
    """Return an RGB portrait of Grace Hopper (US Navy, public domain)."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)[0:512, 0:512]


def encode_picture(picture: Picture, suffix: str = ".png") -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def _tone(index: int, clip: Clip) -> av.AudioFrame:
    first, last = (number * SAMPLE_RATE // clip.rate for number in (index, index + 1))
    wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(first, last) / SAMPLE_RATE)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None, :], "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
    return frame
