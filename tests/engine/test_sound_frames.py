"""Test frames of sound with eight channels, which have a wild ninth plane in PyAV, and short headers of Vorbis."""

import av
import numpy as np
import pytest

from defacer.engine.media.sound import converted_sound, copied_sound
from defacer.engine.media.sound.audio_planes import make_silence, planes_of

LAYOUTS = {"mono": 1, "5.1": 6, "7.1": 8}


@pytest.mark.parametrize(("layout", "channels"), LAYOUTS.items())
def test_silence_has_a_plane_for_each_channel(layout: str, channels: int) -> None:
    planes = planes_of(make_silence("fltp", layout, 48000, 1024))
    assert len(planes) == channels
    assert not any(any(bytes(plane)) for plane in planes)


@pytest.mark.parametrize(("layout", "channels"), LAYOUTS.items())
def test_start_of_a_planar_frame_is_cut_off(layout: str, channels: int) -> None:
    frame = make_silence("fltp", layout, 48000, 100)
    for number, plane in enumerate(planes_of(frame), 1):
        plane.update(np.full(plane.buffer_size // 4, number, np.float32).tobytes())
    rest = converted_sound._without_start(frame, 30)
    assert rest is not None
    (packed,) = av.AudioResampler("flt", layout, 48000).resample(rest)
    samples = packed.to_ndarray().reshape(-1, channels)
    assert samples.tolist() == [list(range(1, channels + 1))] * 70


@pytest.mark.parametrize("headers", [b"", b"\2", b"\2\xff\xff", b"\2\x1e"])
def test_short_vorbis_headers_are_refused(headers: bytes) -> None:
    with pytest.raises(ValueError, match="end too early"):
        copied_sound._strip_comments(headers)
