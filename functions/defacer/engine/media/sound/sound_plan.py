"""Decide for each sound track of a source: copy its packets, convert it, or drop it."""

import io
from dataclasses import dataclass
from typing import Any, Literal

import av
from av import Packet
from av.audio.stream import AudioStream
from av.container import InputContainer

from defacer.engine.errors import SoundError
from defacer.engine.media.clock.clocked_source import Source, file_of
from defacer.engine.media.clock.packet_clock import read_raw_packets
from defacer.engine.media.mp4.header_check import read_header
from defacer.engine.media.reader import open_video
from defacer.engine.media.sound.copied_sound import add_copied_stream
from defacer.engine.media.sound.latm import can_repackage
from defacer.engine.media.sound.sound_encoding import SoundEncoding, choose_encoding, describe_mix
from defacer.engine.options import SoundMode
from defacer.plurals import pluralize
from defacer.report.changes import ChangeCode, SourceChange

COPIED = frozenset({"aac", "ac3", "alac", "dts", "eac3", "flac", "mp2", "mp3", "opus", "vorbis"})
LATM_PACKETS = 50  # about a second
# An FLV has one sound track, and names the codec in each packet. A damaged name looks like another track.
MIN_FLV_PACKETS = 10
MAX_SEARCHED_BYTES = 16 * 1024 * 1024  # of packets, until each sound track has one


@dataclass(frozen=True)
class SoundPlan:
    """How one sound track reaches the result. `index` is that of its stream in the source.

    `rate` is that of the result. A track with an `encoding` is encoded again. `change` is the entry of the report, if
    samples or packets change.
    """

    index: int
    rate: int
    method: Literal["copy", "repackage", "encode"]
    encoding: SoundEncoding | None = None
    change: SourceChange | None = None


@dataclass(frozen=True)
class SoundPlans:
    """The plans of the tracks that the result has, in order, and the changes for the dropped tracks."""

    tracks: tuple[SoundPlan, ...]
    dropped: tuple[SourceChange, ...]

    @property
    def changes(self) -> tuple[SourceChange, ...]:
        return (*(plan.change for plan in self.tracks if plan.change), *self.dropped)


def plan_sound(source: Source, mode: SoundMode) -> SoundPlans:
    """Return the plans for the sound of a source.

    Raises SoundError if it has only sound that can't be decoded, or needs a conversion that `mode` forbids.
    """
    tracks: list[SoundPlan] = []
    dropped: list[SourceChange] = []
    unknown = ""
    with open_video(source) as (container, _):
        streams = list(container.streams.audio)
        first = _first_packets(container)
        is_flv = container.format.name == "flv"
        for number, stream in enumerate(streams, start=1):
            packets = first.get(stream.index, [])
            if is_flv and 0 < len(packets) < min(MIN_FLV_PACKETS, max(map(len, first.values()))):
                why = f"which has {pluralize(len(packets), 'packet')}, so its name is damaged"
                dropped.append(_dropped(number, _describe_unknown(source, stream), why))
                continue
            plan = _plan_track(stream, packets, number)
            if plan is not None:
                tracks.append(plan)
            elif packets or stream.codec_context is None:
                unknown = _describe_unknown(source, stream)
                dropped.append(_dropped(number, unknown, "which can't be decoded"))
            else:
                dropped.append(_dropped(number, _name_of(stream), "which is empty"))
    if unknown and not tracks:
        raise SoundError(f"its sound ({unknown}) can't be decoded. Convert the sound to AAC.")
    changed = [plan.change for plan in tracks if plan.change]
    if changed and mode == "copy_only":
        raise SoundError(
            f"it needs a conversion ({changed[0].text}), which copy_only forbids. Choose convert for the sound, or "
            "convert it to AAC first."
        )
    return SoundPlans(tuple(tracks), tuple(dropped))


def _dropped(number: int, name: str, why: str) -> SourceChange:
    return SourceChange(ChangeCode.DROPPED_SOUND, f"sound track {number} ({name}), {why}")


def _name_of(stream: AudioStream) -> str:
    """Return FFmpeg's name of a codec, which does not depend on the decoder."""
    return stream.codec_context.codec.canonical_name


def _describe_unknown(source: Source, stream: AudioStream) -> str:
    """Return the name of a codec that can't be decoded. An MP4 or MOV states it, if FFmpeg has none."""
    if stream.codec_context is not None:
        return _name_of(stream)
    header = read_header(file_of(source))
    entries = [track.sample_entry for track in header.tracks] if header else []
    return entries[stream.index] if stream.index < len(entries) else "unknown"


def _plan_track(stream: AudioStream, packets: list["Packet[Any]"], number: int) -> SoundPlan | None:
    """Return the plan for a track; None if it can't be decoded."""
    if stream.codec_context is None or not stream.rate or not stream.channels:
        return None
    name, index = _name_of(stream), stream.index
    if name in COPIED and _is_copyable(stream, packets):
        return SoundPlan(index, stream.rate, "copy")
    track = f"sound track {number}: {name}"
    if name == "aac_latm" and can_repackage(stream.codec_context.extradata, packets):
        change = SourceChange(ChangeCode.CONVERTED_SOUND, f"{track} to AAC with the same packets")
        return SoundPlan(index, stream.rate, "repackage", change=change)
    if not _has_decoder(stream):
        return None
    encoding = choose_encoding(stream, name)
    if encoding.encoder == name:
        return SoundPlan(index, encoding.rate, "encode", encoding)
    text = f"{track} to {encoding.text}{describe_mix(stream, encoding)}"
    change = SourceChange(ChangeCode.CONVERTED_SOUND, text)
    return SoundPlan(index, encoding.rate, "encode", encoding, change)


def _has_decoder(stream: AudioStream) -> bool:
    """Return whether the decoder opens with the parameters of a track."""
    try:
        stream.codec_context.open(strict=False)
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _first_packets(container: InputContainer) -> dict[int, list["Packet[Any]"]]:
    """Return the first packets of each sound track, by the index of its stream.

    Several for LATM, because not each of its packets states the form, and for an FLV.
    """
    usual = MIN_FLV_PACKETS if container.format.name == "flv" else 1
    wanted = {
        stream.index: LATM_PACKETS if _name_of(stream) == "aac_latm" else usual
        for stream in container.streams.audio
        if stream.codec_context is not None
    }
    found: dict[int, list[Packet[Any]]] = {index: [] for index in wanted}
    searched = 0
    for packet in read_raw_packets(container) if wanted else ():
        searched += packet.size
        packets = found.get(packet.stream_index)
        if packet.size and packets is not None and len(packets) < wanted[packet.stream_index]:
            packets.append(packet)
        if searched > MAX_SEARCHED_BYTES or all(
            len(found[index]) == count for index, count in wanted.items()
        ):
            break
    return found


def _is_copyable(stream: AudioStream, packets: list["Packet[Any]"]) -> bool:
    """Return whether FFmpeg writes an MP4 with this track and its first packet."""
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as result:
            added = add_copied_stream(result, stream)
            result.start_encoding()
            for packet in packets:
                packet.stream = added
                result.mux_one(packet)
    except (ValueError, av.error.FFmpegError):
        return False
    return True
