"""Segments and their source to one MP4: packets are copied, nothing is encoded again, everything is checked.

Decode times are rebuilt: the n-th packet in decode order gets the n-th presentation time, moved back by the
reorder depth. That is strictly rising, never later than the packet's own presentation, and needs nothing from
the segments but their presentation times. The intervals before the first presentation time repeat those before the
last one, so all intervals in decode order last as long as all in presentation order.

Source and segments are each read once, from first to last, and nothing of them is held: neither time nor memory
hang on where they lie. What was joined is read once more by `check`.
"""

import heapq
import math
import shutil
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import av
import numpy as np
from av import Packet
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from defacer.engine.errors import CheckError, VideoError
from defacer.engine.media import side_streams
from defacer.engine.media.mp4.faststart import FaststartWriter
from defacer.engine.media.mp4.header_check import Mp4Header, read_header
from defacer.engine.media.mp4.user_data import user_data
from defacer.engine.media.orientation import UPRIGHT, Matrix, matrix_of
from defacer.engine.media.passthrough import PassthroughResult, PassthroughStreams, Timed, begin_seconds
from defacer.engine.media.reader import Source, first_frame, open_video, time_base
from defacer.engine.media.segment_writer import Written, writing
from defacer.engine.media.side_streams import SOUND_END_SECONDS, TrackDigest
from defacer.engine.media.source_audit import SourceAudit
from defacer.engine.media.telemetry import telemetry_tracks
from defacer.plurals import pluralize

MAX_TIMESCALE = 2**31 - 1
PICTURE_END_SECONDS = 0.002  # edit lists count in milliseconds or finer units
Times = NDArray[np.int64]
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

    `shown` are the frames' times in `time_base`, as the result has them, and `end` is when the last one ends;
    `fingerprint` is the source's (see `fingerprint_of`). `dropped` lists what the result leaves out (see
    `tracks.dropped`).
    """

    head: bytes = field(repr=False)
    time_base: Fraction
    shown: Times = field(repr=False)
    end: int
    sound: list[TrackDigest] = field(repr=False)
    texts: list[TrackDigest] = field(repr=False)
    chapters: list[float] = field(repr=False)
    fingerprint: str
    dropped: tuple[str, ...]

    @property
    def frames(self) -> int:
        return len(self.shown)

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
    shown = np.sort(np.concatenate([np.array(segment.written.frames, np.int64) for segment in segments]))
    _require_equal(shown, np.unique(shown), "the segments' reports cover", "there are at most")
    matrix, telemetry = _matrix(source), telemetry_tracks(source)
    out = FaststartWriter(body)
    with ExitStack() as reading:
        container, picture = reading.enter_context(open_video(source))
        base = time_base(picture)  # not after the block: PyAV would read freed memory
        begin = round(begin_seconds(container) / base)
        seen = SourceAudit(container, picture)
        with _writing(out, container, picture) as result:
            copies = PassthroughStreams(container, result, begin * base, telemetry)
            with segments[0].open() as first, open_video(first) as (_, template):
                video = _add_picture(result, template, base, matrix)
                header = _header(template)
            pictures = _picture_packets(segments, _decode_times(shown, segments), video, begin, header)
            last: list[Packet[Any]] = []  # wait until the source has said how long its last frame is shown
            for _, packet in heapq.merge(pictures, copies.packets(seen), key=lambda item: item[0]):
                progress()
                if packet.stream is video and (last or packet.pts == shown[-1] - begin):
                    last.append(packet)
                    continue
                with writing():
                    result.mux_one(packet)
            seen.require_whole()
            _require_all_shown(shown, np.sort(np.array(seen.times)))
            end = seen.picture_end  # inside the block, as `base`
            for packet in last:
                packet.duration = end - int(shown[-1])
                with writing():
                    result.mux_one(packet)
            dropped = side_streams.dropped(container, picture.index) + copies.dropped
            reading.close()  # the index of hours takes room that writing the result's needs
    dropped += user_data(source)
    return Joined(
        head=out.head(),
        time_base=base,
        shown=shown - begin,
        end=end - begin,
        sound=copies.sound,
        texts=copies.texts,
        chapters=copies.chapters,
        fingerprint=seen.fingerprint,
        dropped=dropped,
    )


def _require_all_shown(shown: Times, source_shows: Times) -> None:
    early = int((source_shows < shown[0]).sum())
    if early and early == len(source_shows) - len(shown):
        raise VideoError(
            f"{pluralize(early, 'frame')} at its start can't be decoded: it was cut where no key frame is. "
            "Export it again."
        )
    _require_equal(shown, source_shows, "the segments' reports cover", "the source shows")


def check(result: Source, joined: Joined, progress: Callable[[], None] = lambda: None) -> None:
    """Read what was joined once more.

    Raises CheckError unless every frame, sound packet, subtitle and chapter is there at its time, and unless the
    picture, the sound and the file end when those of the source end.
    """
    with open_video(result) as (container, picture):
        seen, copied = SourceAudit(container, picture), PassthroughResult(container)
        streams = (picture, *container.streams.audio, *container.streams.subtitles)
        for packet in container.demux(*streams):
            progress()
            if packet.size and packet.stream_index == picture.index:
                seen.take(packet)
            elif packet.size:
                copied.take(packet)
        base = time_base(picture)
        picture_end = float(seen.picture_end * base)  # inside the block, as `time_base` in `join`
        last_chapter = max((_end_of(chapter) for chapter in container.chapters()), default=0.0)
    scale = base / joined.time_base
    times = np.array(seen.times) * scale.numerator / scale.denominator
    _require_equal(
        np.sort(np.rint(times).astype(np.int64)), joined.shown, "the result shows", "the source shows"
    )
    copied.require_same(joined.sound, joined.texts, joined.chapters)
    end = float(joined.end * joined.time_base)
    _require_end("picture", picture_end, end, PICTURE_END_SECONDS)
    header = read_header(result) or Mp4Header()
    for track in header.tracks:
        if track.kind == b"vide" and track.held is not None:
            samples_end = float(joined.shown[0] * joined.time_base) + track.held / track.scale
            _require_end("last sample", samples_end, end, PICTURE_END_SECONDS)
    last_of_all = max(end, last_chapter, copied.end, *(track.end for track in joined.sound))
    _require_end("file", (header.length or 0) / (header.scale or 1), last_of_all, SOUND_END_SECONDS)


def _end_of(chapter: Mapping[str, Any]) -> float:
    return float(chapter["end"] * (chapter["time_base"] or 0))


def _require_end(what: str, found: float, expected: float, tolerance: float) -> None:
    if abs(found - expected) > tolerance:
        raise CheckError(
            f"the result's {what} ends at {found:.3f} s instead of {expected:.3f} s. Nothing was published; "
            "drop the video again."
        )


def fingerprint_of(source: Source) -> str:
    """A hash by which a video is known again: of the times and sizes of its picture's packets. Raises VideoError."""
    with open_video(source) as (container, picture):
        seen = SourceAudit(container, picture)
        for packet in container.demux():
            seen.take(packet)
    return seen.fingerprint


@contextmanager
def _writing(out: FaststartWriter, source: InputContainer, picture: VideoStream) -> Iterator[OutputContainer]:
    rates = [stream.rate or 1 for stream in side_streams.sound_of(source)]
    scale = _movie_timescale(time_base(picture), rates)
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
    if exact > MAX_TIMESCALE:
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
        times = array("q")
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
                packet.duration = 1  # NUT has none. Only those of the last packets count (see `join`).
                packet.stream = stream
                yield float(packet.dts * base), packet
        _require_equal(
            np.sort(times), np.sort(segment.written.frames), f"segment {number} holds", "its report says"
        )


def _exact_time(packet: "Packet[VideoStream]", written: Fraction, base: Fraction) -> int:
    """NUT writes a finer time base than it is given; the way back is exact, or the segment is not ours."""
    time = (packet.pts or 0) * written / base
    if packet.pts is None or time.denominator != 1:
        raise CheckError("a segment has a frame at a time that the source does not have.")
    return int(time)


def _decode_times(shown: Times, segments: Sequence[SegmentFile]) -> Iterator[int]:
    """Decode times for the packets of all segments, in decode order (see the module's text)."""
    depth = max(segment.written.reorder_depth for segment in segments)
    yield from map(int, shown[len(shown) - 1 - depth : -1] - (shown[-1] - shown[0]))
    yield from map(int, shown)


def _require_equal(found: Times, expected: Times, found_in: str, expected_in: str) -> None:
    if np.array_equal(found, expected):
        return
    missing, extra = len(np.setdiff1d(expected, found)), len(found) - len(np.intersect1d(found, expected))
    raise CheckError(
        f"{found_in} {pluralize(len(found), 'frame')} where {expected_in} {len(expected)}: {missing} missing, {extra} "
        "too many or at another time. Nothing was published; drop the video again."
    )
