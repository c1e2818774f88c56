"""Convert text subtitles to the format of an MP4 (3GPP timed text, "mov_text").

A track of an MP4 shows one text at a time. Where the source shows several texts together, the result has one text with
all of them for each interval without a change.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from av import Packet
from av.container import InputContainer, OutputContainer
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from defacer.engine.media.side_streams import TEXT_SUBTITLES, codec_of, copy_language

TIME_BASE = Fraction(1, 1000)
FIELDS_BEFORE_TEXT = 8  # in a line of ASS
MAX_TOGETHER = 10  # texts shown together; more are unreadable
LAST_TEXT_DURATION = 3000  # in units of TIME_BASE, of a last text without a duration
EMPTY_TEXT = b"\0\0"  # an MP4 has one between two texts


def subtitles_of(container: InputContainer) -> list[SubtitleStream]:
    """Return the text subtitle tracks, which an MP4 can hold."""
    return [stream for stream in container.streams.subtitles if codec_of(stream) in TEXT_SUBTITLES]


@dataclass(frozen=True)
class _Text:
    """`start` and `end` are in units of TIME_BASE. Without `end`, the text is shown until the next one."""

    start: int
    end: int | None
    lines: tuple[bytes, ...] = field(repr=False)


class Subtitles:
    """One subtitle track that is converted for the result."""

    def __init__(self, result: OutputContainer, stream: SubtitleStream):
        self._is_copied = codec_of(stream) == "mov_text"
        self._source = stream
        self._hides_empty = codec_of(stream) in (
            "ass",
            "ssa",
        )  # a text without a duration is a comment of its author
        self._added = (
            result.add_stream_from_template(stream) if self._is_copied else _add_text_track(result, stream)
        )
        self._shown: list[_Text] = []
        self._now = 0
        copy_language(self._added, stream)

    def convert(self, packet: "Packet[Any]") -> Iterator["Packet[Any]"]:
        """Yield the packets of the result that are complete after this packet was read."""
        if self._is_copied:
            packet.stream = self._added
            yield packet
            return
        text = self._source.decode2(packet)
        if text is None or packet.pts is None:
            return
        stated_start = round(packet.pts * packet.time_base / TIME_BASE)
        duration = round((packet.duration or 0) * packet.time_base / TIME_BASE)
        start, end = max(self._now, stated_start), stated_start + duration if duration > 0 else None
        yield from self._packets_until(start)
        lines = tuple(rect.ass for rect in text if isinstance(rect, AssSubtitle))
        if (end is None and self._hides_empty) or (end is not None and end <= start) or not lines:
            return
        self._shown = [*self._shown, _Text(start, end, lines)][-MAX_TOGETHER:]

    def flush(self) -> Iterator["Packet[Any]"]:
        """Yield the remaining packets, after the last packet was read."""
        ends = [text.end or text.start + LAST_TEXT_DURATION for text in self._shown]
        yield from self._packets_until(max(ends, default=self._now))

    def _packets_until(self, time: int) -> Iterator["Packet[Any]"]:
        """Yield a packet for each interval up to `time` without a change of the shown texts."""
        while self._shown and self._now < time:
            end = min(time, *(text.end or time for text in self._shown))
            if end > self._now:
                yield self._encode_packet(self._now, end)
            self._now = end
            self._shown = [text for text in self._shown if text.end is not None and text.end > end]
        self._now = time

    def _encode_packet(self, start: int, end: int) -> "Packet[Any]":
        first, *others = (line for text in self._shown for line in text.lines)
        further_texts = (line.split(b",", FIELDS_BEFORE_TEXT)[-1] for line in others)
        packet = self._added.codec_context.encode_subtitle(
            SubtitleSet.create(b"\\N".join([first, *further_texts]), 0, end - start)
        )
        packet.pts = packet.dts = start
        packet.duration, packet.time_base, packet.stream = end - start, TIME_BASE, self._added
        return packet


def is_empty_text(packet: "Packet[Any]") -> bool:
    """Return whether a packet of the result shows no text."""
    return packet.size <= len(EMPTY_TEXT) and bytes(packet) == EMPTY_TEXT[: packet.size]


def _add_text_track(result: OutputContainer, stream: SubtitleStream) -> SubtitleStream:
    added = result.add_stream("mov_text")
    added.codec_context.subtitle_header = stream.codec_context.subtitle_header or _PLAIN_HEADER
    added.time_base = TIME_BASE
    return added


_PLAIN_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,16\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)
