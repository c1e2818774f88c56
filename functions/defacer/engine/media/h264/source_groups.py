"""Collect the groups of pictures of a source while it is decoded, so that they can be copied later.

A group begins with a key frame after which no frame depends on an earlier one (IDR), and ends before the next such
frame. So it is closed on both sides.
"""

from collections import deque
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from av import Packet

from defacer.engine.media.clock.packet_clock import is_shown
from defacer.engine.media.h264.access_units import AccessUnit, LastingError, NotCopyableError
from defacer.engine.media.h264.copied_stream import CopiedStream
from defacer.engine.media.reader import Segment
from defacer.report.clock import Clock

# A longer group is encoded, because its packets and its times wait in memory until all of it is checked.
MAX_GROUP_BYTES, MAX_GROUP_FRAMES = 32 * 2**20, 1000


@dataclass
class SourceGroup:
    """One group: the slices of its frames by presentation time, in decode order.

    `reason` says why it can't be copied, if that is known. It then has only the frames before that was known.
    `is_closed`: the next group, or the end of the source, was reached.
    """

    frames: dict[int, AccessUnit] = field(default_factory=dict)
    size: int = 0
    reason: str | None = None
    is_closed: bool = False

    def add(self, pts: int | None, unit: AccessUnit | None) -> None:
        """Add the next frame in decode order, unless it is known that the group can't be copied."""
        if self.reason or pts is None or unit is None:
            return
        self.size += len(unit.data)
        if pts in self.frames:
            self.reason = "two frames have the same time"
        elif self.size > MAX_GROUP_BYTES or len(self.frames) == MAX_GROUP_FRAMES:
            self.reason = "its groups of pictures are too long"
        else:
            self.frames[pts] = unit

    def find_reason(self, reordered: int) -> str | None:
        """Return why the group can't be copied, or None. Players wait for at most `reordered` frames before one."""
        if self.reason or not self.is_closed:
            return self.reason or "its end was not read"
        rank = {pts: number for number, pts in enumerate(sorted(self.frames))}
        depth = max(number - rank[pts] for number, pts in enumerate(self.frames))
        return "the header does not state the order of its frames" if depth > reordered else None


class SourceGroups:
    """The groups of a segment. One thread adds packets before they are decoded, another one takes groups."""

    def __init__(self, copied: CopiedStream, segment: Segment):
        self.copied = copied
        self._segment = segment
        self._groups: deque[SourceGroup] = deque()
        self._newest_key: int | None = None  # the time of the first frame of the newest group
        self._lasting: str | None = None  # why no later packet can be copied
        self._lock = Lock()

    def add_packet(self, packet: "Packet[Any]") -> None:
        """Add a packet of the picture, in decode order. After a seek, adding starts again at an earlier key frame."""
        unit: AccessUnit | None = None
        reason = "it begins without a key frame"
        if packet.size:
            try:
                unit = self._read(packet)
            except NotCopyableError as error:
                reason = str(error)
        with self._lock:
            newest = self._groups[-1] if self._groups else None
            if not packet.size:
                if newest:
                    newest.is_closed = True
            elif newest is None or (packet.is_keyframe if unit is None else unit.is_key):
                is_whole = unit is not None and unit.is_key
                self._begin_group(packet.pts, None if is_whole else reason).add(packet.pts, unit)
            elif unit is None:
                newest.reason = newest.reason or reason
            else:
                newest.add(packet.pts, unit)

    def _begin_group(self, pts: int | None, reason: str | None) -> SourceGroup:
        """Close the newest group, and begin another one. Forget all groups if the source is read again from here."""
        if pts is not None and self._newest_key is not None and pts <= self._newest_key:
            self._groups.clear()
        if self._groups:
            self._groups[-1].is_closed = True
            if not self._groups[-1].frames:
                self._groups.pop()
        self._newest_key = pts
        self._groups.append(SourceGroup(reason=reason))
        return self._groups[-1]

    def group_of(self, pts: int) -> SourceGroup | None:
        """Return the group with the frame at `pts`, which never decreases. Groups before it are forgotten."""
        with self._lock:
            if not any(pts in group.frames for group in self._groups):
                return None
            while pts not in self._groups[0].frames:
                self._groups.popleft()
            return self._groups[0]

    def _read(self, packet: "Packet[Any]") -> AccessUnit:
        """Return the slices of a packet.

        Raises NotCopyableError unless a player shows the packet as a frame of this segment, as it is.
        """
        if self._lasting:
            raise LastingError(self._lasting)
        try:
            unit = self.copied.source.read(bytes(packet))
        except LastingError as error:
            self._lasting = str(error)
            raise
        if packet.pts is None or not is_shown(packet, Clock()) or packet.is_corrupt:
            raise NotCopyableError("a frame is hidden or damaged")
        if any(True for _ in packet.iter_sidedata()):
            raise NotCopyableError("a packet has data of the container")
        if not self._segment.contains(packet.pts):
            raise NotCopyableError("it is not inside of the segment")
        return unit
