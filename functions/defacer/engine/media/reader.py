"""Videos in: what the header says, and the displayed frames of a time range (PyAV).

Presentation times (`pts`) are integers in the video stream's time base. What a player would not show (frames
that an edit list cuts away) is never given out: the demuxer marks such packets and the decoder drops them.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, dropwhile
from typing import BinaryIO

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from defacer.engine.errors import VideoError
from defacer.engine.media import damage
from defacer.engine.media.mp4.header_check import read_header
from defacer.engine.media.mp4.sample_count_check import require_likely_samples
from defacer.engine.media.orientation import orientation_of
from defacer.engine.models.gpu import hardware_decoder

Source = str | BinaryIO
Packets = Iterator["av.Packet[VideoStream]"]
# How far before a time to look for the key frame that decoding must start from; then the file's start.
SEEK_BACK_SECONDS = (0, 2, 10, 60)
DAMAGE_BACK_SECONDS = 10
LOOK_PAST_SECONDS = 2  # frames are decoded this much sooner than shown, at most
# FFmpeg's decoders of these go on after an error without a word, unless they are told to give up.
SILENT_DECODERS = ("hevc", "vp8", "vp9", "libdav1d", "av1", "mjpeg")
MAX_SECONDS = 24 * 3600  # of which key frames are looked up: no job is longer
MAX_PIXELS = 8192 * 8192  # of a frame: a decoder makes room for several of the size that is claimed
LONGEST_FRAME_SECONDS = 60.0  # the last one may stand still
DECODE = {"max_pixels": str(MAX_PIXELS)}
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
    """What a video's header says. Width and height are the upright frame's, in stored pixels of whatever shape.

    `keyframes` are sorted decode times of key frames, those around each second, as far as the index tells: a
    few frames before the times they are shown at.
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
        # The second one is for the decoders that look into the first packets.
        options = {"format_whitelist": ",".join(DEMUXERS), **DECODE}
        container = av.open(source, mode="r", options=options, hwaccel=decoder, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise VideoError(_NOT_A_VIDEO) from error
    with container:
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise VideoError("it is a picture, not a video. Drop a video file such as an MP4.")
        pictures = [s for s in container.streams.video if not s.disposition & STILL]
        if not pictures:
            raise VideoError("it has no moving picture. Drop a video file such as an MP4.")
        # As players choose: another one may be switched off.
        stream = next((s for s in pictures if s.disposition & Disposition.default), pictures[0])
        if stream.codec_context is None:
            raise VideoError("its picture is in a format that can't be decoded here. Convert it to H.264.")
        stream.thread_type = "AUTO"
        silent = stream.codec_context.name in SILENT_DECODERS
        stream.codec_context.options = DECODE | ({"err_detect": "explode"} if silent else {})
        try:
            yield container, stream
        except av.error.FFmpegError as error:
            raise VideoError(f"it is damaged. {_DAMAGED}") from error


_DAMAGED = 'Export the video again, or accept black in place of such frames (on_decode_error: "hide").'
_NOT_A_VIDEO = (
    "it is not a video that can be read, or its end is missing. Copy or export it again, as an MP4."
)
STILL = Disposition.attached_pic | Disposition.timed_thumbnails


def probe(source: Source) -> VideoInfo:
    """Read a video's header. Raises VideoError if there is none, or one that contradicts itself or the picture."""
    require_likely_samples(source)
    header = read_header(source)
    if header is not None:
        header.require_true()
    with open_video(source) as (container, stream):
        if not stream.width or not stream.height:
            raise VideoError(
                f"its header gives no picture size, or one above {MAX_PIXELS} pixels. Export it smaller."
            )
        duration = None
        if stream.duration is not None:
            duration = float(stream.duration * time_base(stream))
        elif container.duration is not None:
            duration = container.duration / 1_000_000  # libavformat counts a container's time in microseconds
        rate = stream.average_rate or stream.guessed_rate
        width, height = stream.width, stream.height
        if header is not None:
            header.require_size(width, height)
        frame = first_frame(container, stream)
        if frame is not None:
            width, height = orientation_of(frame).displayed_size(width, height)
        start = stream.start_time or 0
        _require_true_length(stream, duration)
        return VideoInfo(
            width=width,
            height=height,
            codec=stream.codec_context.name,
            time_base=time_base(stream),
            start_pts=start,
            duration_seconds=duration,
            frame_rate=float(rate) if rate else None,
            keyframes=_some_keyframes(stream, start, duration),
        )


def time_base(stream: VideoStream) -> Fraction:
    """The stream's time base: seconds for one unit of `pts`. Raises VideoError if it has none."""
    if stream.time_base is None:
        raise VideoError("its picture has no time base. Export the video again.")
    return stream.time_base


def _some_keyframes(stream: VideoStream, start: int, duration: float | None) -> tuple[int, ...]:
    """Those next to each second. Searched, not listed: an index of hours has hundreds of thousands of frames."""
    entries = stream.index_entries
    numerator, denominator = (1 / time_base(stream)).as_integer_ratio()
    found = set[int]()
    after = start - 1
    for number in range(math.ceil(min(duration or 0, MAX_SECONDS))):
        at = start + number * numerator // denominator
        if at <= after:
            continue  # between two that are found already
        for backward in (False, True):
            index = entries.search_timestamp(at, backward=backward)
            if index >= 0:
                found.add(pts := entries[index].timestamp)
                after = max(after, pts)
                if pts == at:
                    break
    return tuple(sorted(pts for pts in found if pts >= start))


def _require_true_length(stream: VideoStream, duration: float | None) -> None:
    """Refuse a header that promises far more than the file's own index holds: each segment costs a worker."""
    if (
        duration is None
        or not stream.container.format.name.startswith("mov")
        or not len(stream.index_entries)
    ):
        return
    last = max(entry.timestamp for entry in (stream.index_entries[0], stream.index_entries[-1]))
    held = float((last - (stream.start_time or 0)) * time_base(stream))
    if duration > 2 * held + LONGEST_FRAME_SECONDS:
        raise VideoError(
            f"its header promises {duration:.0f} s, its index ends after {held:.0f} s. Export the video again."
        )


def first_frame(container: InputContainer, stream: VideoStream) -> av.VideoFrame | None:
    """The first frame that a player shows: it tells what no header does. None if none can be decoded.

    Use the container for nothing else after it. Raises VideoError for an encrypted picture.
    """
    for packet in container.demux(stream):
        if packet.has_sidedata("encryption_info"):
            raise VideoError("it is encrypted. Export it without copy protection.")
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        if frames:
            return frames[0]
    return None


def read_frames(
    source: Source,
    start: int | None = None,
    end: int | None = None,
    black: list[int] | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[av.VideoFrame]:
    """The displayed frames with `start <= pts < end`, in order; None is open.

    Raises VideoError for a frame that can't be decoded, has no time of its own, or is of another size or format
    than the one before: nothing is skipped in silence. With a list as `black`, what
    can't be decoded is black instead, and its time is added to the list. `waiting` is called for each frame on the
    way to the first wanted one, which may be minutes from a key frame; it may raise to stop.
    """
    before: _Form | None = None
    frames = _read(source, start) if black is None else _read_past_damage(source, start, end, black, waiting)
    for frame in frames:
        before = _require_usable(frame, before)
        if end is not None and before.pts >= end:
            return
        if start is None or before.pts >= start:
            yield frame
        else:
            waiting()


def _read(source: Source, start: int | None) -> Iterator[av.VideoFrame]:
    with open_video(source, hardware_decoder()) as (container, stream):
        yield from _decode_from(container, stream, start)


def _read_past_damage(
    source: Source, start: int | None, end: int | None, black: list[int], waiting: Callable[[], None]
) -> Iterator[av.VideoFrame]:
    """Reads twice: what is damaged is known only after what follows it."""
    with open_video(source) as (container, stream):
        base = time_base(stream)
        before = None if start is None else start - round(DAMAGE_BACK_SECONDS / base)
        far_enough = None if end is None else end + round(LOOK_PAST_SECONDS / base)
        packets = next(_starts_before(container, stream, before))
        found = damage.scan_for_corruption(damage.decode_all(packets, stream, waiting), far_enough)
    with open_video(source) as (container, stream):
        packets = next(_starts_before(container, stream, before))
        wanted = Segment(source, start, end)
        due = iter(found.shown)

        def in_place_of(pts: int) -> av.VideoFrame:
            if wanted.holds(pts):
                black.append(pts)
            return damage.black(found.sample, pts)

        for _, frames in damage.decode_all(packets, stream):
            for frame in frames or ():
                if frame.pts is None or frame.pts in found.damaged:
                    continue
                for pts in due:
                    if pts >= frame.pts:
                        break
                    yield in_place_of(pts)
                yield frame
        yield from map(in_place_of, due)


@dataclass(frozen=True)
class _Form:
    pts: int
    size: tuple[int, int]
    pixel_format: str
    rotation: int


def _require_usable(frame: av.VideoFrame, before: _Form | None) -> _Form:
    at = f"the frame at {float(frame.time or 0):.2f} s"
    if frame.pts is None or frame.time_base is None:
        raise VideoError("a frame has no presentation time. Convert the video to MP4 first.")
    if frame.is_corrupt:
        raise VideoError(f"{at} is damaged. {_DAMAGED}")
    form = _Form(frame.pts, (frame.width, frame.height), frame.format.name, int(frame.rotation))
    if before is None:
        return form
    if frame.pts <= before.pts:
        raise VideoError(
            f"{at} has the same time as the one before, or an earlier one. Convert it to MP4 first."
        )
    if form != replace(before, pts=form.pts):
        raise VideoError(f"its picture changes size or format at {at}. Export it in one size.")
    return form


def _decode_from(
    container: InputContainer, stream: VideoStream, start: int | None
) -> Iterator[av.VideoFrame]:
    """Decode from a key frame at or before `start` on."""
    for packets in _starts_before(container, stream, start):
        frames = _decoded(packets)
        first = next(frames, None)
        if first and first.pts is not None and first.pts <= (start or 0) and not first.is_corrupt:
            break
    if first is not None:
        yield first
        yield from frames


def _starts_before(container: InputContainer, stream: VideoStream, start: int | None) -> Iterator[Packets]:
    """Yield the packets from a key frame at or before `start` on; then, in turn, from key frames further back.

    The last ones begin where the file begins.
    """
    begin = stream.start_time or 0
    if start is not None:
        for back in SEEK_BACK_SECONDS:
            goal = start - round(back / time_base(stream))
            if goal <= begin:
                break
            container.seek(goal, stream=stream, backward=True)
            packets = _from_key_frame(container.demux(stream))
            first = next(packets, None)
            if first is not None and (first.pts is None or first.pts <= start):
                yield chain((first,), packets)
        container.seek(min(begin, 0), stream=stream, backward=True)
    yield container.demux(stream)


def _from_key_frame(packets: Packets) -> Packets:
    """Skip packets until a key frame: without an index, a seek ends between two of them.

    A decoder that has not seen the parameter sets of the key frame rejects every packet as damaged.
    """
    return dropwhile(lambda packet: not packet.is_keyframe, packets)


def _decoded(packets: Packets) -> Iterator[av.VideoFrame]:
    """Decode packets. Raises VideoError for a packet that the container knows to be damaged."""
    for packet in packets:
        if packet.is_corrupt:
            raise VideoError(f"a part of it is damaged or missing. {_DAMAGED}")
        yield from packet.decode()
