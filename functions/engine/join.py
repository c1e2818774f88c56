"""Segments and their source to one MP4: packets are copied, nothing is encoded again, everything is checked.

Decode times are rebuilt: the n-th packet in decode order gets the n-th presentation time, moved back by the
reorder depth. That is strictly rising, never later than the packet's own presentation, and needs nothing from
the segments but their presentation times.
"""

import heapq
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


@dataclass(frozen=True)
class SegmentFile:
    """One segment: its NUT file's path, and the presentation times that its report says it did."""

    video: str
    frames: tuple[int, ...]


@dataclass(frozen=True)
class JoinResult:
    """What was written: picture frames and audio packets."""

    frames: int
    audio_packets: int


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
    base, shown = _shown_times(source, progress)
    concealed = sorted(pts for segment in segments for pts in segment.frames)
    _require_equal(concealed, shown, "the segments' reports cover", "the source shows")
    decode_order = [[time for time, _ in _segment_packets(segment.video, base)] for segment in segments]
    for index, (segment, times) in enumerate(zip(segments, decode_order, strict=True)):
        _require_equal(sorted(times), sorted(segment.frames), f"segment {index} holds", "its report says")
    audio_packets = _mux(source, segments, _decode_times(decode_order), out, progress)
    result_base, result_shown = _shown_times(out, progress)
    _require_equal(
        [round(pts * result_base / base) for pts in result_shown],
        shown,
        "the result shows",
        "the source shows",
    )
    return JoinResult(frames=len(shown), audio_packets=audio_packets)


def _shown_times(source: Source, progress: Callable[[], None]) -> tuple[Fraction, list[int]]:
    """The time base, and the sorted times of the frames that a player shows, from the packets alone."""
    times = []
    with open_video(source) as (container, stream):
        base = time_base(stream)
        for packet in container.demux(stream):
            progress()
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:
                raise VideoError("a frame has no presentation time. Convert the video to MP4 first.")
            times.append(packet.pts)
    return base, sorted(times)


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
) -> int:
    """Write the MP4; give the number of audio packets."""
    rotation = _rotation(source)
    with (
        open_video(source) as (sound, picture),
        open_video(segments[0].video) as (_, template),
        av.open(out, "w", format="mp4", options={"movflags": "+faststart"}) as result,
    ):
        video = result.add_stream_from_template(template)
        video.time_base = time_base(picture)
        if rotation:
            video.set_display_rotation(rotation)
        audio = {stream.index: _add_audio(result, stream) for stream in sound.streams.audio}
        picture_packets = _picture_packets(segments, decode_times, video)
        sound_packets = _sound_packets(sound, audio)
        copied = 0
        for _, is_sound, packet in heapq.merge(picture_packets, sound_packets, key=lambda item: item[0]):
            progress()
            result.mux_one(packet)
            copied += is_sound
    return copied


def _add_audio(result: OutputContainer, stream: AudioStream) -> AudioStream:
    try:
        added = result.add_stream_from_template(stream)
    except ValueError as error:
        codec = stream.codec_context.name
        raise VideoError(
            f"its sound is {codec}, which an MP4 can't hold. Convert the sound to AAC."
        ) from error
    if stream.language:
        added.metadata["language"] = stream.language
    return added


def _rotation(source: Source) -> int:
    """The source's display rotation, read with a container of its own (the other one is being demuxed)."""
    with open_video(source) as (container, stream):
        return display_rotation(container, stream)


Timed = tuple[float, bool, "Packet[Any]"]


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
            yield float(decode_time * base), False, packet


def _sound_packets(container: InputContainer, streams: dict[int, AudioStream]) -> Iterator[Timed]:
    if not streams:
        return
    for packet in container.demux(*container.streams.audio):
        if packet.size:
            base = packet.time_base
            when = packet.dts if packet.dts is not None else packet.pts
            packet.stream = streams[packet.stream_index]
            yield float((when or 0) * base), True, packet
