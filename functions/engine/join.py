"""Segments and their source to one MP4: packets are copied, nothing is encoded again, everything is checked.

Decode times are rebuilt: the n-th packet in decode order gets the n-th presentation time, moved back by the
reorder depth. That is strictly rising, never later than the packet's own presentation, and needs nothing from
the segments but their presentation times.

Source and segments are each read once, from first to last, and nothing of them is held: neither time nor memory
hang on where they lie. What was joined is read once more by `check`.
"""

import heapq
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import av
from av import Packet
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from functions.engine import tracks
from functions.engine.errors import CheckError, VideoError
from functions.engine.index_first import IndexFirst
from functions.engine.orientation import UPRIGHT, Matrix, matrix_of
from functions.engine.source_watch import SourceWatch
from functions.engine.tracks import Heard, Sent, seconds_of
from functions.engine.user_data import user_data
from functions.engine.video import Source, first_frame, open_video, time_base
from functions.engine.write import Written, writing

MOST_TIMESCALE = 2**31 - 1
BROADCASTS = ("mpegts", "mpeg")
HEVC_TAG = "hvc1"  # "hev1", FFmpeg's own choice, is not played by Apple's players


@dataclass(frozen=True)
class SegmentFile:
    """One segment: how to open its NUT file, and what its report says was written."""

    open: Callable[[], AbstractContextManager[Source]]
    written: Written

    @classmethod
    def at(cls, path: str, written: Written) -> Self:
        """A segment that lies on this machine."""
        return cls(lambda: nullcontext(path), written)


@dataclass(frozen=True)
class Joined:
    """What was written. `head` comes before the samples: header and index.

    `shown` are the frames' times in `time_base`, as the result has them; `fingerprint` is the source's (see
    `fingerprint_of`), `dropped` what of it is not in the result (see `tracks.dropped`).
    """

    head: bytes = field(repr=False)
    time_base: Fraction
    shown: list[int] = field(repr=False)
    sound: list[Sent] = field(repr=False)
    fingerprint: str
    dropped: tuple[str, ...]

    @property
    def audio_packets(self) -> int:
        return sum(track.count for track in self.sound)


def join_files(source: Source, segments: Sequence[SegmentFile], out: Path) -> Joined:
    """Join segments into the MP4 `out`; the index comes first. See `join` and `check` for what is raised."""
    samples = out.with_suffix(".samples")
    with samples.open("wb") as body:
        joined = join(source, segments, body)
    with writing(), samples.open("rb") as body, out.open("wb") as result:
        result.write(joined.head)
        shutil.copyfileobj(body, result, 1024 * 1024)
    samples.unlink()
    check(str(out), joined)
    return joined


def join(
    source: Source,
    segments: Sequence[SegmentFile],
    body: BinaryIO,
    progress: Callable[[], None] = lambda: None,
) -> Joined:
    """Join segments with the sound, subtitles and chapters of `source`; the samples of the MP4 go into `body`.

    Raises CheckError unless every displayed frame of the source was concealed exactly once. `progress` is called
    often and may raise to stop.
    """
    segments = [segment for segment in segments if segment.written.frames]
    if not segments:
        raise VideoError("it shows no frame. Export it again.")
    shown = sorted(pts for segment in segments for pts in segment.written.frames)
    _require_equal(shown, sorted(set(shown)), "the segments' reports cover", "there are at most")
    matrix = _matrix(source)
    out = IndexFirst(body)
    with open_video(source) as (container, picture):
        base = time_base(picture)  # not after the block: PyAV would read freed memory
        begin = round(_begin_seconds(container) / base)
        seen = SourceWatch(container, picture)
        with _writing(out, container, picture) as result:
            copies = _Copies(container, result, begin * base)
            with segments[0].open() as first, open_video(first) as (_, template):
                video = _add_picture(result, template, base, matrix)
                header = _header(template)
            pictures = _picture_packets(segments, _decode_times(shown, segments), video, begin, header)
            for _, packet in heapq.merge(pictures, copies.packets(seen), key=lambda item: item[0]):
                progress()
                with writing():
                    result.mux_one(packet)
        seen.require_whole()
        dropped = tracks.dropped(container, picture.index)
    dropped += user_data(source)
    early = sum(pts < shown[0] for pts in seen.times)
    if early and early == len(seen.times) - len(shown):
        raise VideoError(
            f"its first {early} frames can't be decoded: it was cut where no key frame is. Export it again."
        )
    _require_equal(shown, sorted(seen.times), "the segments' reports cover", "the source shows")
    shown = [time - begin for time in shown]
    return Joined(out.head(), base, shown, copies.sent, seen.fingerprint, dropped)


def check(result: Source, joined: Joined, progress: Callable[[], None] = lambda: None) -> None:
    """Read what was joined once more. Raises CheckError unless every frame and sound packet is there at its time."""
    found: dict[int, Sent] = {}
    with open_video(result) as (container, picture):
        seen = SourceWatch(container, picture)
        for packet in container.demux(picture, *container.streams.audio):
            progress()
            if not packet.size:
                continue
            if packet.stream_index == picture.index:
                seen.take(packet)
            else:
                sent = found.setdefault(packet.stream_index, _sent_for(packet))
                sent.add(packet, seconds_of(packet))
        times = [round(pts * time_base(picture) / joined.time_base) for pts in sorted(seen.times)]
        order = [stream.index for stream in container.streams.audio]
    _require_equal(times, joined.shown, "the result shows", "the source shows")
    silent = [sent for sent in joined.sound if not sent.count]
    if len(order) + len(silent) < len(joined.sound) or len(found) != len(joined.sound) - len(silent):
        raise CheckError(
            "the result has not all of the source's sound. Nothing was published; drop the video again."
        )
    heard = [sent for sent in joined.sound if sent.count]
    for sent, index in zip(heard, sorted(found), strict=True):
        sent.require_same(found[index])


def fingerprint_of(source: Source) -> str:
    """A hash by which a video is known again: of the times and sizes of its picture's packets. Raises VideoError."""
    with open_video(source) as (container, picture):
        seen = SourceWatch(container, picture)
        for packet in container.demux():
            seen.take(packet)
    return seen.fingerprint


Timed = tuple[float, "Packet[Any]"]


class _Copies:
    """The sound and subtitles of a source on their way into the result. `sent` is told track by track."""

    def __init__(self, source: InputContainer, result: OutputContainer, begin_seconds: Fraction):
        self._source = source
        self._begin_seconds = begin_seconds
        self._sound = {stream.index: tracks.add_sound(result, stream) for stream in tracks.sound_of(source)}
        self._heard = {stream.index: Heard(_is_pcm(stream)) for stream in source.streams.audio}
        self._subtitles = {
            stream.index: tracks.add_subtitles(result, stream) for stream in tracks.subtitles_of(source)
        }
        self._sent: dict[int, Sent] = {}
        result.set_chapters(source.chapters())

    @property
    def sent(self) -> list[Sent]:
        return [self._sent.get(index, Sent(is_pcm=False)) for index in self._sound]

    def packets(self, seen: SourceWatch) -> Iterator[Timed]:
        """The packets to write, each with its time in seconds; all of the source's packets are shown to `seen`."""
        for packet in self._source.demux():
            seen.take(packet)
            if not packet.size:
                continue
            index = packet.stream_index
            if index in self._sound:
                for heard in self._heard[index].take(packet):
                    self._move(heard)
                    seconds = seconds_of(heard)
                    self._sent.setdefault(index, _sent_for(heard)).add(heard, seconds)
                    heard.stream = self._sound[index]
                    yield seconds, heard
            elif index in self._subtitles and not packet.is_discard:
                self._move(packet)
                for text in tracks.subtitle_packets(cast("Packet[Any]", packet), self._subtitles[index]):
                    yield seconds_of(text), text

    def _move(self, packet: "Packet[Any]") -> None:
        begin = round(self._begin_seconds / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - begin
        packet.dts = None if packet.dts is None else packet.dts - begin


def _begin_seconds(container: InputContainer) -> Fraction:
    """The time at which a broadcast's own clock stood when it began: a player takes that for 0."""
    if container.format.name not in BROADCASTS:
        return Fraction(0)
    begins = [
        stream.start_time * (stream.time_base or 1)
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.start_time is not None
    ]
    return Fraction(min(begins, default=0))


def _sent_for(packet: "Packet[Any]") -> Sent:
    return Sent(is_pcm=_is_pcm(packet.stream))


def _is_pcm(stream: Any) -> bool:
    return bool(stream.codec_context.name.startswith("pcm_"))


@contextmanager
def _writing(out: IndexFirst, source: InputContainer, picture: VideoStream) -> Iterator[OutputContainer]:
    scale = _movie_timescale(time_base(picture), [stream.rate or 1 for stream in source.streams.audio])
    with writing():
        result = av.open(out, "w", format="mp4", options={"movie_timescale": str(scale)})
    try:
        yield result
    except BaseException:
        with suppress(Exception):  # what went wrong first is what counts
            result.close()
        raise
    with writing():
        result.close()


def _movie_timescale(base: Fraction, rates: Sequence[int]) -> int:
    """Units a second in which edit lists say when a track begins: fine enough for every track's first time."""
    exact = math.lcm(base.denominator, *rates)
    if exact > MOST_TIMESCALE:
        exact = base.denominator
    return exact * -(-1000 // exact)


def _matrix(source: Source) -> Matrix:
    with open_video(source) as (container, stream):
        frame = first_frame(container, stream)
        return UPRIGHT if frame is None else matrix_of(frame)


def _add_picture(
    result: OutputContainer, template: VideoStream, base: Fraction, matrix: Matrix
) -> VideoStream:
    video = result.add_stream_from_template(template)
    video.time_base = base
    if template.codec_context.name == "hevc":
        video.codec_context.codec_tag = HEVC_TAG
    if matrix != UPRIGHT:
        video.set_display_matrix(matrix)
    return video


def _header(stream: VideoStream) -> tuple[Any, ...]:
    return (stream.width, stream.height, stream.pix_fmt, stream.codec_context.extradata)


def _picture_packets(
    segments: Sequence[SegmentFile],
    decode_times: Iterator[int],
    stream: VideoStream,
    begin: int,
    header: tuple[Any, ...],
) -> Iterator[Timed]:
    """The packets of all segments, each checked against its report, at times that count from `begin`.

    Raises CheckError.
    The MP4 has one codec header for all: a segment with another one would be unreadable.
    """
    base = cast(Fraction, stream.time_base)
    for number, segment in enumerate(segments):
        times = []
        with segment.open() as file, open_video(file) as (container, encoded):
            if _header(encoded) != header:
                raise CheckError(
                    f"segment {number} was encoded in another way than the first. Nothing was published; drop the "
                    "video again."
                )
            for packet in container.demux(encoded):
                if not packet.size:
                    continue
                time = _exact_time(packet, time_base(encoded), base)
                decode_time = next(decode_times, None)
                if decode_time is None or decode_time > time:
                    raise CheckError(
                        f"segment {number} does not hold what its report says. Drop the video again."
                    )
                times.append(time)
                packet.pts, packet.dts, packet.time_base = time - begin, decode_time - begin, base
                packet.stream = stream
                yield float(packet.dts * base), packet
        _require_equal(
            sorted(times), sorted(segment.written.frames), f"segment {number} holds", "its report says"
        )


def _exact_time(packet: "Packet[VideoStream]", written: Fraction, base: Fraction) -> int:
    """NUT writes a finer time base than it is given; the way back is exact, or the segment is not ours."""
    time = (packet.pts or 0) * written / base
    if packet.pts is None or time.denominator != 1:
        raise CheckError("a segment has a frame at a time that the source does not have.")
    return int(time)


def _decode_times(shown: list[int], segments: Sequence[SegmentFile]) -> Iterator[int]:
    """Decode times for the packets of all segments, in decode order (see the module's text)."""
    depth = max(segment.written.reorder_depth for segment in segments)
    step = shown[1] - shown[0] if len(shown) > 1 else 1
    yield from (shown[0] - step * (depth - index) for index in range(depth))
    yield from shown


def _require_equal(found: list[int], expected: list[int], found_in: str, expected_in: str) -> None:
    if found != expected:
        missing, extra = len(set(expected) - set(found)), len(set(found) - set(expected))
        raise CheckError(
            f"{found_in} {len(found)} frames where {expected_in} {len(expected)}: {missing} missing, {extra} "
            "too many or at another time. Nothing was published; drop the video again."
        )
