"""Replace parts of a segment's NUT file without encoding the other parts again (PyAV)."""

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import av

from defacer.engine.media.segment_writer import WrittenSegment, translate_write_errors

Interval = tuple[int, int]  # presentation times, both included
Timed = tuple["av.Packet[Any]", int]


@dataclass(frozen=True)
class Part:
    """A time range of a segment that was encoded again, its NUT file, and that file's frames."""

    start: int
    end: int | None
    path: str
    written: WrittenSegment

    def contains(self, pts: int) -> bool:
        return self.start <= pts and (self.end is None or pts < self.end)


def ranges_around(path: str, base: Fraction, intervals: Sequence[Interval]) -> list[tuple[int, int | None]]:
    """Return the time ranges to encode again so that the intervals change, in units of `base`.

    A range begins where all packets before it are displayed before it, so that none of them depends on a replaced
    packet. It ends before a key frame, or at the end of the segment (None).
    """
    times, keys = array("q"), array("q")
    for packet, pts in _read_packets(path, base):
        times.append(pts)
        if packet.is_keyframe:
            keys.append(pts)
    starts = list(_split_times(times))
    found: list[tuple[int, int | None]] = []
    for first, last in sorted(intervals):
        start = starts[max(0, bisect_right(starts, first) - 1)]
        after = bisect_right(keys, last)
        end = keys[after] if after < len(keys) else None
        if found and (found[-1][1] is None or start <= found[-1][1]):
            before, other = found.pop()
            start, end = before, None if end is None or other is None else max(end, other)
        found.append((start, end))
    return found


def _split_times(times: Sequence[int]) -> Iterator[int]:
    """Yield the times where packets in decode order can be split: all before are displayed before all after."""
    first_after = list(accumulate(reversed(times), min))[::-1]
    last_before = [times[0] - 1, *accumulate(times, max)]
    for before, after in zip(last_before, first_after, strict=False):
        if before < after:
            yield after


def splice(
    path: str, parts: Sequence[Part], whole: WrittenSegment, base: Fraction, out: str
) -> WrittenSegment:
    """Write `path` to `out`, and replace the time range of each part. `parts` are in the order of time.

    Decode times are rebuilt: the n-th packet gets the n-th presentation time, moved back by the reorder depth.
    """
    depth = max(whole.reorder_depth, *(part.written.reorder_depth for part in parts))
    shown = whole.frames
    # By default NUT shifts each file by its own reorder delay, but absolute times must stay.
    options = {"avoid_negative_ts": "disabled"}
    path, out = (
        os.path.abspath(path),
        os.path.abspath(out),
    )  # FFmpeg takes the start of some names for a protocol
    with av.open(path) as source, av.open(out, "w", format="nut", options=options) as result:
        stream = result.add_stream_from_template(source.streams.video[0])
        stream.time_base = base
        for number, (packet, pts) in enumerate(_splice_packets(path, parts, base)):
            before = number - depth
            packet.pts, packet.time_base, packet.stream = pts, base, stream
            packet.dts = shown[before] if before >= 0 else shown[0] + before
            with translate_write_errors():
                result.mux_one(packet)
    copied = array("q", (pts for pts in whole.copied if not any(part.contains(pts) for part in parts)))
    for part in parts:
        copied.extend(part.written.copied)
    return WrittenSegment(shown, depth, whole.black_frames, whole.first_fitted, copied)


def _splice_packets(path: str, parts: Sequence[Part], base: Fraction) -> Iterator[Timed]:
    """Yield packets in decode order. All packets of a part are consecutive."""
    remaining = list(parts)
    for packet, pts in _read_packets(path, base):
        if not any(part.contains(pts) for part in parts):
            yield packet, pts
        elif remaining and pts >= remaining[0].start:
            yield from _read_packets(remaining.pop(0).path, base)


def _read_packets(path: str, base: Fraction) -> Iterator[Timed]:
    """Yield the packets of a NUT file with their presentation times, converted to units of `base`."""
    with av.open(os.path.abspath(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.size:
                yield packet, int((packet.pts or 0) * (stream.time_base or base) / base)
