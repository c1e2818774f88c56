"""What goes by of a source while it is read: the times of its frames, and whether all that it promises is there."""

import hashlib
from array import array
from collections import Counter
from typing import Any

from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream

from functions.engine.errors import VideoError

CUT_OFF_SECONDS = (
    1.0  # a header's duration may be rounded, and a last frame be shown for longer than it lasts
)
MOST_OF_AN_AVI = 0.98  # some writers count a few frames more than they write


class SourceWatch:
    """What went by of a source: the times of the frames that a player shows, from the packets alone."""

    def __init__(self, container: InputContainer, picture: VideoStream):
        self.times = array("q")
        self._digest = hashlib.sha256()
        self._container = container
        self._picture = picture.index
        self._counts: Counter[int] = Counter()
        self._end = 0.0

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()

    def take(self, packet: "Packet[Any]") -> None:
        """Take one packet of any stream. Raises VideoError for a shown frame without a time."""
        if not packet.size:
            return
        self._counts[packet.stream_index] += 1
        if packet.pts is not None:
            self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index != self._picture or packet.is_discard:
            return
        if packet.pts is None:
            raise VideoError("a frame has no presentation time. Convert the video to MP4 first.")
        self.times.append(packet.pts)
        self._digest.update(f"{packet.pts} {packet.size};".encode())

    def require_whole(self) -> None:
        """Raise VideoError if the file ends before its header says.

        Worker and merge would both read the same short file and agree.
        """
        cut_off = "it is cut off: it holds less than its header says. Copy or export the video again."
        container = self._container
        if container.format.name.startswith("mov"):  # the index lists every packet
            for stream in (*container.streams.video, *container.streams.audio):
                if self._counts[stream.index] < len(stream.index_entries):
                    raise VideoError(cut_off)
        elif container.format.name == "avi":
            if self._counts[self._picture] < container.streams[self._picture].frames * MOST_OF_AN_AVI - 2:
                raise VideoError(cut_off)
        elif container.format.name.startswith(("matroska", "flv")):
            promised = (container.duration or 0) / 1_000_000
            if self._end < promised - CUT_OFF_SECONDS:
                raise VideoError(cut_off)
