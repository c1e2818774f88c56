"""Compare the streams beside the picture, and list the streams and tags of a source that are dropped.

Everything that can identify or locate a person is dropped: cover pictures and thumbnails, further pictures, data tracks
(time code, telemetry), attachments, and every tag except a track's language. The report lists the kinds of the
dropped data, and never a value.
"""

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from av import Packet
from av.container import InputContainer
from av.stream import DataStream

from defacer.engine.media.reader import STILL
from defacer.report.changes import ChangeCode, SourceChange

TEXT_SUBTITLES = ("mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text")
# Tags that describe the file, not people, places, devices or times.
HARMLESS_TAGS = ("major_brand", "minor_version", "compatible_brands", "encoder", "language", "duration", "handler_name",
                 "vendor_id", "stereo_mode", "bps", "number_of_frames", "number_of_bytes", "_statistics")  # fmt: skip
SOUND_SECONDS = 0.01  # an MP4 states times of sound in samples, other files in milliseconds
SOUND_END_SECONDS = 0.1  # containers do not always state the duration of the last packet


@dataclass
class TrackDigest:
    """The contents of one track: a hash of its bytes, the number of its packets, their times and end in seconds.

    For PCM only the first time counts, because each container splits it into other packets, and an MP4 closes gaps.
    """

    is_pcm: bool
    count: int = 0
    times: "array[float]" = field(default_factory=lambda: array("d"), repr=False)
    digest: Any = field(default_factory=hashlib.sha256, repr=False)
    end: float = 0.0

    def add_text(self, packet: "Packet[Any]") -> None:
        """Add one packet of subtitles, and its end to the times."""
        self.add(packet, seconds_of(packet))
        self.times.append(self.end)

    def add(self, packet: "Packet[Any]", seconds: float) -> None:
        """Add one packet at this time."""
        self.count += 1
        if not self.is_pcm or not self.times:
            self.times.append(seconds)
        self.end = end_of(packet)
        self.digest.update(payload(packet))

    def is_same(self, found: "TrackDigest") -> bool:
        """Return whether the other track has the same bytes at the same times."""
        if self.digest.digest() != found.digest.digest() or len(self.times) != len(found.times):
            return False
        if not self.is_pcm and abs(self.end - found.end) > SOUND_END_SECONDS:
            return False
        return bool(np.allclose(self.times, found.times, rtol=0, atol=SOUND_SECONDS))


def payload(packet: "Packet[Any]") -> bytes:
    """Return the bytes of a packet without the headers of its container."""
    data = bytes(packet)
    if packet.stream.codec_context.name == "aac" and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        # In a transport stream each AAC packet has a header (ADTS, ISO/IEC 13818-7). An MP4 has one for the track.
        data = data[7 if data[1] & 1 else 9 :]
    return data


def seconds_of(packet: "Packet[Any]") -> float:
    """Return the decode time of a packet in seconds, or the presentation time of a packet without one."""
    when = packet.dts if packet.dts is not None else packet.pts
    return to_seconds(when or 0, packet.time_base)


def end_of(packet: "Packet[Any]") -> float:
    """Return the end of a packet in seconds."""
    return seconds_of(packet) + to_seconds(packet.duration or 0, packet.time_base)


def to_seconds(units: int, base: Fraction) -> float:
    """Return a time in seconds, the same number as `float(units * base)` in a small part of its time."""
    return float(units * base.numerator / base.denominator)


def find_dropped(container: InputContainer, picture_index: int) -> Iterator[SourceChange]:
    """Yield the kinds of streams and tags that the result does not have."""
    for stream in container.streams.video:
        if stream.disposition & STILL and stream.index != picture_index:
            yield SourceChange(ChangeCode.DROPPED_COVER, "cover picture")
        elif stream.index != picture_index:
            yield SourceChange(ChangeCode.DROPPED_PICTURE, "another picture track")
    for data in container.streams.data:
        if not _is_chapters(data, container):
            yield SourceChange(ChangeCode.DROPPED_DATA, _data_kind(data))
    for _ in container.streams.attachments:
        yield SourceChange(ChangeCode.DROPPED_ATTACHMENT, "attachment")
    for texts in container.streams.subtitles:
        if codec_of(texts) not in TEXT_SUBTITLES:
            yield SourceChange(
                ChangeCode.DROPPED_SUBTITLES, f"subtitles that are pictures ({codec_of(texts)})"
            )
    tags = {key for tagged in (container, *container.streams) for key in tagged.metadata}
    for key in sorted(tags):
        if not key.lower().startswith(HARMLESS_TAGS):
            yield SourceChange(ChangeCode.DROPPED_TAG, f"tag {key}")


def codec_of(stream: Any) -> str:
    """Return the name of a track's codec; "unknown" if FFmpeg has no decoder for it."""
    return stream.codec_context.name if stream.codec_context else "unknown"


def _is_chapters(stream: DataStream, container: InputContainer) -> bool:
    """Return whether a data track has QuickTime's chapters, which FFmpeg also returns as chapters."""
    return stream.name == "bin_data" and 0 < stream.frames == len(container.chapters())


def _data_kind(stream: DataStream) -> str:
    return "time code track" if "timecode" in stream.metadata else "data track"


def copy_language(added: Any, stream: Any) -> None:
    """Copy the language and the disposition of a source's track to a track of the result."""
    if stream.language:
        added.metadata["language"] = stream.language
    if stream.disposition:
        added.disposition = stream.disposition
