"""A segment out: frames in, an encoded NUT file out, every presentation time as it was (PyAV).

NUT keeps any time base and absolute times, so segments of one job join without arithmetic (see join.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.video.stream import VideoStream

from functions.engine.cuda import can_encode
from functions.engine.errors import OutputError

PRESET = "veryfast"  # 2.5 s for 10 s of 720p on two cores, where "medium" takes 6.2 s
NVENC = {
    "preset": "p4",
    "tune": "hq",
    "rc": "vbr",
    "b:v": "0",
}  # constant quality; `cq` is much like x264's crf
FALLBACK_RATE = Fraction(30)


class SegmentWriter:
    """Encodes frames as H.264, 8 bits: by NVENC if it is there, else by x264. Made by `write_segment`."""

    def __init__(self, container: av.container.OutputContainer, quality: int, rate: Fraction | None):
        self._container = container
        self._quality = quality
        self._rate = rate or FALLBACK_RATE
        self._stream: VideoStream | None = None

    def write(self, frame: av.VideoFrame) -> None:
        """Encode one frame; its `pts` and `time_base` are kept. The first frame sets size and colours."""
        if self._stream is None:
            self._stream = self._add_stream(frame)
        frame = frame.reformat(format=self._stream.codec_context.pix_fmt)
        frame.pict_type = av.video.frame.PictureType.NONE  # the source's frame types mean nothing here
        with writing():
            self._container.mux(self._stream.encode(frame))

    def flush(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            with writing():
                self._container.mux(self._stream.encode(None))

    def _add_stream(self, frame: av.VideoFrame) -> VideoStream:
        # 4:2:0 can't hold an odd side.
        pixel_format = "yuv444p" if frame.width % 2 or frame.height % 2 else "yuv420p"
        if frame.format.name.startswith("yuvj"):
            pixel_format = pixel_format.replace("yuv", "yuvj")
        if can_encode(frame.width, frame.height, pixel_format):
            codec, options = "h264_nvenc", {**NVENC, "cq": str(self._quality)}
        else:
            codec, options = "libx264", {"preset": PRESET, "crf": str(self._quality)}
        stream = cast(VideoStream, self._container.add_stream(codec, rate=self._rate, options=options))
        context = stream.codec_context
        # Whole frames in parallel: a fifth faster than slices of one, which is PyAV's own choice, and smaller.
        context.thread_type = "FRAME"
        context.width, context.height, context.pix_fmt = frame.width, frame.height, pixel_format
        context.time_base = stream.time_base = frame.time_base or 1 / self._rate
        context.color_range = frame.color_range
        context.colorspace = frame.colorspace
        context.color_primaries = frame.color_primaries
        context.color_trc = frame.color_trc
        return stream


@contextmanager
def writing() -> Iterator[None]:
    """Raise OutputError for what fails in writing: inside `open_video` it would pass for a damaged source."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise OutputError(f"the result could not be written: {error.strerror or error}.") from error


@contextmanager
def write_segment(path: str, quality: int, rate: Fraction | None) -> Iterator[SegmentWriter]:
    """Open `path` for a segment. `quality` is x264's constant rate factor: 0 lossless, 18 looks the same.

    A segment without frames (the picture stood still for longer than it) is an empty file.
    """
    # By default NUT shifts each file by its own reorder delay; absolute times must stay.
    with av.open(path, "w", format="nut", options={"avoid_negative_ts": "disabled"}) as container:
        writer = SegmentWriter(container, quality, rate)
        yield writer
        writer.flush()
    Path(path).touch()
