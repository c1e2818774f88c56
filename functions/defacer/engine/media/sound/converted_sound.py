"""Decode a sound track and encode it again."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av import AudioFrame, Packet
from av.audio.stream import AudioStream
from av.container import OutputContainer

from defacer.engine.errors import SoundError
from defacer.engine.media.side_streams import copy_language
from defacer.engine.media.sound.audio_planes import make_silence, planes_of
from defacer.engine.media.sound.channel_layouts import mix_to_stereo, read_layout, relabel
from defacer.engine.media.sound.copied_sound import SoundPackets
from defacer.engine.media.sound.sound_clock import PlacedFrame, SoundClock
from defacer.engine.media.sound.sound_encoding import SoundEncoding

MAX_SILENCE_SECONDS = 24 * 3600  # no job is longer, and ingest refuses most long gaps (see `sound_gaps.py`)
PCM_FRAME = 1024  # samples of a packet, for an encoder that accepts any number


class ConvertedSound:
    """A track that is decoded and encoded again. Sample 0 stays at its time, and a gap is silence.

    A packet that can't be decoded becomes silence. `damaged` counts them.
    """

    def __init__(self, result: OutputContainer, stream: AudioStream, encoding: SoundEncoding):
        self.damaged = 0
        self._source = stream.codec_context
        self._source.thread_type = "NONE"  # an error is then that of the packet which is decoded
        self._clock = SoundClock()
        self.added = encoding.add_stream(result)
        self._context = self.added.codec_context
        copy_language(self.added, stream)
        self._encoding = encoding
        self._rate = encoding.rate
        self._wanted = (encoding.sample_format, encoding.layout, encoding.rate)
        self._fifo = av.AudioFifo()
        self._resampler: av.AudioResampler | None = None
        self._resampled: tuple[str, str, int] | None = None  # format, layout and rate of the source
        self._reading: str | None = None  # the layout by which the channels of the source are read
        self._written = self._silence = 0  # samples

    def write(self, packet: "Packet[Any]") -> SoundPackets:
        """Yield the packets to write after this packet was read."""
        if packet.pts is not None and not packet.is_discard:
            self._clock.begin(packet.pts * packet.time_base)
        for frame in self._decode(packet):
            for placed in self._clock.add(frame):
                yield from self._encode(placed)

    def flush(self) -> SoundPackets:
        """Yield the remaining packets, after the last packet of the source."""
        for frame in self._decode(None):
            for placed in self._clock.add(frame):
                yield from self._encode(placed)
        for placed in self._clock.flush():
            yield from self._encode(placed)
        if self._resampler is not None:
            self._push(self._resampler.resample(None))
        yield from self._drain(partial=True)
        if self._written:
            yield from self._mark(self._context.encode(None))

    def _decode(self, packet: "Packet[Any] | None") -> list[AudioFrame]:
        try:
            return self._source.decode(packet)
        except av.error.FFmpegError:
            self.damaged += 1
            return []

    def _encode(self, placed: PlacedFrame) -> SoundPackets:
        left = round(Fraction(placed.silence, placed.frame.sample_rate) * self._rate)
        self._silence += left
        if self._silence > MAX_SILENCE_SECONDS * self._rate:
            raise SoundError(f"its sound has gaps of over {MAX_SILENCE_SECONDS} s. Export the video again.")
        while left > 0:  # second by second, because a gap can last hours
            count = min(left, self._rate)
            self._push([make_silence(self._context.format, self._context.layout, self._rate, count)])
            yield from self._drain()
            left -= self._rate
        frame = _without_start(placed.frame, placed.cut) if placed.cut else placed.frame
        if frame is not None:
            self._push(self._resample(frame))
        yield from self._drain()

    def _resample(self, frame: AudioFrame) -> list[AudioFrame]:
        """Convert a frame to the encoder's format. A source can change its own format at any frame."""
        rest: list[AudioFrame] = []
        found = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None and found == self._wanted:
            return [frame]
        if self._resampler is None or found != self._resampled:
            if self._resampler is not None:
                rest = self._resampler.resample(None)
            self._resampled = found
            self._reading = read_layout(frame.layout, self._encoding.layouts)
            self._resampler = av.AudioResampler(
                format=self._context.format, layout=self._context.layout, rate=self._rate
            )
        read = mix_to_stereo(frame) if self._reading is None else relabel(frame, self._reading)
        read.pts = None
        return rest + self._resampler.resample(read)

    def _push(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            frame.pts = None  # the clock placed it
            self._fifo.write(frame)

    def _drain(self, *, partial: bool = False) -> SoundPackets:
        size = self._context.frame_size or PCM_FRAME
        while frame := self._fifo.read(size, partial=partial):
            start = round((self._clock.start or Fraction(0)) * self._rate)
            frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
            frame.pts = start + self._written
            self._written += frame.samples
            yield from self._mark(self._context.encode(frame))

    def _mark(self, packets: "list[Packet[AudioStream]]") -> SoundPackets:
        for packet in packets:
            packet.time_base, packet.stream = Fraction(1, self._rate), self.added
            yield packet


def _without_start(frame: AudioFrame, count: int) -> AudioFrame | None:
    """Return the frame without its first samples; None if none is left."""
    if count >= frame.samples:
        return None
    if len(frame.planes) > len(planes_of(frame)):  # PyAV makes no array of it
        to_packed = av.AudioResampler(frame.format.packed, frame.layout, frame.sample_rate)
        (frame,) = to_packed.resample(frame)
    first = count if frame.format.is_planar else count * frame.layout.nb_channels
    samples: Any = np.ascontiguousarray(frame.to_ndarray()[:, first:])
    rest = AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout)
    rest.sample_rate = frame.sample_rate
    return rest
