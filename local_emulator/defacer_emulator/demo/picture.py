"""Pictures and clips on disk: write a clip from drawn frames, write a picture, show a frame before and after.

All pictures are RGB, shape (height, width, 3), 8 bits a channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

KEYFRAME_SECONDS = 2
SAMPLE_RATE = 48_000

PANE_WIDTH = 632
GAP = 16  # pixels between the panes; two panes and the gap are 1280 wide
LABEL_HEIGHT = 30
PAPER = (255, 255, 255)
INK = (70, 76, 84)


def before_and_after(source: Path, result: Path, out: Path, at_seconds: float | None = None) -> None:
    """Write one frame of the source and the same frame of the result, side by side and labelled, as PNG.

    The picture is 1280 pixels wide. `at_seconds` counts from the first frame; None: the middle of the source.
    Raises ValueError, naming the file, if one of them cannot be read or shows no frame at that time.
    """
    if at_seconds is None:
        at_seconds = length_seconds(source) / 2
    panes = [
        pane(frame_at(source, at_seconds), "before"),
        pane(frame_at(result, at_seconds), "after"),
    ]
    height = max(picture.shape[0] for picture in panes)
    page = np.full((height, 2 * PANE_WIDTH + GAP, 3), PAPER, np.uint8)
    page[: panes[0].shape[0], :PANE_WIDTH] = panes[0]
    page[: panes[1].shape[0], PANE_WIDTH + GAP :] = panes[1]
    save_picture(out, page)


def pane(picture: Picture, label: str) -> Picture:
    """Scale a picture to the pane's width and put its label above it."""
    height = round(picture.shape[0] * PANE_WIDTH / picture.shape[1])
    shrinks = picture.shape[1] > PANE_WIDTH
    scaled = cv2.resize(
        picture, (PANE_WIDTH, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    strip = np.full((LABEL_HEIGHT, PANE_WIDTH, 3), PAPER, np.uint8)
    cv2.putText(strip, label, (2, LABEL_HEIGHT - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.55, INK, 1, cv2.LINE_AA)
    return np.vstack([strip, np.asarray(scaled, np.uint8)])


def length_seconds(path: Path) -> float:
    """Return how long a video's pictures last; raises ValueError if it cannot be read or does not say."""
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            if container.duration is not None:
                return container.duration / av.time_base
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error
    raise ValueError(f"{path} does not say how long it is; name a time")


def frame_at(path: Path, at_seconds: float) -> Picture:
    """Return the frame shown `at_seconds` after the first one, as RGB the right way up.

    Raises ValueError, naming the file, if it cannot be read or shows no frame at that time.
    """
    shown: av.VideoFrame | None = None
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            base, rate = stream.time_base, stream.average_rate
            if base is None or rate is None:
                raise ValueError(f"{path} has no clock for its pictures")
            start = stream.start_time or 0
            container.seek(start + int(max(at_seconds, 0) / base), stream=stream)
            # Half a frame's tolerance, so that a time rounded down still means the frame that starts there.
            wanted = start * base + Fraction(at_seconds) + Fraction(1, 2) / rate
            end = wanted
            for frame in container.decode(stream):
                if frame.pts is None:
                    raise ValueError(f"{path} has a frame without a time")
                end = frame.pts * base
                if end > wanted:
                    break
                # Only the last frame's own length, and the tolerance, count beyond it.
                shown, end = frame, end + Fraction(3, 2) / rate
            if at_seconds < 0 or shown is None or wanted >= end:
                raise ValueError(f"{path} shows no frame at {at_seconds} s")
            return np.asarray(np.rot90(shown.to_ndarray(format="rgb24"), shown.rotation // 90), np.uint8)
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error


def save_picture(path: Path, picture: Picture) -> None:
    """Write a picture as PNG; raises OSError if it cannot be written."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"{path}: a picture of shape {picture.shape} cannot be encoded as PNG")
    path.write_bytes(data.tobytes())


def write_clip(
    path: Path, frames: Iterable[Picture], seconds: float, size: tuple[int, int], fps: int
) -> None:
    """Encode frames of width, height `size` as MP4: H.264 (BT.709, a keyframe every 2 s), AAC with a melody.

    Raises ValueError for a size with an odd or no length, which 4:2:0 colours cannot hold.
    """
    if min(size) < 2 or size[0] % 2 or size[1] % 2:
        raise ValueError(f"a clip of {size[0]}x{size[1]} pixels cannot be encoded; both lengths must be even")
    sound = melody(seconds)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        # A fixed number of threads: the same bytes each time. No scene cuts: keyframes only where stated.
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


def melody(seconds: float) -> NDArray[np.float32]:
    """Return a soft melody as samples (2, count), left and right, at 48 kHz."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros((2, len(time)))
    for note, step in enumerate((0, 4, 7, 9, 12, 9, 7, 4, 2, 7, 9, 14) * (int(seconds / 4.8) + 1)):
        since = np.clip(time - 0.4 * note, 0, None)
        pitch = 261.63 * 2 ** (step / 12)
        tone = np.sin(2 * np.pi * pitch * since) * np.exp(-3 * since) * (1 - np.exp(-80 * since))
        sound += np.outer((0.10, 0.06) if note % 2 else (0.06, 0.10), tone)
    return sound.astype(np.float32)
