"""Segments and their source to one MP4: packets are copied, nothing is encoded again, everything is checked.

Decode times are rebuilt: the n-th packet in decode order gets the n-th presentation time, moved back by the
reorder depth. That is strictly rising, never later than the packet's own presentation, and needs nothing from
the segments but their presentation times.
"""

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av import Packet
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from functions.engine.errors import CheckError, VideoError
from functions.engine.video import Source, display_rotation, open_video, time_base
from functions.engine.write import writing

CUT_OFF_SECONDS = (
    1.0  # a header's duration may be rounded, and a last frame be shown for longer than it lasts
)
SOUND_SECONDS = 0.01  # an MP4 counts a sound track's time in samples, other files in milliseconds
MOST_TIMESCALE = 2**31 - 1


@dataclass(frozen=True)
class SegmentFile:
    """One segment: its NUT file's path, and the presentation times that its report says it did."""

    video: str
    frames: tuple[int, ...]


@dataclass(frozen=True)
class JoinResult:
    """What was written: picture frames and audio packets. `fingerprint` is the source's (see `fingerprint_of`)."""

    frames: int
    audio_packets: int
    fingerprint: str


def join(
    source: Source,
    segments: Sequence[SegmentFile],
    out: str,
    progress: Callable[[], None] = lambda: None,
) -> JoinResult:
    """Join segments into the MP4 `out`, with the sound of `source`; the index comes first.

    Raises CheckError unless every displayed frame of the source was concealed exactly once and every frame
    and audio packet is in the result at its time. `progress` is called often and may raise to stop.
    """
    base, shown, fingerprint = _shown_times(source, progress)
    concealed = sorted(pts for segment in segments for pts in segment.frames)
    _require_equal(concealed, shown, "the segments' reports cover", "the source shows")
    segments = [segment for segment in segments if segment.frames]
    if not segments:
        raise VideoError("it shows no frame. Export the video again.")
    _require_one_header(segments)
    decode_order = [[time for time, _ in _segment_packets(segment.video, base)] for segment in segments]
    for index, (segment, times) in enumerate(zip(segments, decode_order, strict=True)):
        _require_equal(sorted(times), sorted(segment.frames), f"segment {index} holds", "its report says")
    sent = _mux(source, segments, _decode_times(decode_order), out, progress)
    result_base, in_result, _ = _shown_times(out, progress)
    in_result = [round(pts * result_base / base) for pts in in_result]
    _require_equal(in_result, shown, "the result shows", "the source shows")
    _require_same_sound(sent, _sound_of(out, progress))
    return JoinResult(len(shown), sum(len(track) for track in sent), fingerprint)


def fingerprint_of(source: Source) -> str:
    """A hash by which a video is known again: of the times and sizes of its picture's packets. Raises VideoError."""
    return _shown_times(source, lambda: None)[2]


def _shown_times(source: Source, progress: Callable[[], None]) -> tuple[Fraction, list[int], str]:
    """The time base, the sorted times of the frames that a player shows, and the fingerprint, from the packets alone.

    Raises VideoError if the file ends before its header says: worker and merge would both read the same short
    file and agree.
    """
    times: list[int] = []
    digest = hashlib.sha256()
    counts: Counter[int] = Counter()
    end = 0.0
    with open_video(source) as (container, stream):
        base = time_base(stream)
        for packet in container.demux():
            progress()
            if not packet.size:
                continue
            counts[packet.stream_index] += 1
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index or packet.is_discard:
                continue
            if packet.pts is None:
                raise VideoError("a frame has no presentation time. Convert the video to MP4 first.")
            times.append(packet.pts)
            digest.update(f"{packet.pts} {packet.size};".encode())
        _require_whole(container, counts, end)
    return base, sorted(times), digest.hexdigest()


def _require_whole(container: InputContainer, counts: Counter[int], end_seconds: float) -> None:
    cut_off = "it is cut off: it holds less than its header says. Copy or export the video again."
    if container.format.name.startswith("mov"):  # the index lists every packet
        for stream in (*container.streams.video, *container.streams.audio):
            if counts[stream.index] < len(stream.index_entries):
                raise VideoError(cut_off)
    elif container.format.name.startswith("matroska"):
        promised = (container.duration or 0) / 1_000_000
        if end_seconds < promised - CUT_OFF_SECONDS:
            raise VideoError(cut_off)


def _require_one_header(segments: Sequence[SegmentFile]) -> None:
    """The MP4 has one codec header for all segments: another one would make a segment unreadable."""
    first = None
    for index, segment in enumerate(segments):
        with open_video(segment.video) as (_, stream):
            header = (stream.width, stream.height, stream.pix_fmt, stream.codec_context.extradata)
        if first is None:
            first = header
        elif header != first:
            raise CheckError(
                f"segment {index} was encoded in another way than the first. Nothing was published; drop the "
                "video again."
            )


Sound = list[list[tuple[float, bytes]]]  # of each audio track: each packet's time in seconds and its SHA-256


def _sound_of(path: str, progress: Callable[[], None]) -> Sound:
    with open_video(path) as (container, _):
        tracks: dict[int, list[tuple[float, bytes]]] = {
            stream.index: [] for stream in container.streams.audio
        }
        for packet in container.demux(*container.streams.audio) if tracks else ():
            progress()
            if packet.size:
                tracks[packet.stream_index].append(_fingerprint(packet))
    return list(tracks.values())


def _fingerprint(packet: "Packet[Any]") -> tuple[float, bytes]:
    when = packet.pts if packet.pts is not None else packet.dts
    data = bytes(packet)
    if packet.stream.codec_context.name == "aac" and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        # A transport stream's AAC has a header (ADTS, ISO/IEC 13818-7) on each packet; an MP4 has it once.
        data = data[7 if data[1] & 1 else 9 :]
    return float((when or 0) * packet.time_base), hashlib.sha256(data).digest()


def _require_same_sound(sent: Sound, found: Sound) -> None:
    same = len(sent) == len(found) and all(
        [digest for _, digest in one] == [digest for _, digest in other]
        and all(abs(a - b) <= SOUND_SECONDS for (a, _), (b, _) in zip(one, other, strict=True))
        for one, other in zip(sent, found, strict=True)
    )
    if not same:
        raise CheckError(
            "the result's sound is not the source's. Nothing was published; drop the video again."
        )


def _segment_packets(path: str, base: Fraction) -> Iterator[tuple[int, "Packet[VideoStream]"]]:
    """A segment's packets in decode order, each with its presentation time in `base`.

    NUT writes a finer time base than it is given; the way back is exact, or the segment is not ours.
    """
    with open_video(path) as (container, stream):
        for packet in container.demux(stream):
            if packet.size:
                time = (packet.pts or 0) * time_base(stream) / base
                if packet.pts is None or time.denominator != 1:
                    raise CheckError("a segment has a frame at a time that the source does not have.")
                yield int(time), packet


def _decode_times(segments: list[list[int]]) -> list[int]:
    """Decode times for the packets of all segments, in decode order (see the module's text)."""
    decode_order = [pts for times in segments for pts in times]
    shown = sorted(decode_order)
    rank = {pts: index for index, pts in enumerate(shown)}
    depth = max(index - rank[pts] for index, pts in enumerate(decode_order))
    step = shown[1] - shown[0] if len(shown) > 1 else 1
    return [shown[0] - step * (depth - index) for index in range(depth)] + shown[: len(shown) - depth]


def _require_equal(found: list[int], expected: list[int], found_in: str, expected_in: str) -> None:
    if found != expected:
        missing, extra = len(set(expected) - set(found)), len(set(found) - set(expected))
        raise CheckError(
            f"{found_in} {len(found)} frames where {expected_in} {len(expected)}: {missing} missing, {extra} "
            "too many or at another time. Nothing was published; drop the video again."
        )


def _mux(
    source: Source,
    segments: Sequence[SegmentFile],
    decode_times: list[int],
    out: str,
    progress: Callable[[], None],
) -> Sound:
    """Write the MP4; give the sound that was sent into it."""
    rotation = _rotation(source)
    with open_video(source) as (sound, picture), open_video(segments[0].video) as (_, template):
        options = {"movflags": "+faststart", "movie_timescale": str(_movie_timescale(picture, sound))}
        with writing(), av.open(out, "w", format="mp4", options=options) as result:
            video = result.add_stream_from_template(template)
            video.time_base = time_base(picture)
            if rotation:
                video.set_display_rotation(rotation)
            audio = {stream.index: _add_audio(result, stream) for stream in sound.streams.audio}
            sent: dict[int, list[tuple[float, bytes]]] = {index: [] for index in audio}
            picture_packets = _picture_packets(segments, decode_times, video)
            sound_packets = _sound_packets(sound, audio, sent)
            for _, packet in heapq.merge(picture_packets, sound_packets, key=lambda item: item[0]):
                progress()
                result.mux_one(packet)
    return list(sent.values())


def _movie_timescale(picture: VideoStream, sound: InputContainer) -> int:
    """Units a second in which edit lists say when a track begins: fine enough for every track's first time."""
    rates = [time_base(picture).denominator, *(stream.rate or 1 for stream in sound.streams.audio)]
    exact = math.lcm(*rates)
    if exact > MOST_TIMESCALE:
        exact = rates[0]
    return exact * -(-1000 // exact)


def _add_audio(result: OutputContainer, stream: AudioStream) -> AudioStream:
    try:
        added = result.add_stream_from_template(stream)
    except ValueError as error:
        codec = stream.codec_context.name
        raise VideoError(f"its sound is {codec}, which an MP4 can't hold. Convert it to AAC.") from error
    if stream.language:
        added.metadata["language"] = stream.language
    return added


def _rotation(source: Source) -> int:
    """The source's display rotation, read with a container of its own (the other one is being demuxed)."""
    with open_video(source) as (container, stream):
        return display_rotation(container, stream)


Timed = tuple[float, "Packet[Any]"]


def _picture_packets(
    segments: Sequence[SegmentFile], decode_times: list[int], stream: VideoStream
) -> Iterator[Timed]:
    times = iter(decode_times)
    base = time_base(stream)
    for segment in segments:
        for time, packet in _segment_packets(segment.video, base):
            decode_time = next(times)
            packet.pts, packet.dts, packet.time_base = time, decode_time, base
            packet.stream = stream
            yield float(decode_time * base), packet


def _sound_packets(
    container: InputContainer, streams: dict[int, AudioStream], sent: dict[int, list[tuple[float, bytes]]]
) -> Iterator[Timed]:
    if not streams:
        return
    for packet in container.demux(*container.streams.audio):
        if packet.size:
            sent[packet.stream_index].append(_fingerprint(packet))
            when = packet.dts if packet.dts is not None else packet.pts
            seconds = float((when or 0) * packet.time_base)
            packet.stream = streams[packet.stream_index]
            yield seconds, packet
