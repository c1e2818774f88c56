"""Writes the demo's clips and pictures, and the picture that compares a frame before and after.

All pictures are RGB, of shape (height, width, 3), with 8 bits a channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from defacer.engine.errors import VideoError
from defacer.engine.media.orientation import orientation_of
from defacer.engine.media.reader import read_frames, read_video_info

Picture = NDArray[np.uint8]

KEYFRAME_SECONDS = 2
SAMPLE_RATE = 48_000

PANE_WIDTH = 632
GAP = 16  # pixels between the panes; two panes and the gap are 1280 pixels wide
LABEL_HEIGHT = 30
PAPER = (255, 255, 255)
INK = (70, 76, 84)
# The same frame can have a slightly different time in another time base.
TIME_TOLERANCE_SECONDS = 0.002


def before_and_after(source: Path, result: Path, out: Path) -> None:
    """Write the middle frame of the source and the same frame of the result side by side, labeled, as PNG.

    The picture is 1280 pixels wide. Raises VideoError if one of the videos can't be read or lacks this frame.
    """
    frame = read_frame(source, (read_video_info(str(source)).duration_seconds or 0.0) / 2)
    panes = [
        make_pane(frame.picture, "before"),
        make_pane(read_frame(result, frame.seconds).picture, "after"),
    ]
    height = max(pane.shape[0] for pane in panes)
    page = np.full((height, 2 * PANE_WIDTH + GAP, 3), PAPER, np.uint8)
    page[: panes[0].shape[0], :PANE_WIDTH] = panes[0]
    page[: panes[1].shape[0], PANE_WIDTH + GAP :] = panes[1]
    save_picture(out, page)


def make_pane(picture: Picture, label: str) -> Picture:
    """Scale a picture to the width of a pane, and add its label above it."""
    height = round(picture.shape[0] * PANE_WIDTH / picture.shape[1])
    shrinks = picture.shape[1] > PANE_WIDTH
    scaled = cv2.resize(
        picture, (PANE_WIDTH, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    strip = np.full((LABEL_HEIGHT, PANE_WIDTH, 3), PAPER, np.uint8)
    cv2.putText(strip, label, (2, LABEL_HEIGHT - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.55, INK, 1, cv2.LINE_AA)
    return np.vstack([strip, np.asarray(scaled, np.uint8)])


class TimedPicture(NamedTuple):
    """A frame as displayed, and its time in seconds after the start of its video."""

    picture: Picture
    seconds: float


def read_frame(path: Path, seconds: float) -> TimedPicture:
    """Return the first frame at this time or later, in seconds after the start of the video.

    Raises VideoError if the video can't be read or has no such frame.
    """
    info = read_video_info(str(path))
    start = info.start_pts + int((seconds - TIME_TOLERANCE_SECONDS) / info.time_base)
    frame = next(read_frames(str(path), start), None)
    if frame is None or frame.pts is None:
        raise VideoError(f"{path} has no frame at {seconds:.3f} s. Choose a complete video.")
    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    picture = orientation_of(frame).to_displayed(image)
    return TimedPicture(picture, float((frame.pts - info.start_pts) * info.time_base))


def save_picture(path: Path, picture: Picture) -> None:
    """Write a picture as PNG. Raise OSError if it can't be written."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"{path}: a picture of shape {picture.shape} can't be encoded as PNG")
    path.write_bytes(data.tobytes())


def write_clip(
    path: Path, frames: Iterable[Picture], seconds: float, size: tuple[int, int], fps: int
) -> None:
    """Encode frames of width, height `size` as MP4: H.264 (BT.709, a key frame every 2 s), and AAC with a melody.

    Raises ValueError for a size that is odd or below 2, which 4:2:0 colors do not support.
    """
    if min(size) < 2 or size[0] % 2 or size[1] % 2:
        raise ValueError(f"a clip of {size[0]}x{size[1]} pixels can't be encoded. Choose even lengths")
    sound = compose_melody(seconds)
    with av.open(str(path.absolute()), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        # A fixed number of threads makes the same bytes each time. Key frames have fixed places, without scene cuts.
        video.thread_count = 2
        video.color_range, video.colorspace = ColorRange.MPEG, Colorspace.ITU709
        video.color_primaries, video.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        video.codec_context.gop_size = KEYFRAME_SECONDS * fps
        video.options = {"preset": "superfast", "crf": "22", "x264-params": "scenecut=0:open-gop=0"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
            first, end = number * SAMPLE_RATE // fps, (number + 1) * SAMPLE_RATE // fps
            samples = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[:, first:end]), format="fltp", layout="stereo"
            )
            samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(samples))
        container.mux(video.encode())
        container.mux(audio.encode())


def compose_melody(seconds: float) -> NDArray[np.float32]:
    """Return a soft melody as samples of shape (2, count), left and right, at 48 kHz."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros((2, len(time)))
    for note, step in enumerate((0, 4, 7, 9, 12, 9, 7, 4, 2, 7, 9, 14) * (int(seconds / 4.8) + 1)):
        since = np.clip(time - 0.4 * note, 0, None)
        pitch = 261.63 * 2 ** (step / 12)
        tone = np.sin(2 * np.pi * pitch * since) * np.exp(-3 * since) * (1 - np.exp(-80 * since))
        sound += np.outer((0.10, 0.06) if note % 2 else (0.06, 0.10), tone)
    return sound.astype(np.float32)
