"""Choose how a sound track is encoded again.

An MP4 can hold more formats than players can play. Of the lossless formats, QuickTime, Chromium and FFmpeg 5.1 play PCM
with 16 bits and FLAC. They don't all play ALAC (not Chromium) or PCM with 24 bits (noise in FFmpeg 5.1).
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
from av.audio.stream import AudioStream
from av.codec.codec import Properties
from av.container import OutputContainer

from defacer.engine.media.sound.audio_planes import make_silence
from defacer.engine.media.sound.channel_layouts import choose_layout, mixes_channels, read_layout
from defacer.engine.media.sound.copied_sound import DEFAULT_LAYOUTS

# Written again from their samples, so that gaps stay gaps: an MP4 states no times inside PCM.
PLAYABLE_PCM = frozenset({"pcm_s16le", "pcm_s16be"})
SIXTEEN_BITS = frozenset({"u8", "u8p", "s16", "s16p"})
# The layouts whose channels players place right, by rising number of channels. FFmpeg 5.1 reads no layout of PCM.
FLAC_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0(side)", "5.1(side)", "6.1", "7.1")
AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")
PCM_LAYOUTS = tuple(DEFAULT_LAYOUTS.values())
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
MAX_CHANNEL_BITS = 128_000  # a second, of AAC
AAC_BITS_PER_SAMPLE = 4  # enough for lower rates; the format's limit is 6
# The fast coder is twice as fast as the usual one. Without intensity stereo and noise substitution, which change the
# waveform, its signal-to-noise ratio is as good in each octave (music, noise; 48 kHz stereo at 256 kbit/s).
AAC_OPTIONS = {"aac_coder": "fast", "aac_is": "0", "aac_pns": "0"}
MAX_PCM_RATE = 65_535  # the sample entry of an MP4 has 16 bits for it, and FFmpeg 5.1 plays 96 kHz as 48 kHz


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

    @property
    def layouts(self) -> tuple[str, ...]:
        """Return the layouts whose channels players place right."""
        return {"aac": AAC_LAYOUTS, "flac": FLAC_LAYOUTS}.get(self.encoder, PCM_LAYOUTS)

    @property
    def text(self) -> str:
        """Return the format in a user's words."""
        if self.encoder == "aac":
            return f"AAC at {self.bits // 1000} kbit/s"
        bits = 24 if self.sample_format == "s32" else 16
        return f"{'FLAC' if self.encoder == 'flac' else 'PCM'} with {bits} bits"

    def add_stream(self, result: OutputContainer) -> AudioStream:
        """Add a track with this encoding to a result. Its encoder opens with the first frame."""
        added = cast(
            AudioStream,
            result.add_stream(self.encoder, rate=self.rate, layout=self.layout, options=self.options),
        )
        added.codec_context.format = self.sample_format
        added.time_base = added.codec_context.time_base = Fraction(1, self.rate)
        return added


def choose_encoding(stream: AudioStream, name: str) -> SoundEncoding:
    """Return the encoding that keeps most of a track, whose codec has this name. All its parts can be opened."""
    return next(encoding for encoding in _list_encodings(stream, name) if _is_writable(encoding))


def describe_mix(stream: AudioStream, encoding: SoundEncoding) -> str:
    """Return the end of a sentence about channels that are mixed; "" if each channel stays."""
    if not mixes_channels(stream.layout, encoding.layout, encoding.layouts):
        return ""
    return f", and its channels ({stream.layout.name}) to {encoding.layout}"


def _list_encodings(stream: AudioStream, name: str) -> Iterator[SoundEncoding]:
    """Yield the possible encodings, the best one first. The last one is possible for any sound."""
    context = stream.codec_context
    is_short = context.format is not None and context.format.name in SIXTEEN_BITS
    is_pcm = name.startswith("pcm_") or name == "s302m"
    if is_pcm and is_short and stream.rate <= MAX_PCM_RATE:
        layout = read_layout(stream.layout, PCM_LAYOUTS)
        if name in PLAYABLE_PCM and layout in PCM_LAYOUTS:
            yield SoundEncoding(name, "s16", layout, stream.rate)
        elif layout in ("mono", "stereo"):
            yield SoundEncoding("pcm_s16le", "s16", layout, stream.rate)
    if is_pcm or Properties.LOSSLESS in Properties(context.codec.properties):
        layout = choose_layout(stream.layout, FLAC_LAYOUTS)
        yield SoundEncoding("flac", "s16" if is_short else "s32", layout, stream.rate)
    rate = next((rate for rate in AAC_RATES if rate >= stream.rate), AAC_RATES[-1])
    for layout in (choose_layout(stream.layout, AAC_LAYOUTS), "stereo"):
        channels = av.AudioLayout(layout).nb_channels
        bits = channels * min(MAX_CHANNEL_BITS, AAC_BITS_PER_SAMPLE * rate)
        yield SoundEncoding("aac", "fltp", layout, rate, bits)


def _is_writable(encoding: SoundEncoding) -> bool:
    """Return whether FFmpeg writes an MP4 with this encoding."""
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as result:
            stream = encoding.add_stream(result)
            stream.codec_context.open()
            samples = stream.codec_context.frame_size or encoding.rate
            silence = make_silence(encoding.sample_format, encoding.layout, encoding.rate, samples)
            silence.pts, silence.time_base = 0, Fraction(1, encoding.rate)
            result.mux(stream.encode(silence))
            result.mux(stream.encode(None))
    except (ValueError, av.error.FFmpegError):
        return False
    return True
