"""Encode the frames of a segment into a NUT file that keeps every presentation time (PyAV).

NUT keeps any time base and absolute times, so the joiner does not have to convert times (see joiner.py).
"""

import errno
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.stream import VideoStream

from defacer.engine.errors import CheckError, OutputError, VideoError
from defacer.engine.media.encoding import Encoding
from defacer.engine.media.h264.access_units import AccessUnit
from defacer.engine.media.h264.copied_stream import CopiedStream
from defacer.engine.media.h264.source_groups import SourceGroup
from defacer.engine.media.readback import MeasuredFrame, Readback
from defacer.engine.media.reader import MAX_REORDER_FRAMES

KEYFRAME_SECONDS = 2  # players seek quickly, and the check of the result encodes short parts again


@dataclass(frozen=True)
class WrittenSegment:
    """The presentation times of a written segment's frames.

    `reorder_depth` is the largest number of frames between the decoding and the display of a frame. `black_frames` is
    the number of frames that could not be decoded (see `damage.py`). `copied` are the times of the frames that were
    copied without encoding them. `first_fitted` is the time of the first frame that
    was fitted into the size or format of the video's first one (see `display/picture_form.py`).
    """

    frames: "array[int]"
    reorder_depth: int
    black_frames: int = 0
    first_fitted: int | None = None
    copied: "array[int]" = field(default_factory=lambda: array("q"))


class SegmentWriter:
    """Encode frames into a segment. Create it with `write_segment`."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        encoding: Encoding,
        quality: int,
        readback: Readback | None = None,
        copied: CopiedStream | None = None,
    ):
        self._container = container
        self._readback = readback
        self._encoding = encoding
        self._quality = quality
        self._copied = copied
        self._stream: VideoStream | None = None
        self._encoder: VideoCodecContext | None = None
        self._encoder_header: bytes | None = None
        self._keyframe_interval = KEYFRAME_SECONDS / encoding.time_base
        self._next_keyframe: Fraction | None = None
        self._shown: list[int] = []
        self._copied_times = array("q")
        self._decode_order: list[int] = []  # presentation times of the packets

    def write(self, frame: av.VideoFrame) -> None:
        """Encode one frame. Its `pts` and `time_base` are kept."""
        encoder = self._open_encoder()
        frame = self._encoding.convert(frame)
        frame.pict_type = self._choose_picture_type(frame.pts or 0)
        if self._readback:
            self._readback.expect(frame)
        self._shown.append(frame.pts or 0)
        with translate_write_errors():
            self._mux(encoder.encode(frame))

    def copy(self, group: SourceGroup, measured: Sequence[MeasuredFrame]) -> None:
        """Write the frames of a group without encoding them. `measured` are its decoded frames (see readback.py)."""
        if self._stream is None:
            self._open_encoder()
        self._finish_encoder()
        if self._readback:
            self._readback.expect_measured(measured)
        times = sorted(group.frames)
        self._shown.extend(times)
        self._copied_times.extend(times)
        with translate_write_errors():
            self._mux([_packet_of(pts, unit, self._encoding.time_base) for pts, unit in group.frames.items()])

    def flush(self) -> None:
        """Write the frames that the encoder still buffers."""
        self._finish_encoder()
        if self._stream is not None and self._readback:
            self._readback.finish()

    @property
    def time_base(self) -> Fraction:
        return self._encoding.time_base

    @property
    def frames(self) -> int:
        """Return how many frames were written."""
        return len(self._shown)

    def result(self, black_frames: int = 0, first_fitted: int | None = None) -> WrittenSegment:
        """Return the times of the written frames. Call it after the block of `write_segment`."""
        rank = {pts: index for index, pts in enumerate(self._shown)}
        depth = max((index - rank[pts] for index, pts in enumerate(self._decode_order)), default=0)
        return WrittenSegment(array("q", self._shown), depth, black_frames, first_fitted, self._copied_times)

    def _choose_picture_type(self, pts: int) -> PictureType:
        """Return the type of a key frame if the last one that this writer demanded is KEYFRAME_SECONDS old.

        The time counts, not the number of frames, because the frame rate of a source can vary or be unknown.
        """
        if self._next_keyframe is not None and pts < self._next_keyframe:
            return PictureType.NONE  # the encoder chooses the type
        self._next_keyframe = pts + self._keyframe_interval
        return PictureType.I

    def _mux(self, packets: list["av.Packet[VideoStream]"]) -> None:
        stream = cast(VideoStream, self._stream)
        for packet in packets:
            packet.stream = stream
            self._decode_order.append(packet.pts or 0)
            if self._copied:  # decode times of several encoders and of the source would overlap
                before = len(self._decode_order) - 1 - MAX_REORDER_FRAMES
                packet.dts = self._shown[before] if before >= 0 else self._shown[0] + before
        if self._readback:
            self._readback.decode_packets(packets, stream.codec_context)
        self._container.mux(packets)

    def _open_encoder(self) -> VideoCodecContext:
        """Return the encoder, and begin the file with the first one. After a copied group, a new encoder begins."""
        if self._encoder is None:
            options = self._encoding.options(self._quality)
            if self._stream is None:
                stream = self._container.add_stream(
                    self._encoding.codec, rate=self._encoding.rate, options=options
                )
                self._stream = cast(VideoStream, stream)
                self._encoder = self._stream.codec_context
                self._stream.time_base = self._encoding.time_base
            else:
                self._encoder = cast(VideoCodecContext, av.CodecContext.create(self._encoding.codec, "w"))
                self._encoder.options, self._encoder.framerate = options, self._encoding.rate
                self._encoder.flags |= Flags.global_header
            self._set_properties(self._encoder)
            if self._copied:
                self._share_header(self._encoder, self._copied)
        return self._encoder

    def _share_header(self, encoder: VideoCodecContext, copied: CopiedStream) -> None:
        """Add the source's parameter sets to the file's header. All encoders must have the same sets."""
        with translate_write_errors():
            encoder.open()
        header = encoder.extradata
        if self._encoder_header not in (None, header):
            raise CheckError(
                "the encoder changed its parameter sets. Turn copy_untouched off, and try again."
            )
        self._encoder_header = header
        if self._stream and encoder is self._stream.codec_context:
            encoder.extradata = copied.shared_header(header or b"")

    def _finish_encoder(self) -> None:
        if self._encoder is not None and self._encoder.is_open:
            with translate_write_errors():
                self._mux(self._encoder.encode(None))
        self._encoder = self._next_keyframe = None

    def _set_properties(self, context: VideoCodecContext) -> None:
        encoding = self._encoding
        # Threads encode whole frames. That is a fifth faster than slices, PyAV's default, and the file is smaller.
        context.thread_type = "FRAME"
        context.width, context.height = encoding.width, encoding.height
        context.pix_fmt = encoding.pixel_format
        context.time_base = encoding.time_base
        if encoding.pixel_shape:
            context.sample_aspect_ratio = encoding.pixel_shape
        context.color_range = encoding.color_range
        context.color_primaries = encoding.color_primaries
        context.color_trc = encoding.color_transfer
        context.colorspace = encoding.color_matrix


def _packet_of(pts: int, unit: AccessUnit, base: Fraction) -> "av.Packet[VideoStream]":
    packet = cast("av.Packet[VideoStream]", av.Packet(unit.data))
    packet.pts, packet.time_base, packet.is_keyframe = pts, base, unit.is_key
    return packet


@contextmanager
def translate_write_errors() -> Iterator[None]:
    """Raise OutputError for a failing disk or connection, and VideoError for streams that an MP4 can't hold.

    Without it, `open_video` would report a failing disk as a damaged source.
    """
    try:
        yield
    except OSError as error:
        advice = "Free some space there, and try again." if error.errno == errno.ENOSPC else "Try again."
        raise OutputError(f"the result could not be written: {error.strerror or error}. {advice}") from error
    except av.error.FFmpegError as error:
        raise VideoError(
            "an MP4 can't hold its streams. Convert the video to H.264 and AAC first."
        ) from error


@contextmanager
def write_segment(
    path: str,
    encoding: Encoding,
    quality: int,
    readback: Readback | None = None,
    copied: CopiedStream | None = None,
) -> Iterator[SegmentWriter]:
    """Open `path` for a segment. `quality` is the constant rate factor: 0 is lossless, 18 looks the same.

    `readback` compares the encoded frames. With `copied`, groups of the source can be copied. A segment without
    frames is an empty file: a still picture can last longer than a segment.
    """
    # By default NUT shifts each file by its reorder delay, but the times must stay absolute.
    with av.open(
        os.path.abspath(path), "w", format="nut", options={"avoid_negative_ts": "disabled"}
    ) as container:
        writer = SegmentWriter(container, encoding, quality, readback, copied)
        yield writer
        writer.flush()
    Path(path).touch()
