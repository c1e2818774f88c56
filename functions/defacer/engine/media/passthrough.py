"""Copy sound, subtitles and chapters from a source into the result, and compare the two."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from av import Packet
from av.container import InputContainer, OutputContainer

from defacer.engine.errors import CheckError
from defacer.engine.media.side_streams import TrackDigest, end_of, seconds_of
from defacer.engine.media.sound.sound_plan import SoundPlans
from defacer.engine.media.sound.sound_tracks import open_sound_tracks
from defacer.engine.media.source_audit import SourceAudit
from defacer.engine.media.subtitles import Subtitles, is_empty_text, subtitles_of
from defacer.engine.media.telemetry import CHAPTER_TITLE, TELEMETRY_TRACK, TelemetryFilter, has_position_in
from defacer.plurals import pluralize
from defacer.report.changes import ChangeCode, SourceChange

CHAPTER_SECONDS = 0.01

TimedPacket = tuple[float, "Packet[Any]"]


class PassthroughStreams:
    """The sound, subtitles and chapters that are copied from a source into the result.

    `sound` and `texts` are digests of the copied packets of each track. `chapters` lists the start of each chapter in
    seconds. Text tracks whose index is in `telemetry` are not copied. With `drop_early`, sound and texts that begin
    before `begin_seconds` are not copied.
    """

    def __init__(
        self,
        source: InputContainer,
        result: OutputContainer,
        begin_seconds: Fraction,
        telemetry: frozenset[int],
        sound: SoundPlans,
        *,
        drop_early: bool = False,
    ):
        self._source = source
        self._begin_seconds = begin_seconds
        self._drop_early = drop_early
        self._plans = sound
        self._sound = open_sound_tracks(source, result, sound)
        texts = [stream for stream in subtitles_of(source) if stream.index not in telemetry]
        self._subtitles = {stream.index: Subtitles(result, stream) for stream in texts}
        self._filters = {stream.index: TelemetryFilter(stream) for stream in texts}
        self._telemetry = telemetry
        self._sound_digests = {
            index: TrackDigest(_is_pcm(track.added)) for index, track in self._sound.items()
        }
        self._text_digests = {index: TrackDigest(is_pcm=False) for index in self._subtitles}
        titles = list(source.chapters())
        self._has_located_chapter = False
        for number, chapter in enumerate(titles, start=1):
            if has_position_in(chapter["metadata"].get("title", "")):
                self._has_located_chapter = True
                chapter["metadata"] = {
                    "title": f"Chapter {number}"
                }  # FFmpeg repeats another title for an empty one
        result.set_chapters(titles)
        self.chapters = _chapters(source)

    @property
    def sound(self) -> list[TrackDigest]:
        return [self._sound_digests[index] for index in self._sound]

    @property
    def texts(self) -> list[TrackDigest]:
        return list(self._text_digests.values())

    @property
    def changes(self) -> tuple[SourceChange, ...]:
        """Return the changes of sound and texts. Read all packets first."""
        kinds = [kind for texts in self._filters.values() for kind in texts.dropped]
        dropped = [*(TELEMETRY_TRACK for _ in self._telemetry), *kinds]
        dropped += [CHAPTER_TITLE] if self._has_located_chapter else []
        return (
            *self._plans.changes,
            *self._damaged_sound(),
            *(SourceChange(ChangeCode.DROPPED_TELEMETRY, kind) for kind in dropped),
        )

    def _damaged_sound(self) -> Iterator[SourceChange]:
        for number, track in enumerate(self._sound.values(), start=1):
            if track.damaged:
                packets = pluralize(track.damaged, "packet")
                text = f"sound track {number}: {packets} that can't be decoded, silent in the result"
                yield SourceChange(ChangeCode.CORRECTED_SOUND, text)

    def packets(self, source: "Iterator[Packet[Any]]", audit: SourceAudit) -> Iterator[TimedPacket]:
        """Yield the packets to write, each with its time in seconds, and pass all packets of `source` to `audit`."""
        for packet in source:
            audit.add_packet(packet)
            if not packet.size or (self._drop_early and seconds_of(packet) < self._begin_seconds):
                continue
            index = packet.stream_index
            if index in self._sound:
                self._shift_times(packet)
                yield from self._record_sound(index, self._sound[index].write(packet))
            elif index in self._subtitles and not packet.is_discard:
                if not self._filters[index].accept(bytes(packet)):
                    continue
                self._shift_times(packet)
                yield from self._record_texts(index, self._subtitles[index].convert(packet))
        for index, track in self._sound.items():
            yield from self._record_sound(index, track.flush())
        for index, subtitles in self._subtitles.items():
            yield from self._record_texts(index, subtitles.flush())

    def _record_sound(self, index: int, packets: Iterator["Packet[Any]"]) -> Iterator[TimedPacket]:
        for packet in packets:
            seconds = seconds_of(packet)
            if packet.size:  # the last packet of FLAC has only its header
                self._sound_digests[index].add(packet, seconds)
            yield seconds, packet

    def _record_texts(self, index: int, packets: Iterator["Packet[Any]"]) -> Iterator[TimedPacket]:
        for text in packets:
            if not is_empty_text(text):
                self._text_digests[index].add_text(text)
            yield seconds_of(text), text

    def _shift_times(self, packet: "Packet[Any]") -> None:
        begin = round(self._begin_seconds / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - begin
        packet.dts = None if packet.dts is None else packet.dts - begin


class PassthroughResult:
    """The sound, subtitles and chapters of the result, collected while it is read.

    `end` is the end of the last packet in seconds, and an empty text counts too.
    """

    def __init__(self, result: InputContainer):
        self.end = 0.0
        self._sound = {stream.index: TrackDigest(_is_pcm(stream)) for stream in result.streams.audio}
        self._text_digests = {stream.index: TrackDigest(is_pcm=False) for stream in result.streams.subtitles}
        self._chapters = _chapters(result)

    def add_packet(self, packet: "Packet[Any]") -> None:
        """Add one packet of the sound or the subtitles."""
        self.end = max(self.end, end_of(packet))
        if packet.stream_index in self._sound:
            self._sound[packet.stream_index].add(packet, seconds_of(packet))
        elif not is_empty_text(packet):
            self._text_digests[packet.stream_index].add_text(packet)

    def require_same(self, sound: list[TrackDigest], texts: list[TrackDigest], chapters: list[float]) -> None:
        """Raise CheckError unless the result has all copied packets. A track without packets can be missing."""
        for what, copied, found in (
            ("sound is", sound, self._sound),
            ("subtitles are", texts, self._text_digests),
        ):
            expected = [track for track in copied if track.count]
            actual = [track for track in found.values() if track.count]
            if len(expected) != len(actual):
                raise _mismatch(what)
            if not all(one.is_same(other) for one, other in zip(expected, actual, strict=True)):
                raise _mismatch(what)
        if len(chapters) != len(self._chapters) or any(
            abs(one - other) > CHAPTER_SECONDS for one, other in zip(chapters, self._chapters, strict=True)
        ):
            raise _mismatch("chapters are")


def _mismatch(what: str) -> CheckError:
    return CheckError(
        f"the result's {what} not the source's. Nothing was published. Process the video again."
    )


def _chapters(container: InputContainer) -> list[float]:
    """Return the start of each chapter in seconds. The first chapter of an MP4 always begins with the video."""
    begins = sorted(float(chapter["start"] * (chapter["time_base"] or 0)) for chapter in container.chapters())
    return [0.0, *begins[1:]] if begins else []


def _is_pcm(stream: Any) -> bool:
    return bool(stream.codec_context.name.startswith("pcm_"))
