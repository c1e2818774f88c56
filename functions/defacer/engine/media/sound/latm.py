"""Take AAC out of LATM (ISO/IEC 14496-3, 1.7.3), the packets of digital television, without decoding it.

Each packet is a synchronized AudioMuxElement. Its payload gets a header of ADTS, which the MP4 writer understands.
Only the usual form is read: one program with one layer. A stream of another form is converted instead.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
from av import AudioFrame, Packet
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from defacer.engine.errors import VideoError
from defacer.engine.media.side_streams import copy_language
from defacer.engine.media.sound.audio_planes import make_silence
from defacer.engine.media.sound.copied_sound import RisingTimes, SoundPackets

SYNC, SYNC_BITS, LENGTH_BITS = 0x2B7, 11, 13
ADTS_BYTES = 7
ESCAPED_TYPE, EXPLICIT_RATE = 31, 15
SBR, PS = 5, 29  # audio object types that wrap another one
ADTS_TYPES = range(1, 5)  # Main, LC, SSR, LTP
ADTS_CHANNELS = range(1, 8)
RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
FRAME_SAMPLES = 1024


class LatmError(Exception):
    """A packet is damaged, or its stream has a form that this module does not read."""


@dataclass(frozen=True)
class AacConfig:
    """The core of an AAC stream: its object type, and the indices of its rate and channels (ISO/IEC 14496-3, 1.6)."""

    object_type: int
    rate_index: int
    channels: int

    @property
    def rate(self) -> int:
        return RATES[self.rate_index]

    def adts_header(self, payload_bytes: int) -> bytes:
        """Return the header of ADTS for a payload of this size."""
        fields = (
            (0xFFF, 12), (0, 3), (1, 1), (self.object_type - 1, 2), (self.rate_index, 4), (0, 1), (self.channels, 3),
            (0, 4), (payload_bytes + ADTS_BYTES, 13), (0x7FF, 11), (0, 2),
        )  # fmt: skip
        bits = 0
        for value, width in fields:
            bits = bits << width | value
        return bits.to_bytes(ADTS_BYTES, "big")


class LatmReader:
    """The state of one stream: its configuration is not in every packet."""

    def __init__(self) -> None:
        self._config: AacConfig | None = None
        self._subframes = 1

    def read(self, packet: bytes) -> tuple[AacConfig, list[bytes]]:
        """Return the configuration and the AAC frames of a packet. Raises LatmError."""
        bits = _Bits(packet)
        if bits.take(SYNC_BITS) != SYNC:
            raise LatmError("no sync word")
        bits.take(LENGTH_BITS)
        if not bits.take(1):
            self._read_config(bits)
        if self._config is None:
            raise LatmError("no configuration yet")
        return self._config, [bits.take_bytes(_read_length(bits)) for _ in range(self._subframes)]

    def _read_config(self, bits: "_Bits") -> None:
        version = bits.take(1)
        if version and bits.take(1):
            raise LatmError("an unknown version")
        if version:
            _read_value(bits)  # the buffer's fullness
        if not bits.take(1):
            raise LatmError("frames of different times")
        subframes, programs, layers = bits.take(6) + 1, bits.take(4) + 1, bits.take(3) + 1
        if programs > 1 or layers > 1:
            raise LatmError("several programs or layers")
        size = _read_value(bits) if version else None
        start = bits.position
        config = _read_aac_config(bits)
        if size is not None:
            bits.take(start + size - bits.position)
        if bits.take(3):
            raise LatmError("frames that are not AAC")
        bits.take(8)  # the buffer's fullness
        if bits.take(1):
            _skip_other_data_length(bits, version)
        if bits.take(1):
            bits.take(8)  # the checksum of the configuration
        self._config, self._subframes = config, subframes


class RepackagedSound:
    """A track whose packets lose LATM and get ADTS."""

    def __init__(self, result: OutputContainer, stream: AudioStream):
        config = read_aac_config(stream.codec_context.extradata or b"")
        self._template = _open_adts_template(config)  # the stream in the result is a copy of its stream
        self.added: AudioStream = result.add_stream_from_template(self._template.streams.audio[0])
        self.added.time_base = stream.time_base
        copy_language(self.added, stream)
        self._reader = LatmReader()
        self._times = RisingTimes()
        self.damaged = 0

    def write(self, packet: "Packet[Any]") -> SoundPackets:
        """Yield one packet for each AAC frame in this packet."""
        try:
            config, payloads = self._reader.read(bytes(packet))
        except LatmError:
            self.damaged += 1
            return
        for number, payload in enumerate(payloads):
            if packet.pts is None:
                raise VideoError("a packet of sound has no time. Convert the sound to AAC.")
            repackaged: Packet[Any] = Packet(config.adts_header(len(payload)) + payload)
            later = round(number * FRAME_SAMPLES / config.rate / packet.time_base)
            repackaged.pts = repackaged.dts = packet.pts + later
            repackaged.time_base, repackaged.stream = packet.time_base, self.added
            repackaged.duration = round(FRAME_SAMPLES / config.rate / packet.time_base)
            self._times.apply(repackaged)
            yield repackaged

    def flush(self) -> SoundPackets:
        """Yield nothing: no packet waits."""
        return iter(())


def can_repackage(extradata: bytes | None, packets: Iterable["Packet[Any]"]) -> bool:
    """Return whether this module can read a stream, by its configuration and its first packets.

    A recording can start before the first packet with a configuration.
    """
    reader = LatmReader()
    try:
        stated = read_aac_config(extradata or b"")
    except LatmError:
        return False
    for packet in packets:
        with suppress(LatmError):
            return reader.read(bytes(packet))[0] == stated
    return False


def read_aac_config(data: bytes) -> AacConfig:
    """Read an AudioSpecificConfig. Raises LatmError for a form that ADTS can't state."""
    return _read_aac_config(_Bits(data))


class _Bits:
    """Bits of a packet, the most significant first."""

    def __init__(self, data: bytes):
        self.position = 0
        self._size = 8 * len(data)
        self._number = int.from_bytes(data, "big")

    def take(self, count: int) -> int:
        end = self.position + count
        if count < 0 or end > self._size:
            raise LatmError("the packet is too short")
        self.position = end
        return self._number >> (self._size - end) & ((1 << count) - 1)

    def take_bytes(self, count: int) -> bytes:
        return self.take(8 * count).to_bytes(count, "big")


def _read_aac_config(bits: _Bits) -> AacConfig:
    object_type, rate, channels = _read_type(bits), bits.take(4), bits.take(4)
    if rate == EXPLICIT_RATE:
        raise LatmError("a rate that ADTS can't state")
    if object_type in (SBR, PS):
        if bits.take(4) == EXPLICIT_RATE:
            bits.take(24)
        object_type = _read_type(bits)
    is_short, has_core = bits.take(1), bits.take(1)
    if (
        object_type not in ADTS_TYPES
        or channels not in ADTS_CHANNELS
        or is_short
        or has_core
        or rate >= len(RATES)
    ):
        raise LatmError("a form that ADTS can't state")
    bits.take(1)  # no extension for these object types
    return AacConfig(object_type, rate, channels)


def _read_type(bits: _Bits) -> int:
    object_type = bits.take(5)
    return 32 + bits.take(6) if object_type == ESCAPED_TYPE else object_type


def _read_value(bits: _Bits) -> int:
    """Read LatmGetValue: a number of bytes less one, then the bytes."""
    return bits.take(8 * (bits.take(2) + 1))


def _read_length(bits: _Bits) -> int:
    length, part = 0, 255
    while part == 255:
        part = bits.take(8)
        length += part
    return length


def _skip_other_data_length(bits: _Bits, version: int) -> None:
    """Skip the length of data beside the sound, which comes after the payloads."""
    if version:
        _read_value(bits)
        return
    while bits.take(9) >> 8:
        pass


def _open_adts_template(config: AacConfig) -> InputContainer:
    """Return an ADTS file of silence with this rate and number of channels."""
    layouts = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "7.1"}
    layout = layouts[config.channels]
    file = io.BytesIO()
    with av.open(file, "w", format="adts") as out:
        stream = out.add_stream("aac", rate=config.rate, layout=layout)
        for frame in _silent_frames(config.rate, layout):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    return av.open(file, "r", format="aac")


def _silent_frames(rate: int, layout: str) -> Iterator[AudioFrame]:
    for _ in range(4):
        yield make_silence("fltp", layout, rate, FRAME_SAMPLES)
