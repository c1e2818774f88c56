"""Subtitles made of text, from the source into the result's own kind of them (3GPP timed text, "mov_text").

A track of an MP4 shows one text at a time. Where texts of the source are shown together, each stretch of time gets one
text of all that is to be read then.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from av import Packet
from av.container import InputContainer, OutputContainer
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from defacer.engine.media.side_streams import TEXT_SUBTITLES, codec_of, keep_language

BASE = Fraction(1, 1000)
FIELDS_BEFORE_TEXT = 8  # of a line of ASS
MAX_TOGETHER = 10  # texts that are read together; nobody can read more
LONE_TEXT = 3000  # how long the last text is shown if nothing says so, in units of BASE
NOTHING = b"\0\0"  # a text of no length: what an MP4 has between two texts


def subtitles_of(container: InputContainer) -> list[SubtitleStream]:
    """The subtitle tracks that an MP4 can hold: those made of text."""
    return [stream for stream in container.streams.subtitles if codec_of(stream) in TEXT_SUBTITLES]


@dataclass(frozen=True)
class _Text:
    """`start` and `end` are in units of BASE; no `end`: until the next one."""

    start: int
    end: int | None
    lines: tuple[bytes, ...] = field(repr=False)


class Subtitles:
    """One subtitle track on its way into the result."""

    def __init__(self, result: OutputContainer, stream: SubtitleStream):
        self._is_copied = codec_of(stream) == "mov_text"
        self._source = stream
        self._hides_empty = codec_of(stream) in (
            "ass",
            "ssa",
        )  # what lasts for no time is a note of the maker's
        self._added = result.add_stream_from_template(stream) if self._is_copied else _new(result, stream)
        self._shown: list[_Text] = []
        self._now = 0
        keep_language(self._added, stream)

    def take(self, packet: "Packet[Any]") -> Iterator["Packet[Any]"]:
        """The packets of the result that are complete now that this one has come."""
        if self._is_copied:
            packet.stream = self._added
            yield packet
            return
        text = self._source.decode2(packet)
        if text is None or packet.pts is None:
            return
        told = round(packet.pts * packet.time_base / BASE)
        lasts = round((packet.duration or 0) * packet.time_base / BASE)
        start, end = max(self._now, told), told + lasts if lasts > 0 else None
        yield from self._until(start)
        lines = tuple(rect.ass for rect in text if isinstance(rect, AssSubtitle))
        if (end is None and self._hides_empty) or (end is not None and end <= start) or not lines:
            return
        self._shown = [*self._shown, _Text(start, end, lines)][-MAX_TOGETHER:]

    def rest(self) -> Iterator["Packet[Any]"]:
        """What is left when no more come."""
        ends = [text.end or text.start + LONE_TEXT for text in self._shown]
        yield from self._until(max(ends, default=self._now))

    def _until(self, time: int) -> Iterator["Packet[Any]"]:
        """What is shown from now to `time`: a packet for each stretch in which nothing changes."""
        while self._shown and self._now < time:
            end = min(time, *(text.end or time for text in self._shown))
            if end > self._now:
                yield self._packet(self._now, end)
            self._now = end
            self._shown = [text for text in self._shown if text.end is not None and text.end > end]
        self._now = time

    def _packet(self, start: int, end: int) -> "Packet[Any]":
        first, *others = (line for text in self._shown for line in text.lines)
        more = (line.split(b",", FIELDS_BEFORE_TEXT)[-1] for line in others)
        packet = self._added.codec_context.encode_subtitle(
            SubtitleSet.create(b"\\N".join([first, *more]), 0, end - start)
        )
        packet.pts = packet.dts = start
        packet.duration, packet.time_base, packet.stream = end - start, BASE, self._added
        return packet


def is_nothing(packet: "Packet[Any]") -> bool:
    """Whether a packet of the result shows no text."""
    return packet.size <= len(NOTHING) and bytes(packet) == NOTHING[: packet.size]


def _new(result: OutputContainer, stream: SubtitleStream) -> SubtitleStream:
    added = result.add_stream("mov_text")
    added.codec_context.subtitle_header = stream.codec_context.subtitle_header or _PLAIN_HEADER
    added.time_base = BASE
    return added


_PLAIN_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,16\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)
