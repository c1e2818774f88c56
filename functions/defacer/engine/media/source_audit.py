"""Record the frame times of a source while it is read, and check that the file is complete."""

import hashlib
from array import array
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream

from defacer.engine.errors import VideoError
from defacer.engine.media.clock.packet_clock import is_shown
from defacer.engine.media.damage import CUT_OFF_ADVICE
from defacer.engine.media.side_streams import to_seconds
from defacer.report.clock import Clock

# A header's duration can be rounded, and the last frame can be shown for longer than its packet says.
MAX_MISSING_SECONDS = 1.0
MIN_AVI_SHARE = 0.98  # of the stated frames, because some writers count a few frames more than they write
FALLBACK_RATE = 30  # frames a second, of a video with a single frame and no rate


class SourceAudit:
    """The frame times, the fingerprint and the end of a source, from its packets without decoding."""

    def __init__(self, container: InputContainer, picture: VideoStream, clock: Clock | None = None):
        self.frame_times = array("q")
        self._digest = hashlib.sha256()
        self._container = container
        self._stream = picture
        self._picture = picture.index
        self._clock = clock or Clock()
        self._counts: Counter[int] = Counter()
        self._end = 0.0
        self._last = (-(2**63), 0)  # time and duration of the frame that is shown last
        self._last_decode_time = -1
        self._durations: tuple[int, int] | None = None  # the shortest and the longest

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()

    def add_packet(self, packet: "Packet[Any]") -> None:
        """Record one packet of any stream."""
        if not packet.size:
            return
        self._counts[packet.stream_index] += 1
        if packet.pts is not None:
            self._end = max(self._end, to_seconds(packet.pts + (packet.duration or 0), packet.time_base))
        if packet.stream_index != self._picture:
            return
        if packet.dts is not None:
            self._last_decode_time = max(self._last_decode_time, packet.dts)
        if packet.pts is None or not is_shown(packet, self._clock):
            return
        self.frame_times.append(packet.pts)
        duration = packet.duration or 0
        self._last = max(self._last, (packet.pts, duration))
        shortest, longest = self._durations or (duration, duration)
        self._durations = (min(shortest, duration), max(longest, duration))
        self._digest.update(f"{packet.pts} {packet.size};".encode())

    @property
    def picture_end(self) -> int:
        """Return the end of the last frame, in the picture's time base. Read all packets first.

        An MP4 states it in its header, with the edit list applied. For a fragmented MP4 FFmpeg counts the stated
        duration from 0 instead of the start, so it is not used. In other containers the duration of the last packet
        counts. If all packets have the same duration, it is a default or FFmpeg's guess. Then the last frame lasts as
        long as the usual interval.
        """
        last, duration = self._last
        name = self._container.format.name
        # `frames` does not count frames of fragments.
        count = self._counts[self._picture]
        is_indexed = self._stream.frames >= count >= len(self._stream.index_entries)
        if name.startswith("mov") and is_indexed and self._stream.duration is not None:
            stated = (self._stream.start_time or 0) + self._stream.duration
            if stated > last:
                return stated
        shortest, longest = self._durations or (0, 0)
        end = last + (duration if duration and shortest != longest else self._usual_interval() or duration)
        is_alone = name.startswith(("matroska", "flv")) and len(self._counts) == 1
        if is_alone and self._container.duration and self._clock.offsets == (0,) and not self.is_cut_off:
            # Without other tracks, the file's length is the picture's (see `require_whole` for its limit).
            stated = round(Fraction(self._container.duration, 1_000_000) / self._base)
            return max(end, stated)
        return end

    @property
    def _base(self) -> Fraction:
        return self._stream.time_base or Fraction(1)

    def _usual_interval(self) -> int:
        """Return the median time between frames. A single frame without a duration has that of the frame rate."""
        if len(self.frame_times) > 1:
            return max(1, round(float(np.median(np.diff(np.sort(np.array(self.frame_times)))))))
        if self._last[1]:
            return 0
        return max(1, round(1 / (self._stream.average_rate or FALLBACK_RATE) / self._base))

    @property
    def is_cut_off(self) -> bool:
        """Return whether the file ends before its header says. Read all packets first."""
        container = self._container
        if container.format.name.startswith("mov"):  # the index lists every packet
            streams = (*container.streams.video, *container.streams.audio)
            return any(self._counts[stream.index] < len(stream.index_entries) for stream in streams)
        if container.format.name == "avi":  # an empty chunk stands for a dropped frame
            return self._last_decode_time + 1 < self._stream.frames * MIN_AVI_SHARE - 2
        if container.format.name.startswith(("matroska", "flv")) and self._clock.offsets == (0,):
            return self._end < (container.duration or 0) / 1_000_000 - MAX_MISSING_SECONDS
        return False

    def require_whole(self) -> None:
        """Raise VideoError if the file ends before its header says.

        Without this check, worker and merge would read the same truncated file and agree.
        """
        if self.is_cut_off:
            raise VideoError(
                f"it is cut off: it ends at {self._end:.2f} s, before its header says. {CUT_OFF_ADVICE}"
            )
