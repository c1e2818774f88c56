"""Join encoded segments with the other streams of their source into one MP4, and check the result.

Packets are copied, and no stream is encoded again. Decode times are rebuilt: the n-th packet in decode order gets the
n-th presentation time, moved back by the reorder depth. These times rise strictly and are never later than the packet's
presentation time. The intervals before the first presentation time repeat those before the last one, so that the
decode times span as long as the presentation times.

Source and segments are read once, from first to last, and are not kept in memory. So they can be remote files of any
length. `check_result` reads the result once more.
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
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from defacer.engine.errors import NO_FRAME, CheckError, VideoError
from defacer.engine.media import side_streams
from defacer.engine.media.clock.clocked_source import Source, clock_of, file_of
from defacer.engine.media.clock.packet_clock import begin_seconds, demux
from defacer.engine.media.mp4.faststart import FaststartWriter
from defacer.engine.media.mp4.header_check import Mp4Header, read_header
from defacer.engine.media.mp4.user_data import list_user_data
from defacer.engine.media.orientation import UPRIGHT, Matrix
from defacer.engine.media.passthrough import PassthroughResult, PassthroughStreams, TimedPacket
from defacer.engine.media.reader import open_video, read_picture_form, time_base
from defacer.engine.media.segment_writer import WrittenSegment, translate_write_errors
from defacer.engine.media.side_streams import SOUND_END_SECONDS, TrackDigest
from defacer.engine.media.sound.sound_plan import SoundPlans, plan_sound
from defacer.engine.media.source_audit import SourceAudit
from defacer.engine.media.telemetry import find_telemetry_tracks
from defacer.engine.options import SoundMode
from defacer.plurals import pluralize
from defacer.report.changes import ChangeCode, SourceChange, list_dropped

MAX_TIMESCALE = 2**31 - 1
PICTURE_END_SECONDS = 0.002  # the unit of edit lists is a millisecond or less
Times = NDArray[np.int64]
HEVC_TAG = "hvc1"  # Apple's players do not play "hev1", which FFmpeg writes by default


@dataclass(frozen=True)
class SegmentFile:
    """One segment: how to open its NUT file, and the times that its report lists."""

    open: Callable[[], AbstractContextManager[Source]]
    written: WrittenSegment

    @classmethod
    def from_path(cls, path: str, written: WrittenSegment) -> Self:
        """Return a segment whose NUT file is on this machine."""
        return cls(lambda: nullcontext(path), written)


@dataclass(frozen=True)
class JoinResult:
    """A joined video. `head` are the bytes before the samples: header and index.

    `shown` are the times of the result's frames in `time_base`, and `end` is when the last one ends. `fingerprint` is
    that of the source (see `fingerprint_of`). `changes` are the differences to the source beside its faces, each once.
    """

    head: bytes = field(repr=False)
    time_base: Fraction
    shown: Times = field(repr=False)
    end: int
    sound: list[TrackDigest] = field(repr=False)
    texts: list[TrackDigest] = field(repr=False)
    chapters: list[float] = field(repr=False)
    fingerprint: str
    changes: tuple[SourceChange, ...]

    @property
    def dropped(self) -> tuple[str, ...]:
        return list_dropped(self.changes)

    @property
    def frames(self) -> int:
        return len(self.shown)

    @property
    def audio_packets(self) -> int:
        return sum(track.count for track in self.sound)


def join_files(
    source: Source,
    segments: Sequence[SegmentFile],
    out: Path,
    *,
    past_damage: bool = False,
    sound: SoundMode = "convert",
) -> JoinResult:
    """Join segments into the faststart MP4 `out`, and check it. Raises the errors of `join` and `check_result`."""
    samples = out.with_suffix(".samples")
    with samples.open("wb") as body:
        joined = join(source, segments, body, past_damage=past_damage, sound=sound)
    with translate_write_errors(), samples.open("rb") as body, out.open("wb") as result:
        result.write(joined.head)
        shutil.copyfileobj(body, result, 1024 * 1024)
    samples.unlink()
    check_result(str(out), joined)
    return joined


def join(
    source: Source,
    segments: Sequence[SegmentFile],
    body: BinaryIO,
    progress: Callable[[], None] = lambda: None,
    *,
    past_damage: bool = False,
    sound: SoundMode = "convert",
) -> JoinResult:
    """Join segments with the sound, subtitles and chapters of `source`, and write the samples of the MP4 to `body`.

    Raises CheckError unless the segments have every displayed frame of the source exactly once. Without `past_damage`,
    raises VideoError for a source that is cut off. `progress` is called often and can raise an error to stop.
    """
    segments = [segment for segment in segments if segment.written.frames]
    if not segments:
        raise VideoError(NO_FRAME)
    shown = np.sort(np.concatenate([np.array(segment.written.frames, np.int64) for segment in segments]))
    _require_equal(shown, np.unique(shown), "the segments' reports list", "the frames at different times are")
    form, telemetry, plans = (
        read_picture_form(source),
        find_telemetry_tracks(source),
        plan_sound(source, sound),
    )
    out, clock = FaststartWriter(body), clock_of(source)
    with ExitStack() as reading:
        container, picture = reading.enter_context(open_video(source))
        base = time_base(picture)  # read it inside the block: later PyAV would read freed memory
        begin = round(begin_seconds(container, clock, base) / base)
        audit = SourceAudit(container, picture, clock)
        with _open_result(out, picture, plans) as result:
            passthrough = PassthroughStreams(
                container, result, begin * base, telemetry, plans, drop_early=clock.first is not None
            )
            with segments[0].open() as first, open_video(first) as (_, template):
                video = _add_video_stream(result, template, base, form.matrix)
                header = _codec_header(template)
            pictures = _video_packets(segments, _decode_times(shown, segments), video, begin, header)
            # The last packets are written after the whole source was read, because their duration depends on it.
            last: list[Packet[Any]] = []
            copied = passthrough.packets(demux(container, picture, clock), audit)
            for _, packet in heapq.merge(pictures, copied, key=lambda item: item[0]):
                progress()
                if packet.stream is video and (last or packet.pts == shown[-1] - begin):
                    last.append(packet)
                    continue
                with translate_write_errors():
                    result.mux_one(packet)
            if not past_damage:
                audit.require_whole()
            source_shows = np.sort(np.array(audit.frame_times))
            _require_equal(shown, source_shows, "the segments' reports list", "the source shows")
            end = audit.picture_end  # read it inside the block, like `base`
            for packet in last:
                packet.duration = end - int(shown[-1])
                with translate_write_errors():
                    result.mux_one(packet)
            changes = [
                *clock.changes,
                *form.changes,
                *_find_fitted(segments, begin, base),
                *side_streams.find_dropped(container, picture.index),
                *passthrough.changes,
            ]
            reading.close()  # frees the source's index before the result's index is written
    changes += [SourceChange(ChangeCode.DROPPED_USER_DATA, kind) for kind in list_user_data(file_of(source))]
    return JoinResult(
        head=out.head(form.projection.sample_entry_boxes(), form.projection.track_boxes()),
        time_base=base,
        shown=shown - begin,
        end=end - begin,
        sound=passthrough.sound,
        texts=passthrough.texts,
        chapters=passthrough.chapters,
        fingerprint=audit.fingerprint,
        changes=tuple(dict.fromkeys(changes)),
    )


def _find_fitted(segments: Sequence[SegmentFile], begin: int, base: Fraction) -> Iterator[SourceChange]:
    """Yield the change of a picture whose frames were fitted into the size or format of the first one."""
    times = [segment.written.first_fitted for segment in segments]
    first = min((time for time in times if time is not None), default=None)
    if first is not None:
        text = f"a picture that changes its size or format at {float((first - begin) * base):.2f} s"
        yield SourceChange(ChangeCode.CONVERTED_PICTURE, text)


def check_result(result: Source, joined: JoinResult, progress: Callable[[], None] = lambda: None) -> None:
    """Read the result once more.

    Raises CheckError unless every frame, sound packet, subtitle and chapter is in the result at its time. Picture,
    sound and file must end when those of the source end.
    """
    with open_video(result) as (container, picture):
        audit, copied = SourceAudit(container, picture), PassthroughResult(container)
        streams = (picture, *container.streams.audio, *container.streams.subtitles)
        for packet in container.demux(*streams):
            progress()
            if packet.size and packet.stream_index == picture.index:
                audit.add_packet(packet)
            elif packet.size:
                copied.add_packet(packet)
        base = time_base(picture)
        picture_end = float(audit.picture_end * base)  # read it inside the block, like `base` in `join`
        last_chapter = max((_end_of(chapter) for chapter in container.chapters()), default=0.0)
    scale = base / joined.time_base
    times = np.array(audit.frame_times) * scale.numerator / scale.denominator
    _require_equal(
        np.sort(np.rint(times).astype(np.int64)), joined.shown, "the result shows", "the source shows"
    )
    copied.require_same(joined.sound, joined.texts, joined.chapters)
    end = float(joined.end * joined.time_base)
    _require_end("picture", picture_end, end, PICTURE_END_SECONDS)
    header = read_header(file_of(result)) or Mp4Header()
    for track in header.tracks:
        if track.kind == b"vide" and track.samples_duration is not None:
            samples_end = float(joined.shown[0] * joined.time_base) + track.samples_duration / track.timescale
            _require_end("last sample", samples_end, end, PICTURE_END_SECONDS)
    last_end = max(end, last_chapter, copied.end, *(track.end for track in joined.sound))
    _require_end("file", (header.duration or 0) / (header.timescale or 1), last_end, SOUND_END_SECONDS)


def _end_of(chapter: Mapping[str, Any]) -> float:
    return float(chapter["end"] * (chapter["time_base"] or 0))


def _require_end(what: str, found: float, expected: float, tolerance: float) -> None:
    if abs(found - expected) > tolerance:
        raise CheckError(
            f"the result's {what} ends at {found:.3f} s instead of {expected:.3f} s. Nothing was published. "
            "Process the video again."
        )


def fingerprint_of(source: Source) -> str:
    """Return a hash that identifies a video, of the times and sizes of its picture packets. Raises VideoError."""
    with open_video(source) as (container, picture):
        audit = SourceAudit(container, picture, clock_of(source))
        for packet in demux(container, picture, clock_of(source)):
            audit.add_packet(packet)
    return audit.fingerprint


@contextmanager
def _open_result(out: FaststartWriter, picture: VideoStream, sound: SoundPlans) -> Iterator[OutputContainer]:
    scale = _movie_timescale(time_base(picture), [plan.rate for plan in sound.tracks])
    with translate_write_errors():
        result = av.open(out, "w", format="mp4", options={"movie_timescale": str(scale)})
    try:
        yield result
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            result.close()
        raise
    with translate_write_errors():
        result.close()


def _movie_timescale(base: Fraction, rates: Sequence[int]) -> int:
    """Return a timescale for edit lists that states the first time of every track exactly."""
    exact = math.lcm(base.denominator, *rates)
    if exact > MAX_TIMESCALE:
        exact = base.denominator
    return exact * -(-1000 // exact)


def _add_video_stream(
    result: OutputContainer, template: VideoStream, base: Fraction, matrix: Matrix
) -> VideoStream:
    video = result.add_stream_from_template(template)
    video.time_base = base
    if template.codec_context.name == "hevc":
        video.codec_context.codec_tag = HEVC_TAG
    if matrix != UPRIGHT:
        video.set_display_matrix(matrix)
    return video


def _codec_header(stream: VideoStream) -> tuple[Any, ...]:
    return (stream.width, stream.height, stream.pix_fmt, stream.codec_context.extradata)


def _video_packets(
    segments: Sequence[SegmentFile],
    decode_times: Iterator[int],
    stream: VideoStream,
    begin: int,
    header: tuple[Any, ...],
) -> Iterator[TimedPacket]:
    """Yield the packets of all segments, checked against their reports, at times relative to `begin`.

    Raises CheckError. The MP4 has one codec header, so a segment with another one would be unreadable.
    """
    base = cast(Fraction, stream.time_base)
    for number, segment in enumerate(segments):
        times = array("q")
        with segment.open() as file, open_video(file) as (container, encoded):
            if _codec_header(encoded) != header:
                raise CheckError(
                    f"segment {number} was encoded in another way than the first. Nothing was published. "
                    "Process the video again."
                )
            scale = time_base(encoded) / base
            for packet in container.demux(encoded):
                if not packet.size:
                    continue
                time = _source_time(packet, scale)
                decode_time = next(decode_times, None)
                if decode_time is None or decode_time > time:
                    raise CheckError(
                        f"segment {number} does not have the frames that its report lists. Process the video again."
                    )
                times.append(time)
                packet.pts, packet.dts, packet.time_base = time - begin, decode_time - begin, base
                # NUT has no durations. Only those of the last packets matter (see `join`).
                packet.duration = 1
                packet.stream = stream
                yield side_streams.to_seconds(packet.dts, base), packet
        _require_equal(
            np.sort(times), np.sort(segment.written.frames), f"segment {number} has", "its report lists"
        )


def _source_time(packet: "Packet[VideoStream]", scale: Fraction) -> int:
    """Return a packet's time in the source's time base, which is coarser than NUT's. Raises CheckError.

    `scale` is the number of the source's units in one unit of the packet.
    """
    time, rest = divmod((packet.pts or 0) * scale.numerator, scale.denominator)
    if packet.pts is None or rest:
        raise CheckError(
            "a segment has a frame at a time that the source does not have. Process the video again."
        )
    return time


def _decode_times(shown: Times, segments: Sequence[SegmentFile]) -> Iterator[int]:
    """Yield decode times for the packets of all segments, in decode order (see the module's docstring)."""
    depth = max(segment.written.reorder_depth for segment in segments)
    yield from map(int, shown[len(shown) - 1 - depth : -1] - (shown[-1] - shown[0]))
    yield from map(int, shown)


def _require_equal(found: Times, expected: Times, found_in: str, expected_in: str) -> None:
    if np.array_equal(found, expected):
        return
    missing, extra = len(np.setdiff1d(expected, found)), len(found) - len(np.intersect1d(found, expected))
    raise CheckError(
        f"{found_in} {pluralize(len(found), 'frame')}, {expected_in} {len(expected)}: {missing} missing, {extra} "
        "too many or at another time. Nothing was published. Process the video again."
    )
