"""Choose how a result is encoded, from the header and the first frame of the source.

So all segments of a job are encoded in the same way, on machines with any number of cores, and with or without a GPU.
A source with 8 bits becomes H.264, and one with more bits becomes HEVC with 10 bits. Size, pixel aspect ratio, colors,
chroma planes and fields stay as they are. An interlaced picture with more than 8 bits becomes H.264 (High 10), because
players do not support fields in HEVC.

The bit rate is limited by the source's, because a rate factor alone makes the results of low-rate videos up to four
times as large as their sources.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from defacer.engine.media.clock.clocked_source import Source, clock_of
from defacer.engine.media.clock.section_rates import (
    PART_SECONDS,
    RATE_FACTOR,
    LowRates,
    limit_sections,
    lowest_limit,
)
from defacer.engine.media.display.picture_form import PictureForm
from defacer.engine.media.hdr import x265_parameters
from defacer.engine.media.orientation import Orientation
from defacer.engine.media.reader import LARGE_PIXELS, first_frame, form_of_first, open_video, time_base
from defacer.engine.runtime.prefetch import usable_threads

X264_PRESET = "veryfast"  # 2.5 s for 10 s of 720p on two cores, where "medium" takes 6.2 s
X265_PRESET = "superfast"  # 1.4 times x264's time; "veryfast" takes 2.4 times
IDR = {"forced-idr": "1"}
FALLBACK_RATE = Fraction(30)
# AVFieldOrder as FFmpeg's decoders use it, by the field that is shown first. FFmpeg's header describes the mixed
# orders the other way round.
TOP_FIRST, BOTTOM_FIRST = (2, 4), (3, 5)
RGB, BT601 = 0, 6  # ITU-T H.273
# The largest rate, by the rate of the source's picture, and the bits that a part of the result can take in advance, in
# seconds of that rate. A result of 2 s or more is so at most 1.48 times as large. Five clips of 10 s and 260 to 1,975
# kbit/s become 1.36 to 1.38 times as large, at 43.6 to 48.5 dB. Without a limit: 1.59 to 3.84 times, 45.4 to 52.2 dB.
MAX_BUFFER_SECONDS, BUFFER_SHARE = 1.5, 0.15
MAX_BUFFER_BITS = 2**31 - 1  # FFmpeg's own limit, which a picture without compression can exceed


@dataclass(frozen=True)
class RateLimit:
    """The largest bit rate, and the size of the decoder's buffer that averages it."""

    bits_per_second: int
    buffer_bits: int


@dataclass(frozen=True)
class Encoding:
    """How frames are encoded. `fields` is "tff", "bff" or None (progressive). `hdr` are parameters for x265.

    `form` is that of the frames (see `read_frames`). Without `limit`, the rate factor alone decides. `sets_number` is
    the number of x264's parameter sets (see `h264/copied_stream.py`).
    """

    codec: str
    pixel_format: str
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    pixel_shape: Fraction | None
    color_range: int
    color_primaries: int
    color_transfer: int
    color_matrix: int
    orientation: Orientation
    form: PictureForm
    fields: str | None = None
    hdr: tuple[str, ...] = ()
    limit: RateLimit | None = None
    sets_number: int | None = None

    def options(self, quality: int) -> dict[str, str]:
        """Return the encoder's options. `quality` is the constant rate factor: 0 is lossless, 18 looks the same.

        The encoder makes each I frame that the writer demands a key frame. Lossless encoding has no limit of the rate.
        """
        rate, x265 = {"crf": str(quality)}, ["log-level=error", "info=0"]
        if quality == 0:  # with more than 8 bits, a rate factor of 0 is not lossless
            rate = {"qp": "0"} if self.codec == "libx264" else {}
            x265.append("lossless=1")
        elif self.limit:
            rate |= {"maxrate": str(self.limit.bits_per_second), "bufsize": str(self.limit.buffer_bits)}
        if self.codec == "libx264":
            x264 = [f"{self.fields}=1"] if self.fields else []
            x264 += [] if self.sets_number is None else [f"sps-id={self.sets_number}"]
            x264 += self._memory_limits() if self.width * self.height >= LARGE_PIXELS else []
            return {"preset": X264_PRESET, **rate, **IDR} | ({"x264-params": ":".join(x264)} if x264 else {})
        # Closed groups of pictures, because segments are joined and players seek.
        parameters = [*x265, "open-gop=0", *self.hdr]
        return {"preset": X265_PRESET, **rate, **IDR, "x265-params": ":".join(parameters)}

    @staticmethod
    def _memory_limits() -> list[str]:
        """Return options with which x264 holds fewer frames. A frame of 4K takes about 25 MB.

        No lookahead thread saves four frames and changes no bit. The shorter lookahead and the lower number of threads
        save 0.2 GB, at the same PSNR and size (4K, 138 frames of two clips).
        """
        return ["sync-lookahead=0", "rc-lookahead=5", f"threads={usable_threads()}"]

    def convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame in the pixel format of the encoding."""
        if frame.format.name == self.pixel_format:
            return frame
        if _is_rgb(frame.format):
            return frame.reformat(format=self.pixel_format, dst_colorspace="ITU601", dst_color_range="MPEG")
        if _is_gray(frame.format) and frame.color_range:  # otherwise FFmpeg assumes full range
            color_range = int(frame.color_range)
            return frame.reformat(
                format=self.pixel_format, src_color_range=color_range, dst_color_range=color_range
            )
        return frame.reformat(format=self.pixel_format)


def encoding_of(source: Source) -> Encoding:
    """Return the encoding for a source. Raises VideoError if no frame can be decoded."""
    with open_video(source) as (container, stream):
        frame = first_frame(container, stream)
        fields, hdr = _fields(stream, frame), tuple(x265_parameters(frame))
        form = form_of_first(frame, source, container, stream)
        deep = max(component.bits for component in frame.format.components) > 8
        pixel_format = _chroma(frame, form) + ("10le" if deep else "")
        if frame.format.name.startswith("yuvj") and not deep:
            pixel_format = pixel_format.replace("yuv", "yuvj")
        codec = "libx265" if deep and not fields else "libx264"
        rgb = _is_rgb(frame.format)
        rate = stream.average_rate or FALLBACK_RATE
        return Encoding(
            codec=codec,
            pixel_format=pixel_format,
            width=form.width,
            height=form.height,
            rate=rate,
            time_base=time_base(stream),
            pixel_shape=form.pixel_shape,
            color_range=0 if rgb else int(frame.color_range),
            color_primaries=int(frame.color_primaries),
            color_transfer=int(frame.color_trc),
            # A gray PNG states the matrix of RGB too, and players would show its result in color.
            color_matrix=BT601 if rgb or int(frame.colorspace) == RGB else int(frame.colorspace),
            orientation=form.orientation,
            form=form,
            fields=fields,
            hdr=hdr if codec == "libx265" else (),
            limit=_rate_limit(
                container, stream, form.width * form.height * rate, clock_of(source).rate_limit
            ),
        )


def _rate_limit(
    container: InputContainer, stream: VideoStream, pixel_rate: Fraction, scanned: int
) -> RateLimit | None:
    """Return the limit of the result's bit rate, or None if the source's is unknown or very high.

    `scanned` is the limit for the rates of all packets, if they were read.

    It depends on the file alone, so all segments have the same.
    """
    if not container.duration or container.duration < 0:
        return None
    seconds = container.duration / 1_000_000  # libavformat counts a container's time in microseconds
    # A track that no decoder knows has no codec context, and so no bit rate.
    sound = sum(track.bit_rate or 0 for track in container.streams.audio if track.codec_context is not None)
    # A header can state a wrong duration, and the index of a fragmented file has its first frames only.
    found = max(container.size * 8 / seconds - sound, _indexed_rate(stream))
    lowest = lowest_limit(float(pixel_rate))
    rate = max(RATE_FACTOR * found, _changing_limit(stream, lowest), scanned, lowest)
    buffer_bits = int(rate * min(MAX_BUFFER_SECONDS, BUFFER_SHARE * seconds))
    return RateLimit(int(rate), buffer_bits) if buffer_bits <= MAX_BUFFER_BITS else None


def _indexed_rate(stream: VideoStream) -> float:
    """Return the bit rate of the packets in the index, or 0 without an index."""
    entries = stream.index_entries
    if len(entries) < 2:
        return 0.0
    seconds = float((entries[-1].timestamp - entries[0].timestamp) * time_base(stream))
    return sum(entry.size for entry in entries) * 8 / seconds if seconds > 0 else 0.0


def _changing_limit(stream: VideoStream, lowest: float) -> int:
    """Return the limit for the changing rate of the packets in the index, or 0 without an index."""
    entries = stream.index_entries
    times = np.array([entry.timestamp for entry in entries], np.float64) * float(time_base(stream))
    bits = np.array([entry.size for entry in entries], np.float64) * 8
    places, parts = np.unique(np.floor(times / PART_SECONDS), return_inverse=True)
    sums = np.bincount(parts, bits)
    keys = [entry.size * 8 for entry in entries if entry.is_keyframe]
    seconds = float(np.ptp(times)) if len(times) else 0.0
    low = LowRates(lowest, seconds, float(np.median(keys)) if keys else 0.0)
    return limit_sections({(0, int(place)): int(n) for place, n in zip(places, sums, strict=True)}, low)


def _is_gray(form: av.VideoFormat) -> bool:
    return form.name.startswith(("gray", "ya"))  # "ya" has transparency too


def _is_rgb(form: av.VideoFormat) -> bool:
    """Return whether the samples are RGB values, numbers of palette colors, or black and white."""
    return form.is_rgb or form.has_palette or form.name.startswith("mono")


def _chroma(frame: av.VideoFrame, size: PictureForm) -> str:
    """Return the planar 8-bit format that keeps all chroma samples, of those that players support."""
    form = frame.format
    if _is_gray(form) or _is_rgb(form):
        across, down = (2, 2) if _is_gray(form) else (1, 1)
    else:
        across = -(-64 // form.chroma_width(64))
        down = -(-64 // form.chroma_height(64))
    odd_width, odd_height = size.width % 2, size.height % 2
    if across >= 2 and down >= 2 and not odd_width and not odd_height:
        return "yuv420p"
    return "yuv422p" if across >= 2 and down == 1 and not odd_width else "yuv444p"


def _fields(stream: VideoStream, frame: av.VideoFrame) -> str | None:
    order = int(stream.codec_context.field_order)
    if not frame.interlaced_frame and order not in (*TOP_FIRST, *BOTTOM_FIRST):
        return None
    bottom_first = order in BOTTOM_FIRST or (not order and stream.codec_context.name == "dvvideo")
    return "bff" if bottom_first else "tff"
