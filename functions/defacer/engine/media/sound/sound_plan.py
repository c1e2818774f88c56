"""Decide for each sound track of a source: copy its packets, convert it, or drop it.

An MP4 can hold more formats than players can play. Of the lossless formats, QuickTime, Chromium and FFmpeg 5.1 play PCM
with 16 bits and FLAC. They don't all play ALAC (not Chromium) or PCM with 24 bits (noise in FFmpeg 5.1).
"""

import io
from dataclasses import dataclass
from typing import Any, Literal

import av
from av import Packet
from av.audio.stream import AudioStream
from av.codec.codec import Properties
from av.container import InputContainer

from defacer.engine.errors import SoundError
from defacer.engine.media.clock.clocked_source import Source, file_of
from defacer.engine.media.mp4.header_check import read_header
from defacer.engine.media.reader import open_video
from defacer.engine.media.sound.copied_sound import add_copied_stream, missing_layout
from defacer.engine.media.sound.latm import can_repackage
from defacer.engine.options import SoundMode
from defacer.report.changes import ChangeCode, SourceChange

COPIED = frozenset({"aac", "ac3", "alac", "dts", "eac3", "flac", "mp2", "mp3", "opus", "vorbis"})
# Written again from their samples, so that gaps stay gaps: an MP4 states no times inside PCM.
PLAYABLE_PCM = frozenset({"pcm_s16le", "pcm_s16be"})
SIXTEEN_BITS = frozenset({"u8", "u8p", "s16", "s16p"})
MAX_FLAC_CHANNELS = 8
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
MAX_CHANNEL_BITS = 128_000  # a second, of AAC
AAC_BITS_PER_SAMPLE = 4  # enough for lower rates; the format's limit is 6
# The fast coder is twice as fast as the usual one. Without intensity stereo and noise substitution, which change the
# waveform, its signal-to-noise ratio is as good in each octave (music, noise; 48 kHz stereo at 256 kbit/s).
AAC_OPTIONS = {"aac_coder": "fast", "aac_is": "0", "aac_pns": "0"}
MAX_PCM_RATE = 65_535  # the sample entry of an MP4 has 16 bits for it, and FFmpeg 5.1 plays 96 kHz as 48 kHz
MAX_PCM_CHANNELS = 2  # FFmpeg 5.1 does not read the layout of PCM in an MP4
LATM_PACKETS = 50  # about a second
MAX_SEARCHED_BYTES = 16 * 1024 * 1024  # of packets, until each sound track has one


@dataclass(frozen=True)
class SoundEncoding:
    """How a track is encoded again. `bits` are a second of AAC."""

    encoder: str
    sample_format: str
    layout: str
    rate: int
    bits: int = 0

    @property
    def options(self) -> dict[str, str]:
        """Return the options of the encoder."""
        if self.encoder == "aac":
            return {"b": str(self.bits), **AAC_OPTIONS}
        return {"bits_per_raw_sample": "24"} if self.sample_format == "s32" else {}


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
        for number, stream in enumerate(streams, start=1):
            if stream.codec_context is None:
                unknown = _sample_entry(source, stream) or "unknown"
                dropped.append(_dropped(number, unknown, "which can't be decoded"))
            elif not stream.rate or not stream.channels:
                dropped.append(_dropped(number, _name_of(stream), "which is empty"))
            else:
                tracks.append(_plan_track(stream, first[stream.index], number))
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


def _sample_entry(source: Source, stream: AudioStream) -> str:
    """Return the name that an MP4 or MOV states for a codec; "" for other files."""
    header = read_header(file_of(source))
    entries = [track.sample_entry for track in header.tracks] if header else []
    return entries[stream.index] if stream.index < len(entries) else ""


def _plan_track(stream: AudioStream, packets: list["Packet[Any]"], number: int) -> SoundPlan:
    name, index = _name_of(stream), stream.index
    if name in COPIED and _is_copyable(stream, packets):
        return SoundPlan(index, stream.rate, "copy")
    track = f"sound track {number}: {name}"
    if name == "aac_latm" and can_repackage(stream.codec_context.extradata, packets):
        change = SourceChange(ChangeCode.CONVERTED_SOUND, f"{track} to AAC with the same packets")
        return SoundPlan(index, stream.rate, "repackage", change=change)
    layout = missing_layout(stream) or stream.layout.name
    context = stream.codec_context
    sample_format = context.format.name if context.format else ""
    is_lossless = Properties.LOSSLESS in Properties(context.codec.properties)
    has_pcm_rate = stream.rate <= MAX_PCM_RATE
    if name in PLAYABLE_PCM and has_pcm_rate:
        return SoundPlan(index, stream.rate, "encode", SoundEncoding(name, "s16", layout, stream.rate))
    is_pcm, is_short = name.startswith("pcm_") or name == "s302m", sample_format in SIXTEEN_BITS
    fits_pcm = is_short and stream.channels <= MAX_PCM_CHANNELS and has_pcm_rate
    if is_pcm and (fits_pcm or stream.channels > MAX_FLAC_CHANNELS):
        encoding, into = SoundEncoding("pcm_s16le", "s16", layout, stream.rate), "PCM with 16 bits"
    elif (is_pcm or is_lossless) and stream.channels <= MAX_FLAC_CHANNELS:
        encoding = SoundEncoding("flac", "s16" if is_short else "s32", layout, stream.rate)
        into = f"FLAC with {16 if is_short else 24} bits"
    else:
        encoding = _aac(stream, layout)
        into = f"AAC at {encoding.bits // 1000} kbit/s"
    return SoundPlan(
        index,
        encoding.rate,
        "encode",
        encoding,
        SourceChange(ChangeCode.CONVERTED_SOUND, f"{track} to {into}"),
    )


def _aac(stream: AudioStream, layout: str) -> SoundEncoding:
    rate = next((rate for rate in AAC_RATES if rate >= stream.rate), AAC_RATES[-1])
    bits = stream.channels * min(MAX_CHANNEL_BITS, AAC_BITS_PER_SAMPLE * rate)
    return SoundEncoding("aac", "fltp", layout, rate, bits)


def _first_packets(container: InputContainer) -> dict[int, list["Packet[Any]"]]:
    """Return the first packets of each sound track, by the index of its stream.

    Several for LATM, because not each of its packets states the form.
    """
    wanted = {
        stream.index: LATM_PACKETS if _name_of(stream) == "aac_latm" else 1
        for stream in container.streams.audio
        if stream.codec_context is not None
    }
    found: dict[int, list[Packet[Any]]] = {index: [] for index in wanted}
    searched = 0
    for packet in container.demux() if wanted else ():
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
