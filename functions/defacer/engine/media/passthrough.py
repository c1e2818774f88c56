"""What goes from a source into the result as it is: sound, subtitles and chapters."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from av import Packet
from av.container import InputContainer, OutputContainer

from defacer.engine.errors import CheckError
from defacer.engine.media import side_streams
from defacer.engine.media.side_streams import EditListTrimmer, TrackDigest, end_of, seconds_of
from defacer.engine.media.source_audit import SourceAudit
from defacer.engine.media.subtitles import Subtitles, is_nothing, subtitles_of
from defacer.engine.media.telemetry import TELEMETRY_TRACK, TelemetryFilter

BROADCASTS = ("mpegts", "mpeg")
CHAPTER_SECONDS = 0.01

Timed = tuple[float, "Packet[Any]"]


class PassthroughStreams:
    """The sound, subtitles and chapters of a source on their way into the result.

    `sound` and `texts` list the packets sent for each track, `chapters` the start of each in seconds. Text tracks
    whose index is in `telemetry` are left out.
    """

    def __init__(
        self,
        source: InputContainer,
        result: OutputContainer,
        begin_seconds: Fraction,
        telemetry: frozenset[int],
    ):
        self._source = source
        self._begin_seconds = begin_seconds
        self._sound = {
            stream.index: side_streams.add_sound(result, stream) for stream in side_streams.sound_of(source)
        }
        self._heard = {stream.index: EditListTrimmer(_is_pcm(stream)) for stream in source.streams.audio}
        texts = [stream for stream in subtitles_of(source) if stream.index not in telemetry]
        self._subtitles = {stream.index: Subtitles(result, stream) for stream in texts}
        self._filters = {stream.index: TelemetryFilter(stream) for stream in texts}
        self._telemetry = telemetry
        self._sent = {stream.index: TrackDigest(_is_pcm(stream)) for stream in source.streams.audio}
        self._texts = {index: TrackDigest(is_pcm=False) for index in self._subtitles}
        result.set_chapters(source.chapters())
        self.chapters = _chapters(source)

    @property
    def sound(self) -> list[TrackDigest]:
        return [self._sent[index] for index in self._sound]

    @property
    def texts(self) -> list[TrackDigest]:
        return list(self._texts.values())

    @property
    def dropped(self) -> tuple[str, ...]:
        """Kinds of the texts that were left out, after the last packet."""
        later = (kind for texts in self._filters.values() for kind in texts.dropped)
        return tuple(dict.fromkeys([*(TELEMETRY_TRACK for _ in self._telemetry), *later]))

    def packets(self, seen: SourceAudit) -> Iterator[Timed]:
        """The packets to write, each with its time in seconds; all of the source's packets are shown to `seen`."""
        for packet in self._source.demux():
            seen.take(packet)
            if not packet.size:
                continue
            index = packet.stream_index
            if index in self._sound:
                for heard in self._heard[index].take(packet):
                    self._move(heard)
                    seconds = seconds_of(heard)
                    self._sent[index].add(heard, seconds)
                    heard.stream = self._sound[index]
                    yield seconds, heard
            elif index in self._subtitles and not packet.is_discard:
                if not self._filters[index].lets_through(bytes(packet)):
                    continue
                self._move(packet)
                yield from map(self._as_sent(index), self._subtitles[index].take(packet))
        for index, subtitles in self._subtitles.items():
            yield from map(self._as_sent(index), subtitles.rest())

    def _as_sent(self, index: int) -> Callable[["Packet[Any]"], Timed]:
        def sent(text: "Packet[Any]") -> Timed:
            if not is_nothing(text):
                self._texts[index].add_text(text)
            return seconds_of(text), text

        return sent

    def _move(self, packet: "Packet[Any]") -> None:
        begin = round(self._begin_seconds / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - begin
        packet.dts = None if packet.dts is None else packet.dts - begin


class PassthroughResult:
    """The sound, subtitles and chapters of the result, gathered while it is read.

    `end` is the end of its last packet in seconds, also of an empty text.
    """

    def __init__(self, result: InputContainer):
        self.end = 0.0
        self._sound = {stream.index: TrackDigest(_is_pcm(stream)) for stream in result.streams.audio}
        self._texts = {stream.index: TrackDigest(is_pcm=False) for stream in result.streams.subtitles}
        self._chapters = _chapters(result)

    def take(self, packet: "Packet[Any]") -> None:
        """Take one packet of the sound or the subtitles."""
        self.end = max(self.end, end_of(packet))
        if packet.stream_index in self._sound:
            self._sound[packet.stream_index].add(packet, seconds_of(packet))
        elif not is_nothing(packet):
            self._texts[packet.stream_index].add_text(packet)

    def require_same(self, sound: list[TrackDigest], texts: list[TrackDigest], chapters: list[float]) -> None:
        """Raise CheckError if it is not what was sent. A track of which nothing was sent may be gone."""
        for what, sent, found in (
            ("sound is", sound, self._sound),
            ("subtitles are", texts, self._texts),
        ):
            heard = [track for track in sent if track.count]
            came = [track for track in found.values() if track.count]
            if len(heard) != len(came):
                raise _differs(what)
            if not all(one.is_same(other) for one, other in zip(heard, came, strict=True)):
                raise _differs(what)
        if len(chapters) != len(self._chapters) or any(
            abs(one - other) > CHAPTER_SECONDS for one, other in zip(chapters, self._chapters, strict=True)
        ):
            raise _differs("chapters are")


def begin_seconds(container: InputContainer) -> Fraction:
    """The time at which a broadcast's own clock stood when it began: a player takes that for 0."""
    if container.format.name not in BROADCASTS:
        return Fraction(0)
    begins = [
        stream.start_time * (stream.time_base or Fraction(1))
        for stream in (*container.streams.video, *container.streams.audio)
        if stream.start_time is not None
    ]
    return Fraction(min(begins, default=0))


def _differs(what: str) -> CheckError:
    return CheckError(f"the result's {what} not the source's. Nothing was published; drop the video again.")


def _chapters(container: InputContainer) -> list[float]:
    """When each chapter begins, in seconds. An MP4's first one begins with the video, whatever was said of it."""
    begins = sorted(float(chapter["start"] * (chapter["time_base"] or 0)) for chapter in container.chapters())
    return [0.0, *begins[1:]] if begins else []


def _is_pcm(stream: Any) -> bool:
    return bool(stream.codec_context.name.startswith("pcm_"))
