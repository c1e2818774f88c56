"""Correct the times of packets while they are read, by the rules of a `Clock`.

The rules, in this order:

1. A packet without a presentation time gets its decode time. So do H.264 and HEVC in AVI, because FFmpeg makes up
   their presentation times, with a delay. A packet without any time follows the one before it.
2. A clock restarts where the decode times of a track go back by more than `RESTART_SECONDS`. In a broadcast it also
   restarts where they go back by more than `OVERLAP_SECONDS`, as at the seam of two recordings. It restarts where all
   times go forward by more than `MAX_PAUSE_SECONDS`, or `MAX_DISCONTINUOUS_PAUSE_SECONDS` in a format whose clock can
   jump, such as a broadcast. Both are ffplay's limits (`max_frame_duration`). Each restart has an offset.
3. A frame with the time of another frame moves to the next free time.

Which frame is displayed first is the decoder's decision (see `display_order.py`).
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

from av import Packet
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from defacer.engine.media.clock.field_pairs import FieldJoiner
from defacer.engine.media.clock.hidden_frames import is_hidden
from defacer.report.clock import Clock

BROADCASTS = ("mpegts", "mpeg")
DELAYED_IN_AVI = ("h264", "hevc")
RESTART_SECONDS = 0.5
OVERLAP_SECONDS = 0.02
DISCONTINUOUS = 0x200  # FFmpeg's flag for formats whose clock can jump (AVFMT_TS_DISCONT)
MAX_PAUSE_SECONDS = 3600.0
MAX_DISCONTINUOUS_PAUSE_SECONDS = 10.0
RECENT_FRAMES = 64  # frames that can have the time of a new one
FALLBACK_RATE = 25


def is_shown(packet: "Packet[Any]", clock: Clock) -> bool:
    """Return whether a packet of the picture, with corrected times, is displayed as a frame."""
    if not packet.size or packet.is_discard or is_hidden(packet):
        return False
    return packet.pts is None or (
        (clock.first is None or packet.pts >= clock.first) and packet.pts != clock.cut
    )


class PacketClock:
    """Corrects the packets of one reading, from the start of the file or from a seek.

    `epochs` maps the index of a sound or picture track to the number of restarts before the current packet.
    `moved` is the number of frames that had the time of another one, and `undated` of those without any time.
    """

    def __init__(self, container: InputContainer, picture: VideoStream, clock: Clock, *, restarts: bool):
        self.epochs: dict[int, int] = {}
        self.moved = self.undated = 0
        self._clock = clock
        self._picture = picture
        self._has_restarts = restarts
        self._has_decode_times = (
            container.format.name == "avi" and picture.codec_context.name in DELAYED_IN_AVI
        )
        self._can_reorder = picture.codec_context.reorder_depth > 0
        self._is_broadcast = container.format.name in BROADCASTS
        can_jump = bool(container.format.flags & DISCONTINUOUS)
        self._max_pause = MAX_DISCONTINUOUS_PAUSE_SECONDS if can_jump else MAX_PAUSE_SECONDS
        self._latest = 0
        self._newest: dict[int, float] = {}  # by the number of restarts
        self._last: dict[int, float] = {}
        self._overlaps = False  # the last restart was at a seam, which a track without a jump follows
        self._next = 0
        self._recent: deque[int] = deque(maxlen=RECENT_FRAMES)

    def correct(self, packet: "Packet[Any]") -> None:
        """Set the times of a packet."""
        if not packet.size:
            return
        is_picture = packet.stream_index == self._picture.index
        if is_picture:
            self._set_missing(packet)
        offset = self._find_offset(packet)
        if offset:
            shift = round(offset * (self._picture.time_base or 1) / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
        if is_picture and is_shown(packet, self._clock):
            self._make_unique(packet)

    def _set_missing(self, packet: "Packet[Any]") -> None:
        if self._has_decode_times and packet.dts is not None:
            packet.pts = packet.dts
        if packet.pts is not None and packet.dts is not None:
            delay = float((packet.pts - packet.dts) * packet.time_base)
            if delay > self._max_pause:  # FFmpeg guesses it from the packets before a jump
                packet.dts = packet.pts
        pts = packet.dts if packet.pts is None else packet.pts
        if pts is None:
            self.undated += 1
            pts, packet.duration = self._next, self._usual_duration(packet)  # FFmpeg's can be one tick
        packet.pts = pts
        self._next = pts + (packet.duration or self._usual_duration(packet))

    def _usual_duration(self, packet: "Packet[Any]") -> int:
        rate = self._picture.guessed_rate or self._picture.average_rate or FALLBACK_RATE
        return max(1, round(1 / rate / packet.time_base))

    def _find_offset(self, packet: "Packet[Any]") -> int:
        offsets = self._clock.offsets
        if self._has_restarts:
            return offsets[min(self._find_epoch(packet), len(offsets) - 1)]
        return offsets[0]

    def _find_epoch(self, packet: "Packet[Any]") -> int:
        """Return the number of restarts before this packet. Tracks other than picture and sound follow these."""
        index = packet.stream_index
        is_timed = index == self._picture.index or packet.stream.type == "audio"
        when = packet.pts if packet.dts is None else packet.dts
        # An MKV states no decode times. FFmpeg finds them after the first frames, whose own times can be much later.
        is_unknown = packet.dts is None and index == self._picture.index and index not in self._last
        if not is_timed or when is None or packet.is_discard or (is_unknown and self._can_reorder):
            return self.epochs.get(index, self._latest)
        seconds, last = float(when * packet.time_base), self._last.get(index)
        self.epochs.setdefault(index, self._latest)
        is_behind = self.epochs[index] < self._latest
        if last is not None and (
            (is_behind and self._overlaps)
            or self._is_restart(seconds, last, self._newest[self.epochs[index]])
        ):
            if not is_behind:
                self._latest += 1
                self._overlaps = last - RESTART_SECONDS <= seconds < last
            self.epochs[index] = self._latest
            if index == self._picture.index:
                self._recent.clear()
        epoch = self.epochs[index]
        self._newest[epoch] = max(self._newest.get(epoch, seconds), seconds)
        self._last[index] = seconds
        return epoch

    def _is_restart(self, seconds: float, last: float, newest: float) -> bool:
        """Return whether a time restarts the clock. `newest` is the latest of all tracks since the last restart."""
        if seconds < last - (OVERLAP_SECONDS if self._is_broadcast else RESTART_SECONDS):
            return True
        return seconds > newest + self._max_pause

    def _make_unique(self, packet: "Packet[Any]") -> None:
        found = packet.pts
        if found is None:
            return
        if len(self._recent) == RECENT_FRAMES and found < min(self._recent):
            found = max(self._recent)
        while found in self._recent:
            found += 1
        self.moved += found != packet.pts
        packet.pts = found
        self._recent.append(found)


def read_raw_packets(container: InputContainer, *streams: Stream) -> "Iterator[Packet[Any]]":
    """Yield the packets of some tracks, by default of all, as they are.

    A broadcast can get another track in the middle. PyAV does not know it, and raises IndexError after the last packet.
    """
    with suppress(IndexError):
        yield from container.demux(*streams)


def read_packets(
    container: InputContainer, picture: VideoStream, *, picture_only: bool = False
) -> "Iterator[Packet[Any]]":
    """Yield the packets of the picture, or of all tracks, as they are. Two fields of a frame are one packet."""
    joiner = FieldJoiner(container, picture)
    for packet in read_raw_packets(container, *([picture] if picture_only else [])):
        yield from joiner.add(packet)
    yield from joiner.flush()


def demux(
    container: InputContainer, picture: VideoStream, clock: Clock, *, picture_only: bool = False
) -> Iterator["Packet[Any]"]:
    """Yield the packets of a source with corrected times, from the container's position on."""
    has_restarts = len(clock.offsets) > 1
    times = PacketClock(container, picture, clock, restarts=has_restarts)
    # The sound decides together with the picture where a clock restarts.
    for packet in read_packets(container, picture, picture_only=picture_only and not has_restarts):
        if picture_only and packet.stream.index != picture.index:
            if has_restarts:
                times.correct(packet)
            continue
        times.correct(packet)
        yield packet


def begin_seconds(container: InputContainer, clock: Clock, base: Fraction) -> Fraction:
    """Return the corrected time that a player shows as 0: the first time of a broadcast's own clock, or 0."""
    if clock.first is not None:
        return clock.first * base
    if container.format.name not in BROADCASTS or clock.offsets[0]:
        return Fraction(0)
    begins = [
        stream.start_time * (stream.time_base or Fraction(1))
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.start_time is not None
    ]
    return Fraction(min(begins, default=0))
