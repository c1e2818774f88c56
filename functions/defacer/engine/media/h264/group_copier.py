"""Copy the groups of a segment where nothing is hidden, and encode all others.

A frame that nothing changed is not encoded at once. Only its time waits, until its group is complete. If a later frame
of the group was changed, the frames that waited are decoded again from the group's packets, and encoded.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

import av
from av.video.stream import VideoStream

from defacer.engine.errors import CheckError
from defacer.engine.media.h264.source_groups import SourceGroup, SourceGroups
from defacer.engine.media.readback import MeasuredFrame
from defacer.engine.media.segment_writer import SegmentWriter


class GroupCopier:
    """Writes the frames of a segment in order.

    With `measures`, copied frames are measured for the comparison with the written file (see readback.py). `progress`
    is called for each frame.
    """

    def __init__(
        self, writer: SegmentWriter, groups: SourceGroups, progress: Callable[[], None], *, measures: bool
    ):
        self._progress = progress
        self._writer = writer
        self._groups = groups
        self._measures = measures
        self._group: SourceGroup | None = None
        self._waiting: list[int] = []
        self._measured: list[MeasuredFrame] = []
        self._must_encode = False  # the current group

    def write(self, frame: av.VideoFrame, *, is_original: bool) -> None:
        """Write the next frame. `is_original`: its pixels are those of the source, and it has no mask."""
        self._progress()
        group = self._groups.group_of(frame.pts or 0)
        if group is not self._group or group is None:
            self.finish_group()
            self._group = group
        if group is None or not is_original or group.reason:
            self._must_encode = True
        if self._must_encode:
            self._encode_waiting()
            self._writer.write(frame)
        else:
            self._waiting.append(frame.pts or 0)
            if self._measures:
                self._measured.append(MeasuredFrame.of(frame))

    def finish_group(self) -> None:
        """Copy the current group if all of it waits, else encode its frames. Call it after the last frame."""
        group = self._group
        if group and self._waiting:
            reason = group.find_reason(self._groups.copied.source.sequence.reordered)
            # Compared last, because the other thread can add frames until the group is closed.
            if reason is None and self._waiting == sorted(group.frames):
                self._writer.copy(group, self._measured)
                self._forget_waiting()
        self._encode_waiting()
        self._group, self._must_encode = None, False

    def _encode_waiting(self) -> None:
        """Decode the frames that wait again, and encode them."""
        if not self._waiting:
            return
        expected = deque(self._waiting)
        self._forget_waiting()
        for frame in self._decode_group():
            if expected and frame.pts == expected[0]:
                expected.popleft()
                self._progress()
                self._writer.write(frame)
        if expected:
            raise CheckError(
                "a group of pictures can't be decoded without the others. Turn copy_untouched off, and try again."
            )

    def _decode_group(self) -> Iterator[av.VideoFrame]:
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = self._groups.copied.source_header
        decoder.options = {"strict": "1"}  # frames wait as long as their order can need
        frames = list(self._group.frames.items()) if self._group else []  # another thread adds to it
        for pts, unit in frames:
            packet = cast("av.Packet[VideoStream]", av.Packet(len(unit.data)))
            packet.update(unit.data)
            packet.pts, packet.time_base = pts, self._writer.time_base
            yield from decoder.decode(packet)
        yield from decoder.decode(None)

    def _forget_waiting(self) -> None:
        self._waiting, self._measured = [], []
