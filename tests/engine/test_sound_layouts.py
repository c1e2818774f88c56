"""Test that converted sound has each channel in its place, and that channels without a place are still heard."""

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream

from defacer.engine.media.joiner import join_files
from defacer.engine.media.sound.sound_plan import plan_sound
from tests.engine.test_sound import encode_segment
from tests.inputs.write_video import Video, write

RATE = 8000
SECONDS = 1
HERTZ = 100  # of the first channel, and the distance to the next one
SIDES = str.maketrans(
    {"S": "B"}
)  # a result can play the channels of the side behind, and the other way round

Tones = dict[str, set[int]]


def write_channels(folder: Path, name: str, encoder: str, layout: str) -> Path:
    """Write a video whose channels have tones of their own."""
    plain = write(folder / "plain.mkv", Video(sound=(), size=(64, 64), seconds=SECONDS))
    with av.open(str(plain)) as given, av.open(str(folder / name), "w") as out:
        picture = out.add_stream_from_template(given.streams.video[0])
        sound = cast(AudioStream, out.add_stream(encoder, rate=RATE, layout=layout))
        count = sound.codec_context.layout.nb_channels
        sound.codec_context.format = {"pcm_s24le": "s32", "dfpwm": "u8"}.get(encoder, "s16")
        times = np.arange(RATE * SECONDS) / RATE
        waves = [np.sin(2 * np.pi * HERTZ * (number + 1) * times) / count for number in range(count)]
        frame = av.AudioFrame(format="flt", layout=layout, samples=len(times))
        frame.planes[0].update(np.stack(waves, axis=1).astype(np.float32).tobytes())
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        (converted,) = av.AudioResampler(sound.codec_context.format, layout, RATE).resample(frame)
        for packet in given.demux():
            if packet.size:
                packet.stream = picture
                out.mux(packet)
        out.mux([*sound.encode(converted), *sound.encode(None)])
    return folder / name


def convert(source: Path) -> Path:
    out = source.parent / "out.mp4"
    join_files(str(source), [encode_segment(source, source.parent / "0.nut")], out)
    return out


def tones_of(path: Path) -> Tones:
    """Return the numbers of the tones that each channel plays, by the name of the channel."""
    with av.open(str(path)) as container:
        decoded = list(container.decode(audio=0))
    layout, rate = decoded[0].layout, decoded[0].sample_rate
    to_packed = av.AudioResampler("flt", layout, rate)
    parts = [part.to_ndarray() for frame in decoded for part in to_packed.resample(frame)]
    waves: Any = np.concatenate(parts, axis=1).reshape(-1, layout.nb_channels).T
    found: Tones = {}
    for channel, wave in zip(layout.channels, waves, strict=True):
        power = np.abs(np.fft.rfft(np.hanning(len(wave)) * wave))
        hertz = np.fft.rfftfreq(len(wave), 1 / rate)
        loud = hertz[power > 0.02 * max(power.max(), 1)]
        found[channel.name] = {round(float(tone) / HERTZ) for tone in loud}
    return found


@pytest.mark.parametrize("layout", ["2.1", "4.0", "4.1", "5.1(side)", "quad(side)"])
def test_each_channel_of_pcm_stays_in_its_place(layout: str, tmp_path: Path) -> None:
    tones = tones_of(convert(write_channels(tmp_path, "in.mov", "pcm_s24le", layout)))
    names = [channel.name for channel in AudioLayout(layout).channels]
    places = {name.translate(SIDES): tone for name, tone in tones.items() if tone}
    assert places == {name.translate(SIDES): {number} for number, name in enumerate(names, 1)}


@pytest.mark.parametrize(
    ("encoder", "name", "layout", "channels"),
    [
        ("pcm_s16le", "in.mkv", "22.2", 8),
        ("pcm_alaw", "in.mov", "11 channels", 2),
        ("pcm_s16be", "in.mov", "downmix", 2),
        ("dfpwm", "in.asf", "cube", 8),
        ("dfpwm", "in.nut", "10 channels", 8),
    ],
)
def test_unusual_channels_are_mixed_and_reported(
    encoder: str, name: str, layout: str, channels: int, tmp_path: Path
) -> None:
    source = write_channels(tmp_path, name, encoder, layout)
    (plan,) = plan_sound(str(source), "convert").tracks
    is_mixed = AudioLayout(layout).nb_channels > 2
    assert ("its channels" in (plan.change.text if plan.change else "")) is is_mixed
    tones = tones_of(convert(source))
    assert len(tones) == channels
    if encoder != "dfpwm":  # which is one bit a sample, so it has many other tones
        assert set.union(*tones.values()) >= set(range(1, min(channels, 8) + 1))


def test_channels_without_names_keep_their_order(tmp_path: Path) -> None:
    tones = tones_of(convert(write_channels(tmp_path, "in.mov", "pcm_alaw", "3 channels")))
    assert list(tones.values()) == [{1}, {2}, {3}]
