"""Examine a video before any work begins: read all its packets, and decide how their times are corrected."""

import math
import statistics
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, BinaryIO

import av
from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream

from defacer.engine.errors import NO_FRAME, VideoError
from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.clock.hidden_frames import is_hidden
from defacer.engine.media.clock.packet_clock import PacketClock, begin_seconds, demux, read_packets
from defacer.engine.media.clock.section_rates import (
    PART_SECONDS,
    LowRates,
    Part,
    limit_sections,
    lowest_limit,
)
from defacer.engine.media.clock.sound_gaps import SoundGaps
from defacer.engine.media.damage import CUT_OFF_ADVICE, damage_at, torn_at
from defacer.engine.media.mp4.plain_times import has_plain_times
from defacer.engine.media.reader import VideoInfo, first_frame, open_video, read_video_info, time_base
from defacer.engine.media.source_audit import SourceAudit
from defacer.plurals import pluralize
from defacer.report.changes import ChangeCode, SourceChange
from defacer.report.clock import Clock

ORDER_FRAMES = 300  # their decoded order is compared with their times
MAX_LISTED = 3  # restarts with a time in the report
MAX_RESTARTS = 1000  # the manifest lists an offset for each
MIN_JUMP_SECONDS = 0.5
TORN_FRAMES = (
    2  # before a restart, in the order of decoding: FFmpeg marks one of them where recordings are joined
)
MAX_LATE_SECONDS = 10  # a recording that begins later has the clock of its recorder
NO_TIMESTAMPS = 0x80  # FFmpeg's flag of formats without times (AVFMT_NOTIMESTAMPS)
STRICT_ADVICE = "Export the video again, or accept corrected times (strict_timing: false)."


def examine_video(
    source: str | BinaryIO, *, past_damage: bool = False, strict_timing: bool = False
) -> VideoInfo:
    """Read the header and the clock of a video: the index of an intact MP4, or all packets of another file.

    Raises VideoError for a video that can't be processed: with `strict_timing`, also for one whose times are corrected.
    Without `past_damage`, also for one that is cut off.
    """
    info = read_video_info(source)
    if has_plain_times(source, lambda: _can_reorder(source)):
        _require_plausible_sound(source, info.duration_seconds or 0)
        return info
    with open_video(source) as (container, picture):
        scan = _Scan(container, picture)
        for packet in read_packets(container, picture):
            scan.add_packet(packet)
        clock = scan.make_clock()
        if not past_damage:
            scan.require_whole(clock)
        begin, end = scan.extent(clock)
        can_be_reordered = scan.can_be_reordered(clock)
    if can_be_reordered:
        clock = _with_order(source, clock)
    if scan.jumps_within_group:
        clock = replace(clock, is_reordered=True)
    clock = _with_first_frame(source, scan, clock)
    if not past_damage:
        scan.require_intact(clock)
    if strict_timing:
        _require_strict(clock)
    scan.gaps.require_plausible(float((end - begin) * info.time_base))
    start = begin if clock.first is None else clock.first
    return replace(
        info,
        clock=clock,
        start_pts=start,
        duration_seconds=float((end - start) * info.time_base),
        keyframes=scan.find_keyframes(clock),
    )


@dataclass
class _Span:
    """The first and the last time of a track between two restarts, in seconds."""

    start: Fraction
    end: Fraction

    def add(self, start: Fraction, end: Fraction) -> None:
        self.start, self.end = min(self.start, start), max(self.end, end)


class _Scan:
    """The packets of a video, read once without corrections."""

    def __init__(self, container: InputContainer, picture: VideoStream):
        self.audit = SourceAudit(container, picture)
        self.gaps = SoundGaps()
        self.key: int | None = None
        self.early: list[int] = []  # frames that are decoded or displayed before the first key frame
        self.begins_with_key = True
        self.jumps_within_group = False  # so frames that are decoded before a jump can be displayed after it
        self._base = time_base(picture)
        self._begin = begin_seconds(container, Clock(), self._base)
        self._picture = picture
        self._is_avi = container.format.name == "avi"
        # FFmpeg can't seek in a raw stream, even if it makes up a time for each frame.
        self._has_no_times = bool(container.format.flags & NO_TIMESTAMPS)
        is_indexed = container.format.name.startswith("mov") and picture.frames > 0
        self._times = PacketClock(container, picture, Clock(), restarts=not is_indexed)
        self._spans: dict[int, dict[int, _Span]] = {}
        # Restarts before each frame that the container marks as damaged, and its time.
        self._damaged: list[tuple[int, int]] = []
        self._torn: set[tuple[int, int]] = set()  # those at a restart
        self._latest: deque[tuple[int, int]] = deque(maxlen=TORN_FRAMES)
        self._rises = True
        self._back = 0  # frames whose time is before that of an earlier packet
        self._newest: int | None = None
        self._decoded: Fraction | None = None  # the last decode time
        self._last: tuple[int, bool] | None = None
        self._bits: Counter[Part] = Counter()
        self._key_sizes = array("q")
        self._keys: list[tuple[int, int]] = []  # restarts before each key frame, and its time

    def add_packet(self, packet: "Packet[Any]") -> None:
        self._times.correct(packet)
        self.audit.add_packet(packet)
        index = packet.stream_index
        is_picture = index == self._picture.index
        if is_picture and packet.is_keyframe and self.key is None:
            self.key = packet.pts
        if is_picture and packet.dts is not None:
            self._check_jump(packet.dts * packet.time_base, packet.is_keyframe)
        if not packet.size or packet.pts is None or packet.is_discard:
            return
        if not is_picture and packet.stream.type != "audio":
            return
        if is_picture and is_hidden(packet):
            return
        start = packet.pts * packet.time_base
        end = start + max(packet.duration or 0, 1) * packet.time_base
        epoch = self._times.epochs.get(index, 0)
        if not is_picture:
            self.gaps.add(index, epoch, start)
        if epoch > MAX_RESTARTS:
            raise VideoError(f"its clock restarts more than {MAX_RESTARTS} times. Export the video again.")
        spans = self._spans.setdefault(epoch, {})
        spans.setdefault(index, _Span(start, end)).add(start, end)
        if is_picture:
            self._bits[epoch, int(start // PART_SECONDS)] += packet.size * 8
            is_later = self._newest is None or packet.pts > self._newest
            self._rises &= is_later
            self._back += not is_later
            self._newest = packet.pts if is_later else self._newest
            if self._latest and self._latest[-1][0] < epoch:
                self._torn |= set(self._latest).intersection(self._damaged[-TORN_FRAMES:])
            self._latest.append((epoch, packet.pts))
            if packet.is_corrupt:
                self._damaged.append((epoch, packet.pts))
            self._last = (packet.pts, packet.is_corrupt)
            self._count_early(packet)
            if packet.is_keyframe:
                self._key_sizes.append(packet.size)
                self._add_keyframe(packet.pts)

    def _check_jump(self, decoded: Fraction, is_keyframe: bool) -> None:
        if self._decoded is not None and not is_keyframe and self._picture.codec_context.reorder_depth:
            self.jumps_within_group |= abs(decoded - self._decoded) > MIN_JUMP_SECONDS
        self._decoded = decoded

    def _count_early(self, packet: "Packet[Any]") -> None:
        if packet.pts is None:
            return
        if self.key is None or packet.pts < self.key:
            self.begins_with_key &= self.key is not None
            self.early.append(packet.pts)

    def require_whole(self, clock: Clock) -> None:
        """Raise VideoError if the file ends before its header says, or within the last frame."""
        if len(clock.offsets) == 1:  # a header does not count the time after a restart
            self.audit.require_whole()
        if self._last and self._last[1]:
            raise VideoError(
                f"it is cut off: it ends within the frame at {float(self._last[0] * self._base):.2f} s. "
                f"{CUT_OFF_ADVICE}"
            )

    def require_intact(self, clock: Clock) -> None:
        """Raise VideoError if the container marks a frame after the first one as damaged."""
        for epoch, time in self._damaged:
            if clock.first is None or time + _offset(clock, epoch) >= clock.first:
                following = self._restarts(clock).get(epoch + 1)
                if following is not None and (epoch, time) in self._torn:
                    raise torn_at(following)
                raise damage_at(float(time * self._base - self._begin))

    def make_clock(self) -> Clock:
        """Return the corrections, except for the first frame. Raises VideoError for a video without frames."""
        if self._last is None or not self._spans:
            raise VideoError(NO_FRAME)
        offsets = tuple(math.ceil(offset / self._base) for offset in self._find_offsets())
        times = self._times
        can_reorder = self._picture.codec_context.reorder_depth > 0
        lost = self._last[1]
        clock = Clock(
            offsets=offsets,
            is_sequential=len(offsets) > 1 or times.undated > 0 or self._has_no_times,
            is_reordered=(self._rises or times.moved > 0) if can_reorder else self._is_backward(),
            has_moved=times.moved > 0,
            cut=self._last[0] + offsets[-1] if lost else None,
            rate_limit=limit_sections(self._bits, self._low_rates()),
        )
        return replace(clock, changes=tuple(self._describe(clock)))

    def can_be_reordered(self, clock: Clock) -> bool:
        """Return whether the order of the decoder's frames has to be compared with their times.

        AVI has no presentation times, and those that FFmpeg makes up for MPEG-4 can look plausible where the file
        stores two frames in one packet ("packed bitstream").
        """
        has_made_up_times = self._is_avi and self._picture.codec_context.reorder_depth > 0
        return clock.is_reordered or has_made_up_times

    def _low_rates(self) -> LowRates:
        picture = self._picture
        pixel_rate = picture.width * picture.height * float(picture.average_rate or 0)
        key_bits = statistics.median(self._key_sizes) * 8 if self._key_sizes else 0.0
        spans = [span for tracks in self._spans.values() if (span := tracks.get(picture.index))]
        seconds = float(sum(span.end - span.start for span in spans))
        return LowRates(lowest_limit(pixel_rate), seconds, key_bits)

    def find_keyframes(self, clock: Clock) -> tuple[int, ...]:
        """Return the corrected times of the key frames, at most two a second."""
        return tuple(sorted({time + _offset(clock, epoch) for epoch, time in self._keys}))

    def _add_keyframe(self, time: int) -> None:
        epoch = self._times.epochs.get(self._picture.index, 0)
        if not self._keys or self._keys[-1][0] != epoch or (time - self._keys[-1][1]) * self._base >= 0.5:
            self._keys.append((epoch, time))

    def extent(self, clock: Clock) -> tuple[int, int]:
        """Return the first and the last time of the picture after the corrections."""
        spans = [
            (span.start / self._base + _offset(clock, epoch), span.end / self._base + _offset(clock, epoch))
            for epoch, tracks in self._spans.items()
            if (span := tracks.get(self._picture.index))
        ]
        return int(min(start for start, _ in spans)), int(max(end for _, end in spans))

    def _find_offsets(self) -> Iterator[Fraction]:
        """Yield the seconds to add between two restarts.

        After a restart, no track overlaps its part before. So picture and sound stay in sync.
        """
        ends: dict[int, Fraction] = {}
        for epoch, tracks in sorted(self._spans.items()):
            if epoch == min(self._spans):
                begin = min(span.start for span in tracks.values())
                picture = tracks.get(self._picture.index)
                is_foreign = begin > MAX_LATE_SECONDS or (picture is not None and picture.start < 0)
                offset = -begin if is_foreign and not self._is_broadcast_in_time(begin) else Fraction(0)
            else:
                common = [ends[index] - span.start for index, span in tracks.items() if index in ends]
                offset = max(common) if common else max(ends.values()) - min(s.start for s in tracks.values())
            for index, span in tracks.items():
                ends[index] = max(ends.get(index, span.end + offset), span.end + offset)
            yield offset

    def _is_broadcast_in_time(self, begin: Fraction) -> bool:
        """Return whether this is a broadcast, whose clock may begin at any time (see `begin_seconds`)."""
        return begin >= 0 and self._picture.container.format.name in ("mpegts", "mpeg")

    def _is_backward(self) -> bool:
        """Return whether frames go back in time, although the codec displays them as it decodes them."""
        return self._back > 0 and not self._picture.codec_context.reorder_depth and len(self._spans) == 1

    def _describe(self, clock: Clock) -> Iterator[SourceChange]:
        first = next(iter(self._spans.values()))
        begin = float(min(span.start for span in first.values()))
        if clock.offsets[0] > 0:
            yield SourceChange(ChangeCode.CORRECTED_CLOCK, f"a clock that wraps after {-begin:.2f} s")
        elif clock.offsets[0]:
            yield SourceChange(ChangeCode.CORRECTED_CLOCK, f"a clock that begins at {begin:.2f} s")
        if restarts := list(self._restarts(clock).values()):
            times = ", ".join(f"{seconds:.2f} s" for seconds in restarts[:MAX_LISTED])
            text = f"a clock that restarts {pluralize(len(restarts), 'time')}, at {times}"
            yield SourceChange(ChangeCode.CORRECTED_CLOCK, text + (", ..." if restarts[MAX_LISTED:] else ""))
        count = self._times
        if count.undated:
            rate = float(self._picture.guessed_rate or self._picture.average_rate or 0)
            text = f"{pluralize(count.undated, 'frame')} without a time, now at {rate:g} frames a second"
            yield SourceChange(ChangeCode.CORRECTED_TIMES, text)
        if count.moved:
            text = f"{pluralize(count.moved, 'frame')} with the time of another frame"
            yield SourceChange(ChangeCode.CORRECTED_TIMES, text)
        if self._is_backward():
            text = f"{pluralize(self._back, 'frame')} with a time before that of the frame before"
            yield SourceChange(ChangeCode.CORRECTED_TIMES, text)
        if clock.cut is not None:
            yield SourceChange(ChangeCode.DROPPED_FRAMES, "the incomplete last frame")

    def _restarts(self, clock: Clock) -> dict[int, float]:
        """Return when the clock restarts, in the seconds that a player shows, by the number of the restart."""
        zero = 0 if clock.offsets[0] else float(self._begin)
        return {
            epoch: float(min(span.start for span in tracks.values()) + clock.offsets[epoch] * self._base)
            - zero
            for epoch, tracks in sorted(self._spans.items())
            if 0 < epoch < len(clock.offsets)
        }


def _offset(clock: Clock, restarts: int) -> int:
    """Return the time to add after this number of restarts."""
    return clock.offsets[min(restarts, len(clock.offsets) - 1)]


def _can_reorder(source: str | BinaryIO) -> bool:
    with open_video(source) as (_, picture):
        return picture.codec_context.reorder_depth > 0


def _require_plausible_sound(source: str | BinaryIO, picture_seconds: float) -> None:
    """Raise SoundError if the index of an MP4 has sound with implausible gaps."""
    gaps = SoundGaps()
    with open_video(source) as (container, _):
        for stream in container.streams.audio:
            base = stream.time_base or Fraction(0)
            for entry in stream.index_entries:
                gaps.add(stream.index, 0, entry.timestamp * base)
    gaps.require_plausible(picture_seconds)


def _with_order(source: str | BinaryIO, clock: Clock) -> Clock:
    """Return the clock with `is_reordered` if the decoder's first frames are not in the order of their times.

    Codecs can reorder frames although an encoder never does it. A clock with other corrections stays as it is.
    """
    if clock.is_sequential or clock.changes:
        return clock
    times: list[int] = []
    with open_video(source) as (container, picture), suppress(av.error.InvalidDataError):
        for packet in demux(container, picture, clock, picture_only=True):
            times += [frame.pts for frame in packet.decode() if frame.pts is not None]
            if len(times) >= ORDER_FRAMES:
                break
    if all(one < other for one, other in pairwise(times)):
        return replace(clock, is_reordered=False)
    change = SourceChange(ChangeCode.CORRECTED_TIMES, "frames without a presentation time")
    return replace(clock, is_reordered=True, changes=(*clock.changes, change))


def _with_first_frame(source: str | BinaryIO, scan: _Scan, clock: Clock) -> Clock:
    """Return the clock with the time of the first frame that can be decoded, if frames before it can't."""
    if not scan.early or scan.key is None:
        return clock
    clocked = ClockedSource(source, clock)
    with open_video(clocked) as (container, picture):
        frame = first_frame(container, picture, clock)
    if frame.pts is None:
        return clock
    first = frame.pts if scan.begins_with_key else max(frame.pts, scan.key + clock.offsets[0])
    early = sum(time + clock.offsets[0] < first for time in scan.early)
    if not early:
        return clock
    text = f"{pluralize(early, 'frame')} before the first key frame"
    return replace(
        clock, first=first, changes=(*clock.changes, SourceChange(ChangeCode.DROPPED_FRAMES, text))
    )


def _require_strict(clock: Clock) -> None:
    texts = [
        change.text
        for change in clock.changes
        if change.code in (ChangeCode.CORRECTED_CLOCK, ChangeCode.CORRECTED_TIMES)
    ]
    if texts:
        raise VideoError(f"its times need a correction: {', '.join(texts)}. {STRICT_ADVICE}")
