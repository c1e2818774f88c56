"""Videos in: what the header says, and the displayed frames of a time range (PyAV).

Presentation times (`pts`) are integers in the video stream's time base. What a player would not show (frames
that an edit list cuts away) is never given out: the demuxer marks such packets and the decoder drops them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.video.stream import VideoStream

from functions.engine.cuda import hardware_decoder
from functions.engine.errors import VideoError

Source = str | BinaryIO
# How far before a time to look for the key frame that decoding must start from; then the file's start.
SEEK_BACK_SECONDS = (0, 2, 10, 60)
# Demuxers that read one file and no other: a playlist (concat, HLS, DASH, SDP) would make us open what it names.
DEMUXERS = (
    "mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "flv", "asf", "ogg", "nut", "mxf", "h264",
    "hevc", "ivf", "dv", "gif", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "mp3", "aac", "wav", "flac",
)  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """A time range of a source, `start <= pts < end` (None: open)."""

    source: Source
    start: int | None = None
    end: int | None = None

    def holds(self, pts: int) -> bool:
        """Whether a frame of that time is in the segment."""
        return (self.start is None or pts >= self.start) and (self.end is None or pts < self.end)


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header says. Width and height are the displayed frame's.

    `keyframes` are the sorted decode times of key frames: a few frames before the times they are shown at.
    """

    width: int
    height: int
    codec: str
    time_base: Fraction
    start_pts: int
    duration_seconds: float | None
    frame_rate: float | None
    keyframes: tuple[int, ...]


@contextmanager
def open_video(
    source: Source, decoder: HWAccel | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a path or a seekable binary file; give the container and its picture stream.

    Raises VideoError if it is not a video or has no moving picture (a cover picture does not count), and for
    data that can't be read or decoded inside the block. Errors of the file object itself pass through.
    A file object is read from its start; only one block at a time may use it. `decoder`: instead of FFmpeg's own.
    """
    if not isinstance(source, str):
        source.seek(0)
    try:
        container = av.open(
            source, mode="r", options={"format_whitelist": ",".join(DEMUXERS)}, hwaccel=decoder
        )
    except av.error.FFmpegError as error:
        raise VideoError(_not_a_video(error)) from error
    with container:
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise VideoError("it is a picture, not a video. Drop a video file such as an MP4.")
        pictures = [s for s in container.streams.video if not s.disposition & _ATTACHED_PICTURE]
        if not pictures:
            raise VideoError("it has no moving picture. Drop a video file such as an MP4.")
        stream = pictures[0]
        if stream.codec_context is None:
            raise VideoError("its picture is in a format that can't be decoded here. Convert it to H.264.")
        stream.thread_type = "AUTO"
        try:
            yield container, stream
        except av.error.FFmpegError as error:
            raise VideoError(f"it is damaged ({error.strerror or error}). Export the video again.") from error


_ATTACHED_PICTURE = av.stream.Disposition.attached_pic


def _not_a_video(error: av.error.FFmpegError) -> str:
    return f"it is not a video that can be read ({error.strerror or error}). Drop a video such as an MP4."


def probe(source: Source) -> VideoInfo:
    """Read a video's header. Raises VideoError if there is none."""
    with open_video(source) as (container, stream):
        if not stream.width or not stream.height:
            raise VideoError("its header gives no picture size. Export the video again.")
        duration = None
        if stream.duration is not None:
            duration = float(stream.duration * time_base(stream))
        elif container.duration is not None:
            duration = container.duration / 1_000_000  # libavformat counts a container's time in microseconds
        rate = stream.average_rate or stream.guessed_rate
        width, height = stream.width, stream.height
        if display_rotation(container, stream) % 180:
            width, height = height, width
        index = (entry.timestamp for entry in stream.index_entries if entry.is_keyframe)
        start = stream.start_time or 0
        return VideoInfo(
            width=width,
            height=height,
            codec=stream.codec_context.name,
            time_base=time_base(stream),
            start_pts=start,
            duration_seconds=duration,
            frame_rate=float(rate) if rate else None,
            keyframes=tuple(sorted({pts for pts in index if pts >= start})),
        )


def time_base(stream: VideoStream) -> Fraction:
    """The stream's time base: seconds for one unit of `pts`. Raises VideoError if it has none."""
    if stream.time_base is None:
        raise VideoError("its picture has no time base. Export the video again.")
    return stream.time_base


def displayed_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of the frame as a player shows it, turned by its rotation."""
    return (frame.height, frame.width) if int(frame.rotation) % 180 else (frame.width, frame.height)


def display_rotation(container: InputContainer, stream: VideoStream) -> int:
    """Degrees counter-clockwise by which a player turns the stored picture: 0, 90, 180 or 270.

    The header's display matrix is only given out with a decoded frame: one is decoded, the file rewound.
    """
    for frame in container.decode(stream):
        container.seek(stream.start_time or 0, stream=stream)
        return int(frame.rotation) % 360
    return 0


def read_frames(source: Source, start: int | None = None, end: int | None = None) -> Iterator[av.VideoFrame]:
    """The displayed frames with `start <= pts < end`, in order; None is open.

    Raises VideoError for a frame that can't be decoded, has no time of its own, or is of another size or format
    than the one before: nothing is skipped in silence.
    """
    before: av.VideoFrame | None = None
    with open_video(source, hardware_decoder()) as (container, stream):
        for frame in _decode_from(container, stream, start):
            _require_usable(frame, before)
            before = frame
            pts = frame.pts or 0
            if end is not None and pts >= end:
                return
            if start is None or pts >= start:
                yield frame


def _require_usable(frame: av.VideoFrame, before: av.VideoFrame | None) -> None:
    at = f"the frame at {float(frame.time or 0):.2f} s"
    if frame.pts is None or frame.time_base is None:
        raise VideoError("a frame has no presentation time. Convert the video to MP4 first.")
    if frame.is_corrupt:
        raise VideoError(f"{at} is damaged. Export the video again.")
    if int(frame.rotation) % 90:
        raise VideoError(f"its picture is turned by {frame.rotation} degrees. Export it upright.")
    if before is None or before.pts is None:
        return
    if frame.pts <= before.pts:
        raise VideoError(
            f"{at} has the same time as the one before, or an earlier one. Convert it to MP4 first."
        )
    form = (frame.width, frame.height, frame.format.name)
    if form != (before.width, before.height, before.format.name):
        raise VideoError(f"its picture changes size or format at {at}. Export it in one size.")


def _decode_from(
    container: InputContainer, stream: VideoStream, start: int | None
) -> Iterator[av.VideoFrame]:
    """Frames from a key frame at or before `start` on."""
    if start is None:
        yield from container.decode(stream)
        return
    first_of_all = stream.start_time or 0
    for back in SEEK_BACK_SECONDS:
        goal = start - round(back / time_base(stream))
        if goal <= first_of_all:
            break
        container.seek(goal, stream=stream, backward=True)
        frames = container.decode(stream)
        first = next(frames, None)
        if first is not None and first.pts is not None and first.pts <= start and not first.is_corrupt:
            yield first
            yield from frames
            return
    container.seek(min(first_of_all, 0), stream=stream, backward=True)
    yield from container.decode(stream)
