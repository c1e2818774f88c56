"""Copy the packets of a sound track."""

from collections import deque
from collections.abc import Iterator
from typing import Any

from av import Packet
from av.audio.stream import AudioStream
from av.container import OutputContainer

from defacer.engine.media.side_streams import copy_language, seconds_of

# A decoder needs sound before the first audible packet (Opus: 80 ms, AAC: one or two packets).
PREROLL_SECONDS = 0.2
# By number of channels, for a source that does not name them. The order of the channels stays.
DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
SoundPackets = Iterator["Packet[Any]"]


class RisingTimes:
    """Moves a packet that does not follow the one before to the next free time, because times in an MP4 rise."""

    def __init__(self) -> None:
        self._last: int | None = None

    def apply(self, packet: "Packet[Any]") -> None:
        """Set the times of the next packet of the track."""
        if packet.dts is None:
            return
        if self._last is not None and packet.dts <= self._last:
            packet.pts = None if packet.pts is None else packet.pts + self._last + 1 - packet.dts
            packet.dts = self._last + 1
        self._last = packet.dts


class CopiedSound:
    """A track whose packets are copied, without those that an edit list hides.

    The packets that the decoder needs before the first audible one are kept. A damaged packet that no MP4 can hold is
    left out. `damaged` counts them.
    """

    def __init__(self, result: OutputContainer, stream: AudioStream) -> None:
        self.damaged = 0
        self.added = add_copied_stream(result, stream)
        self._codec = stream.codec_context.name
        self._has_headers = not stream.codec_context.extradata  # of ADTS, in each packet
        self._hidden: deque[Packet[Any]] = deque()
        self._has_begun = False
        self._times = RisingTimes()

    def write(self, packet: "Packet[Any]") -> SoundPackets:
        """Yield the packets to write after this packet was read."""
        if not self._has_sync(bytes(packet)):
            self.damaged += 1
            return
        now = seconds_of(packet)
        while self._hidden and seconds_of(self._hidden[0]) < now - PREROLL_SECONDS:
            self._hidden.popleft()
        if packet.is_discard:
            if not self._has_begun:
                self._hidden.append(packet)
            return
        self._has_begun = True
        self._hidden.append(packet)
        while self._hidden:
            audible = self._hidden.popleft()
            audible.stream = self.added
            self._times.apply(audible)
            yield audible

    def flush(self) -> SoundPackets:
        """Yield nothing: no packet waits."""
        return iter(())

    def _has_sync(self, data: bytes) -> bool:
        """Return whether a packet begins with the sync word of its format, which FFmpeg's MP4 writer demands."""
        if self._codec == "aac" and self._has_headers:
            return data[0] == 0xFF and len(data) > 1 and data[1] & 0xF6 == 0xF0
        return self._codec != "eac3" or data[:2] in (b"\x0b\x77", b"\x77\x0b")


def add_copied_stream(result: OutputContainer, stream: AudioStream) -> AudioStream:
    """Add a track to the result for the packets of `stream`. Raises ValueError if an MP4 can't hold them."""
    added = result.add_stream_from_template(stream)
    added.codec_context.codec_tag = "\0\0\0\0"  # drop the tag of the other container
    if stream.codec_context.name == "vorbis" and stream.codec_context.extradata:
        added.codec_context.extradata = _strip_comments(stream.codec_context.extradata)
    if layout := missing_layout(stream):
        added.codec_context.layout = layout
    added.time_base = stream.time_base
    copy_language(added, stream)
    return added


def missing_layout(stream: AudioStream) -> str | None:
    """Return the usual layout for a track that does not name its channels, such as one of an AVI. None if it does."""
    if stream.layout.name and not stream.layout.name.endswith("channels"):
        return None
    return DEFAULT_LAYOUTS.get(stream.channels)


def _strip_comments(headers: bytes) -> bytes:
    """Return Vorbis' three headers (Xiph's lacing: two lengths, then the packets) with an empty second header.

    The second header names artists, places and programs. Raises ValueError if the headers end too early.
    """
    sizes, position = [], 1
    for _ in range(2):
        size = 0
        while headers[position : position + 1] == b"\xff":
            size, position = size + 255, position + 1
        if position >= len(headers):
            raise ValueError("the Vorbis headers end too early")
        sizes.append(size + headers[position])
        position += 1
    first, rest = headers[position : position + sizes[0]], headers[position + sum(sizes) :]
    comments = b"\x03vorbis" + bytes(8) + b"\x01"
    lengths = b"".join(b"\xff" * (len(part) // 255) + bytes([len(part) % 255]) for part in (first, comments))
    return headers[:1] + lengths + first + comments + rest
