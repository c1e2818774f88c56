"""Read videos: the header, and the displayed frames of a time range (PyAV).

Presentation times (`pts`) are integers in the time base of the video stream. Frames that an edit list hides are never
returned: the demuxer marks their packets, and the decoder drops them.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from defacer.engine.errors import NO_FRAME, NO_VIDEO, TooFewKeyFramesError, VideoError
from defacer.engine.media import damage
from defacer.engine.media.clock.clocked_source import Source, clock_of, file_of
from defacer.engine.media.clock.display_order import order_times
from defacer.engine.media.clock.hidden_frames import is_hidden
from defacer.engine.media.clock.packet_clock import BROADCASTS, begin_seconds, demux, is_shown
from defacer.engine.media.display.matroska_crop import read_crop
from defacer.engine.media.display.picture_form import FormConverter, PictureForm
from defacer.engine.media.mp4.boxes import open_binary
from defacer.engine.media.mp4.header_check import read_header
from defacer.engine.media.mp4.sample_count_check import require_plausible_sample_count
from defacer.engine.media.orientation import UPRIGHT, matrix_of
from defacer.engine.runtime.prefetch import usable_threads
from defacer.picture_formats import content_type_of
from defacer.report.clock import Clock

Packets = Iterator["av.Packet[VideoStream]"]
PacketCallback = Callable[["av.Packet[VideoStream]"], None]
ShapedFrame = tuple[av.VideoFrame, Fraction | None]  # with the shape of its pixels, if that can change
# Decoding starts at a key frame this long before the wanted time, or in the end at the start of the file.
SEEK_BACK_SECONDS = (0, 2, 10, 60)
# Without a usable key frame so near, decoding starts at the beginning of the file. Each segment would do that, so it is
# allowed for the first minutes only.
MAX_SECONDS_FROM_START = 600
KEY_FRAME_ADVICE = "Export it with a key frame at least every 10 s."
MAX_HELD_BYTES = 256 * 1024 * 1024  # of the packets since a key frame, in a video that is read from its start
# From this size on, no more threads decode than can compute, because each one holds frames of its own. FFmpeg starts
# one more than the number of cores.
LARGE_PIXELS = 2560 * 1440
PACKET_BYTES = 1024  # of memory for a packet, in addition to its data
DAMAGE_BACK_SECONDS = 10
MAX_REORDER_FRAMES = 16  # a frame is decoded at most as many frames before it is shown (H.264, A.3.1)
MAX_REORDER_SECONDS = 2  # a frame is decoded at most this long before it is shown
# FFmpeg's decoders of these codecs hide errors unless `err_detect` is set.
SILENT_DECODERS = ("hevc", "vp8", "vp9", "libdav1d", "av1", "mjpeg")
MAX_SECONDS = 24 * 3600  # the part of a video that is searched for key frames; no job is longer
MAX_PIXELS = 8192 * 8192  # of a frame, because a decoder allocates several frames of the claimed size
MAX_FRAME_SECONDS = 60.0  # the last frame can be a still picture
DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)}
MATROSKA_KEY = "enc_key_id"  # a tag by FFmpeg for a track that is encrypted
# Filters that remove the units with supplemental messages (SEI). They write start codes, which FFmpeg's decoder of HEVC
# does not accept in place of lengths unless the parameter sets are in the packets, too.
WITHOUT_MESSAGES = {
    "h264": "filter_units=remove_types=6",
    "hevc": "hevc_mp4toannexb,filter_units=remove_types=39-40",
}
# Demuxers that read only the given file. A playlist (concat, HLS, DASH, SDP) would open the files that it names.
DEMUXERS = (
    "mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "flv", "asf", "ogg", "nut", "mxf", "h264",
    "hevc", "ivf", "obu", "yuv4mpegpipe", "dv", "gif", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "mp3", "aac",
    "wav", "flac",
)  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """A time range of a source, `start <= pts < end`. None means no limit."""

    source: Source
    start: int | None = None
    end: int | None = None

    def contains(self, pts: int) -> bool:
        """Return whether a frame with this time is in the segment."""
        return (self.start is None or pts >= self.start) and (self.end is None or pts < self.end)


@dataclass(frozen=True)
class VideoInfo:
    """The header of a video. Width and height are those of the upright frame, in stored pixels.

    `keyframes` are the sorted decode times of the key frames around each second, from the index. A key frame is shown
    a few frames after its decode time. `form` is the form of all frames (see `read_frames`). `frames` is the number of
    frames that the index states, if it does.
    `clock` has the corrections of the times.
    """

    width: int
    height: int
    codec: str
    time_base: Fraction
    start_pts: int
    duration_seconds: float | None
    frame_rate: float | None
    keyframes: tuple[int, ...]
    form: PictureForm
    frames: int | None = None
    clock: Clock = field(default_factory=Clock)


@contextmanager
def open_video(source: Source) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a path or a seekable binary file, and yield the container and its video stream.

    Raises VideoError if it is not a video or has no moving picture (a cover picture does not count). Data that can't be
    read or decoded inside the block raises VideoError too. Errors of the file object itself pass through. A file object
    is read from its start, and only one block at a time can use it.
    """
    file = file_of(source)
    if isinstance(file, str):
        file = os.path.abspath(file)  # FFmpeg takes the start of `12:30.mp4` or `http:x.mp4` for a protocol
    else:
        file.seek(0)
    try:
        # `max_pixels` limits the decoders that the demuxer runs on the first packets.
        options = {"format_whitelist": ",".join(DEMUXERS), **DECODER_OPTIONS}
        container = av.open(file, mode="r", options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise VideoError(_NOT_A_VIDEO) from error
    with container:
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise VideoError(NO_VIDEO)
        pictures = [s for s in container.streams.video if not s.disposition & STILL]
        if not pictures:
            raise VideoError("it has no moving picture. Use a video, such as an MP4.")
        stream = _choose_picture(pictures)
        if stream.codec_context is None:
            raise VideoError("its picture is in a format that can't be decoded. Convert the video to H.264.")
        stream.thread_type = "AUTO"
        if stream.width * stream.height >= LARGE_PIXELS:
            stream.codec_context.thread_count = usable_threads()
        silent = stream.codec_context.name in SILENT_DECODERS
        stream.codec_context.options = DECODER_OPTIONS | ({"err_detect": "explode"} if silent else {})
        try:
            yield container, stream
        except av.error.FFmpegError as error:
            raise VideoError(f"it is damaged. {damage.DAMAGE_ADVICE}") from error


def _choose_picture(pictures: Sequence[VideoStream]) -> VideoStream:
    """Return the track that a player shows: with frames of a known codec, and switched on.

    A track of one frame, or in a codec of photos, is a cover that is not marked as one, if another track is a video.
    """
    frames = [_indexed_frames(stream) for stream in pictures]
    longest = max(frames)

    def rank(number: int) -> tuple[bool, ...]:
        stream = pictures[number]
        return (
            stream.codec_context is None,
            frames[number] <= 1 < longest,
            stream.codec_context is not None and stream.name in PHOTO_CODECS,
            not stream.disposition & Disposition.default,
        )

    return pictures[min(range(len(pictures)), key=rank)]


def _indexed_frames(stream: VideoStream) -> int:
    """Return the number of frames in the index of an MP4. The index of another file does not have all frames."""
    return len(stream.index_entries) if stream.container.format.name.startswith("mov") else 0


PHOTO_CODECS = ("mjpeg", "png", "bmp", "webp", "tiff", "gif")
_NOT_A_VIDEO = (
    "it is not a video that can be read, or its end is missing. Copy or export it again, as an MP4."
)
STILL = Disposition.attached_pic | Disposition.timed_thumbnails


def read_video_info(source: Source) -> VideoInfo:
    """Read the header of a video. Raises VideoError if it is missing, or contradicts itself or the picture."""
    _refuse_photo(source)
    require_plausible_sample_count(file_of(source))
    header = read_header(file_of(source))
    if header is not None:
        header.require_consistent_durations()
    with open_video(source) as (container, stream):
        if not stream.width or not stream.height:
            raise VideoError(
                f"its header states no picture size, or more than {MAX_PIXELS} pixels. Export the video smaller."
            )
        duration = None
        if stream.duration is not None:
            duration = float(stream.duration * time_base(stream))
        elif container.duration is not None:
            duration = container.duration / 1_000_000  # libavformat counts a container's time in microseconds
        rate = stream.average_rate or stream.guessed_rate
        if header is not None:
            header.require_picture_size(stream.width, stream.height)
        start = stream.start_time or 0
        _require_plausible_duration(stream, duration)
        form = form_of_first(first_frame(container, stream), source, container, stream)
        upright = replace(form.orientation, pixel_width=1, pixel_height=1)
        width, height = upright.displayed_size(form.width, form.height)
        return VideoInfo(
            width=width,
            height=height,
            codec=stream.codec_context.name,
            time_base=time_base(stream),
            start_pts=start,
            duration_seconds=duration,
            frame_rate=float(rate) if rate else None,
            keyframes=_find_keyframes(stream, start, duration),
            form=form,
            frames=stream.frames or None,
        )


def _refuse_photo(source: Source) -> None:
    """Raise VideoError for a HEIC or AVIF. FFmpeg shows each of its tiles as a video of one frame."""
    with open_binary(file_of(source)) as file:
        file.seek(0)
        head = file.read(12)
    kind = content_type_of(head)
    if kind in ("image/heic", "image/avif") and not head.endswith(b"avis"):  # "avis" is an animation
        raise VideoError(NO_VIDEO)


def time_base(stream: VideoStream) -> Fraction:
    """Return the stream's time base: the seconds of one unit of `pts`. Raises VideoError if it has none."""
    if stream.time_base is None:
        raise VideoError("its picture has no time base. Export the video again.")
    return stream.time_base


def _find_keyframes(stream: VideoStream, start: int, duration: float | None) -> tuple[int, ...]:
    """Return the key frames next to each second.

    They are searched, because the index of a long video lists hundreds of thousands of frames.
    """
    entries = stream.index_entries
    numerator, denominator = (1 / time_base(stream)).as_integer_ratio()
    found = set[int]()
    after = start - 1
    for number in range(math.ceil(min(duration or 0, MAX_SECONDS))):
        target = start + number * numerator // denominator
        if target <= after:
            continue  # between two key frames that are found already
        for backward in (False, True):
            index = entries.search_timestamp(target, backward=backward)
            if index >= 0:
                found.add(pts := entries[index].timestamp)
                after = max(after, pts)
                if pts == target:
                    break
    # With frames out of order, the first key frame is decoded before `start`.
    return tuple(sorted({max(pts, start) for pts in found}))


def _require_plausible_duration(stream: VideoStream, duration: float | None) -> None:
    """Raise VideoError if the header states far more than the index holds, because each segment costs a worker."""
    if (
        duration is None
        or not stream.container.format.name.startswith("mov")
        or not len(stream.index_entries)
    ):
        return
    first, last = sorted(entry.timestamp for entry in (stream.index_entries[0], stream.index_entries[-1]))
    indexed = float((last - (stream.start_time or 0)) * time_base(stream))
    if stream.frames == 0:  # in fragments, FFmpeg counts the duration from 0
        duration -= float(first * time_base(stream))
    if duration > 2 * indexed + MAX_FRAME_SECONDS:
        raise VideoError(
            f"its header says that the video lasts {duration:.1f} s, its index that it lasts {indexed:.1f} s. "
            "Export the video again."
        )


def first_frame(
    container: InputContainer,
    stream: VideoStream,
    clock: Clock | None = None,
    without: BitStreamFilterContext | None = None,
) -> av.VideoFrame:
    """Decode the first frame that a player shows, after the filter `without` removed parts of the packets.

    It has properties that no header states. Do not use the container afterwards. Raises VideoError for an encrypted
    picture, and if no frame can be decoded.
    """
    for packet in demux(container, stream, clock or Clock(), picture_only=True):
        if packet.has_sidedata("encryption_info") or MATROSKA_KEY in stream.metadata:
            raise VideoError("it is encrypted. Export it without copy protection.")
        try:
            parts = without.filter(packet) if without and packet.size else [packet]
            frames = [frame for part in parts for frame in stream.decode(part)]
        except av.error.InvalidDataError:
            continue
        if frames:
            return frames[0]
    raise VideoError(NO_FRAME)


def read_picture_form(source: Source) -> PictureForm:
    """Return the form of all frames that are read: the form of the first frame, cropped as a player shows it.

    Raises VideoError if no frame can be decoded.
    """
    with open_video(source) as (container, stream):
        return form_of_first(first_frame(container, stream), source, container, stream)


def form_of_first(
    frame: av.VideoFrame, source: Source, container: InputContainer, stream: VideoStream
) -> PictureForm:
    """Return the form of all frames of a video that begins with this frame. Do not use its side data afterwards."""
    number, codec = container.streams.video.index(stream), stream.codec_context.name
    shape = _changing_shape(container, stream) or stream.sample_aspect_ratio
    form = PictureForm.of_first(frame, shape, read_crop(file_of(source), number), codec in PHOTO_CODECS)
    if form.matrix == UPRIGHT or codec not in WITHOUT_MESSAGES:
        return form
    with open_video(source) as (container, stream):  # the caller does not read from its container anymore
        messages = BitStreamFilterContext(WITHOUT_MESSAGES[codec], stream)
        if codec == "hevc":
            stream.codec_context.extradata = None
        return form.with_matrix(matrix_of(first_frame(container, stream, without=messages)))


def _changing_shape(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Return the pixel aspect ratio of the last decoded frame; None if the container states one for the whole video.

    A broadcast states none.
    """
    if container.format.name not in BROADCASTS:
        return None
    return stream.codec_context.sample_aspect_ratio or Fraction(1)


def read_frames(
    source: Source,
    start: int | None = None,
    end: int | None = None,
    black: list[int] | None = None,
    on_skip: Callable[[], None] = lambda: None,
    converter: FormConverter | None = None,
    on_packet: PacketCallback | None = None,
) -> Iterator[av.VideoFrame]:
    """Yield the displayed frames with `start <= pts < end`, in order. None means no limit.

    All frames have the form of the `converter`, by default that of the video's first frame (see `read_picture_form`).

    Raises VideoError for a frame that can't be decoded, or has no time of its own. No frame is skipped
    silently. With a list as `black`, a frame that can't be decoded is black instead, and its time is added to the list.
    `on_skip` is called for each frame between a key frame and the first wanted frame, which can be minutes. It can
    raise an error to stop. `on_packet` gets each packet before it is decoded, unless damaged frames become black. It
    can get packets again, from an earlier key frame on.
    """
    last: int | None = None
    clock = clock_of(source)
    converter = converter or FormConverter(read_picture_form(source))
    damaged = None if black is None else _read_past_damage(source, start, end, black, on_skip)
    frames = damaged or _read(source, start, on_packet)
    for frame, shape in frames:
        if clock.first is not None and frame.pts is not None and frame.pts < clock.first:
            continue
        last = _require_usable(frame, last)
        if end is not None and last >= end:
            return
        if start is None or last >= start:
            yield converter.convert(frame, shape)
        else:
            on_skip()


def _read(source: Source, start: int | None, on_packet: PacketCallback | None) -> Iterator[ShapedFrame]:
    with open_video(source) as (container, stream):
        frames = _decode_from(container, stream, clock_of(source), start, on_packet)
        yield from _with_shapes(_in_order(frames, clock_of(source)), container, stream)


def _in_order(frames: Iterator[av.VideoFrame], clock: Clock) -> Iterator[av.VideoFrame]:
    return order_times(frames, MAX_REORDER_FRAMES) if clock.is_reordered else frames


def _with_shapes(
    frames: Iterator[av.VideoFrame], container: InputContainer, stream: VideoStream
) -> Iterator[ShapedFrame]:
    """Yield frames with the shape of their pixels. It changes at key frames, and the decoder is ahead of its frames."""
    shape: Fraction | None = None
    for frame in frames:
        if frame.key_frame:
            shape = _changing_shape(container, stream)
        yield frame, shape


def _read_past_damage(
    source: Source, start: int | None, end: int | None, black: list[int], on_skip: Callable[[], None]
) -> Iterator[ShapedFrame]:
    """Read the range twice, because later packets decide whether a frame counts as damaged."""
    clock = clock_of(source)
    with open_video(source) as (container, stream):
        base = time_base(stream)
        search_start = None if start is None else start - round(DAMAGE_BACK_SECONDS / base)
        search_end = None if end is None else end + round(MAX_REORDER_SECONDS / base)
        packets = next(_packets_from_keyframes(container, stream, clock, search_start))
        found = damage.scan_for_corruption(damage.decode_packets(packets, stream, on_skip), search_end, clock)
    with open_video(source) as (container, stream):
        packets = next(_packets_from_keyframes(container, stream, clock, search_start))
        wanted = Segment(source, start, end)
        due = deque(sorted(found.shown & found.damaged))

        def make_black_frame(pts: int) -> av.VideoFrame:
            if wanted.contains(pts):
                black.append(pts)
            return damage.black_frame(found.sample, pts)

        def frames_of_range() -> Iterator[av.VideoFrame]:
            for _, frames in damage.decode_packets(packets, stream):
                for frame in frames or ():
                    if frame.pts is None or frame.pts in found.damaged:
                        continue
                    while due and due[0] < frame.pts:
                        yield make_black_frame(due.popleft())
                    yield frame
            yield from map(make_black_frame, due)

        yield from _with_shapes(_in_order(frames_of_range(), clock), container, stream)


def _require_usable(frame: av.VideoFrame, last: int | None) -> int:
    """Return the time of the frame. Raises VideoError unless it is after the `last` frame."""
    at = f"the frame at {float(frame.time or 0):.2f} s"
    if frame.pts is None or frame.time_base is None:
        raise VideoError("a frame has no presentation time. Convert the video to MP4 first.")
    if last is not None and frame.pts <= last:
        raise VideoError(
            f"{at} has the same time as the frame before, or an earlier one. Convert the video to MP4 first."
        )
    return frame.pts


def _decode_from(
    container: InputContainer,
    stream: VideoStream,
    clock: Clock,
    start: int | None,
    on_packet: PacketCallback | None,
) -> Iterator[av.VideoFrame]:
    """Yield the decoded frames, from a key frame at or before `start`."""
    begin = begin_seconds(container, clock, time_base(stream))
    for packets in _packets_from_keyframes(container, stream, clock, start):
        reported = _report_packets(packets, on_packet) if on_packet else packets
        frames = _decode_packets(reported, clock, begin)
        first = next(frames, None)
        if first and first.pts is not None and first.pts <= (start or 0) and not first.is_corrupt:
            break
    if first is not None:
        for frame in chain((first,), frames):
            if frame.is_corrupt and (clock.first is None or (frame.pts or 0) >= clock.first):
                raise damage.damage_at((frame.time or 0.0) - float(begin))
            yield frame


def _report_packets(packets: Packets, on_packet: PacketCallback) -> Packets:
    for packet in packets:
        on_packet(packet)
        yield packet


def _packets_from_keyframes(
    container: InputContainer, stream: VideoStream, clock: Clock, start: int | None
) -> Iterator[Packets]:
    """Yield the packets from a key frame at or before `start`, then those from earlier and earlier key frames.

    The last item has all packets of the file. If the times depend on earlier packets, the key frame is at least
    MAX_REORDER_SECONDS before `start`, or all packets are read. Raises VideoError if `start` is too far from the begin.
    """
    begin, base = stream.start_time or 0, time_base(stream)
    margin = round(MAX_REORDER_SECONDS / base) if clock.is_reordered or clock.has_moved else 0
    if start is not None and clock.is_sequential:
        packets: Packets = demux(container, stream, clock, picture_only=True)
        yield _skip_to_last_keyframe(packets, start - margin)
        return
    if start is not None:
        for back in SEEK_BACK_SECONDS:
            target = start - clock.offsets[0] - margin - round(back / base)
            if target <= begin:
                break
            container.seek(target, stream=stream, backward=True)
            found = demux(container, stream, clock, picture_only=True)
            packets = _skip_to_keyframe(found, start + round(MAX_REORDER_SECONDS / base))
            first = next(packets, None)
            if first is not None and (first.pts is None or first.pts <= start - margin):
                yield chain((first,), packets)
        if (start - clock.offsets[0] - begin) * base > MAX_SECONDS_FROM_START:
            raise TooFewKeyFramesError(
                f"it has no usable key frame within {SEEK_BACK_SECONDS[-1]} s before {float(start * base):.0f} s. "
                f"{KEY_FRAME_ADVICE}"
            )
        try:
            container.seek(min(begin, 0), stream=stream, backward=True)
        except av.error.PermissionError:  # an FLV whose first key frame is later
            container.seek(begin, stream=stream, backward=True)
    found = demux(container, stream, clock, picture_only=True)
    # A decoder can report the frames before the first key frame later, as if others were damaged.
    yield found if clock.first is None else _skip_to_keyframe(found, clock.first)


def _skip_to_keyframe(packets: Packets, until: int) -> Packets:
    """Skip packets until a key frame, because without an index a seek ends between two key frames.

    A decoder without the parameter sets of a key frame reports every packet as damaged. Without a key frame until the
    time `until`, yield nothing: the rest of the file can be large.
    """
    for packet in packets:
        if packet.is_keyframe:
            yield packet
            yield from packets
        elif packet.dts is not None and packet.dts > until:
            return


def _skip_to_last_keyframe(packets: Packets, limit: int) -> Packets:
    """Skip packets until the last key frame at or before `limit`. Without one, keep the first packets.

    Raises TooFewKeyFramesError if the packets since that key frame take more than MAX_HELD_BYTES.
    """
    held: list[av.Packet[VideoStream]] = []
    held_bytes = 0
    for packet in packets:
        is_late = packet.pts is None or packet.pts > limit
        if packet.is_keyframe and not is_late:
            held.clear()
            held_bytes = 0
        held.append(packet)
        held_bytes += packet.size + PACKET_BYTES
        if held_bytes > MAX_HELD_BYTES:
            raise TooFewKeyFramesError(
                f"it has no key frame for {MAX_HELD_BYTES // 1024**2} MB. {KEY_FRAME_ADVICE}"
            )
        if is_late:
            break
    yield from held
    yield from packets


def _decode_packets(packets: Packets, clock: Clock, begin: Fraction) -> Iterator[av.VideoFrame]:
    """Decode packets. Raises VideoError for a damaged one. A player shows the time `begin` as 0."""
    seconds = 0.0
    for packet in packets:
        # Later frames are decoded from a hidden one.
        shows = not packet.size or is_hidden(packet) or is_shown(packet, clock)
        if packet.pts is not None:
            seconds = float(packet.pts * packet.time_base - begin)
        if packet.is_corrupt and shows:
            raise damage.damage_at(seconds)
        try:
            yield from packet.decode()
        except av.error.InvalidDataError as error:
            if shows or packet.is_discard:
                raise damage.damage_at(seconds) from error
