"""Tests of the comparison of decoded frames with the frames that were encoded."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from defacer.engine.media.readback import Readback

FRAMES, RATE = 40, 25
Packets = list["av.Packet[Any]"]


def pictures() -> Iterator[av.VideoFrame]:
    for number in range(FRAMES):
        gray = np.full((96, 128, 3), 40 + 4 * number, np.uint8)
        frame = av.VideoFrame.from_ndarray(gray, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        yield frame


def encode(readback: Readback, rate: int = RATE) -> tuple[Packets, VideoCodecContext]:
    """Encode the pictures, which the readback expects, in a single group of pictures."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 128, 96, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(rate)
    encoder.options = {"preset": "veryfast", "bf": "2", "g": "250"}
    packets: Packets = []
    for frame in pictures():
        readback.expect(frame)
        packets += encoder.encode(frame)
    return packets + encoder.encode(None), encoder


@pytest.mark.parametrize("every_frame", [True, False])
def test_frames_that_stay_as_they_were_do_not_differ(every_frame: bool) -> None:
    with Readback(every_frame) as readback:
        readback.decode_packets(*encode(readback))
        readback.finish()
    assert readback.is_readable
    assert not readback.differing


@pytest.mark.parametrize(
    ("every_frame", "rate", "differing"),
    [(True, RATE, set(range(FRAMES))), (False, 10, set(range(FRAMES))), (False, RATE, {0})],
)
def test_frames_that_the_decoder_drops_differ(
    every_frame: bool, rate: int, differing: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a high rate the decoder skips frames on purpose, but never a key frame."""
    monkeypatch.setattr(Readback, "_compare", lambda *_: None)
    with Readback(every_frame) as readback:
        readback.decode_packets(*encode(readback, rate))
        readback.finish()
    assert readback.differing == differing


def test_bidirectional_frames_of_a_dense_video_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    types: list[int] = []
    monkeypatch.setattr(Readback, "_compare", lambda _, frame: types.append(frame.pict_type))
    with Readback(every_frame=False) as readback:
        readback.decode_packets(*encode(readback))
        readback.finish()
    assert FRAMES / 4 < len(types) < FRAMES
    assert set(types) == {PictureType.I, PictureType.P}


def test_error_in_the_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no memory for a frame")

    monkeypatch.setattr(Readback, "_compare", fail)
    with Readback(every_frame=True) as readback, pytest.raises(MemoryError):
        readback.decode_packets(*encode(readback))
        readback.finish()


def test_packets_that_cannot_be_decoded_are_reported() -> None:
    with Readback(every_frame=True) as readback:
        packets, encoder = encode(readback)
        broken = av.Packet(b"\xff" * 200)
        broken.pts, broken.dts, broken.time_base = packets[5].pts, packets[5].dts, packets[5].time_base
        readback.decode_packets([*packets[:5], broken, *packets[6:]], encoder)
        readback.finish()
    assert not readback.is_readable or packets[5].pts in readback.differing
