"""A segment out: frames in, an encoded NUT file out, every presentation time as it was (PyAV).

NUT keeps any time base and absolute times, so segments of one job join without arithmetic (see join.py).
"""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
from av.video.stream import VideoStream

from defacer.engine.errors import OutputError, VideoError
from defacer.engine.media.encoding import Encoding
from defacer.engine.verification.readback import Readback


@dataclass(frozen=True)
class Written:
    """The presentation times of a segment's frames, and by how many frames at most one is decoded sooner than shown.

    `black_frames` are those that could not be decoded (see `damage.py`).
    """

    frames: "array[int]"
    reorder_depth: int
    black_frames: int = 0


class SegmentWriter:
    """Encodes frames. Made by `write_segment`."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        encoding: Encoding,
        quality: int,
        readback: Readback | None = None,
    ):
        self._container = container
        self._readback = readback
        self._encoding = encoding
        self._quality = quality
        self._stream: VideoStream | None = None
        self._shown: list[int] = []
        self._decode_order: list[int] = []  # presentation times of the packets

    def write(self, frame: av.VideoFrame) -> None:
        """Encode one frame; its `pts` and `time_base` are kept."""
        if self._stream is None:
            self._stream = self._add_stream()
        frame = self._encoding.prepared(frame)
        frame.pict_type = av.video.frame.PictureType.NONE  # the source's frame types mean nothing here
        if self._readback:
            self._readback.expect(frame)
        with writing():
            self._mux(self._stream.encode(frame))
        self._shown.append(frame.pts or 0)

    def flush(self) -> None:
        """Write what the encoder still holds."""
        if self._stream is not None:
            with writing():
                self._mux(self._stream.encode(None))
            if self._readback:
                self._readback.finish()

    @property
    def frames(self) -> int:
        """How many frames were taken."""
        return len(self._shown)

    def written(self, black_frames: int = 0) -> Written:
        """What was written; after the block of `write_segment`."""
        rank = {pts: index for index, pts in enumerate(self._shown)}
        depth = max((index - rank[pts] for index, pts in enumerate(self._decode_order)), default=0)
        return Written(array("q", self._shown), depth, black_frames)

    def _mux(self, packets: list["av.Packet[VideoStream]"]) -> None:
        self._decode_order += [packet.pts or 0 for packet in packets]
        if self._readback and self._stream is not None:
            self._readback.take(packets, self._stream.codec_context)
        self._container.mux(packets)

    def _add_stream(self) -> VideoStream:
        encoding = self._encoding
        options = encoding.options(self._quality)
        stream = cast(
            VideoStream, self._container.add_stream(encoding.codec, rate=encoding.rate, options=options)
        )
        context = stream.codec_context
        # Whole frames in parallel: a fifth faster than slices of one, which is PyAV's own choice, and smaller.
        context.thread_type = "FRAME"
        context.width, context.height = encoding.width, encoding.height
        context.pix_fmt = encoding.pixel_format
        context.time_base = stream.time_base = encoding.time_base
        if encoding.pixel_shape:
            context.sample_aspect_ratio = encoding.pixel_shape
        context.color_range = encoding.color_range
        context.color_primaries = encoding.color_primaries
        context.color_trc = encoding.color_transfer
        context.colorspace = encoding.color_matrix
        return stream


@contextmanager
def writing() -> Iterator[None]:
    """Raise OutputError for a disk or line that fails: inside `open_video` it would pass for a damaged source.

    And VideoError for what an encoder or an MP4 will not take: no other try changes that.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"the result could not be written: {error.strerror or error}. Try again."
        ) from error
    except av.error.FFmpegError as error:
        raise VideoError("an MP4 can't hold its streams. Convert it to H.264 and AAC first.") from error


@contextmanager
def write_segment(
    path: str, encoding: Encoding, quality: int, readback: Readback | None = None
) -> Iterator[SegmentWriter]:
    """Open `path` for a segment. `quality` is the constant rate factor: 0 lossless, 18 looks the same.

    `readback` compares the encoded frames. A segment without frames (the picture stood still for longer than it) is
    an empty file.
    """
    # By default NUT shifts each file by its own reorder delay; absolute times must stay.
    with av.open(path, "w", format="nut", options={"avoid_negative_ts": "disabled"}) as container:
        writer = SegmentWriter(container, encoding, quality, readback)
        yield writer
        writer.flush()
    Path(path).touch()
