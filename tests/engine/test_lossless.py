"""Test that quality 0 keeps every sample, in each pixel format of a result (see `encoding.py`)."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from defacer.engine.media.encoding import Encoding, encoding_of
from defacer.engine.media.reader import read_frames
from defacer.engine.media.segment_writer import write_segment
from tests.clips import Clip, write_clip

FRAMES, WIDTH, HEIGHT = 5, 96, 64
EIGHT_BITS = ("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p")
TEN_BITS = ("yuv420p10le", "yuv422p10le", "yuv444p10le")
RESULTS = [
    *(("libx264", name, fields) for name in (*EIGHT_BITS, *TEN_BITS) for fields in (None, "tff")),
    *(("libx265", name, None) for name in TEN_BITS),
]


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Encoding:
    path = tmp_path_factory.mktemp("lossless") / "source.mp4"
    write_clip(path, Clip(seconds=1, size=(WIDTH, HEIGHT), audio=False))
    return replace(encoding_of(str(path)), time_base=Fraction(1, 25))


def noise(pixel_format: str) -> Iterator[av.VideoFrame]:
    """Yield frames of noise, which each lossy encoder changes."""
    random = np.random.default_rng(1)
    for number in range(FRAMES):
        frame = av.VideoFrame(WIDTH, HEIGHT, pixel_format)
        for plane in frame.planes:
            bits = frame.format.components[0].bits
            shape = (plane.height, plane.line_size // (2 if bits > 8 else 1))
            plane.update(random.integers(0, 1 << bits, shape).astype("<u2" if bits > 8 else "u1").tobytes())
        frame.pts, frame.time_base = number, Fraction(1, 25)
        yield frame


def samples(frame: av.VideoFrame) -> list[bytes]:
    """Return the rows of all planes, without the padding."""
    size = 2 if frame.format.components[0].bits > 8 else 1
    return [
        bytes(plane)[row * plane.line_size :][: plane.width * size]
        for plane in frame.planes
        for row in range(plane.height)
    ]


@pytest.mark.parametrize(("codec", "pixel_format", "fields"), RESULTS)
def test_quality_0_keeps_every_sample(
    encoding: Encoding, tmp_path: Path, codec: str, pixel_format: str, fields: str | None
) -> None:
    form = replace(encoding.form, width=WIDTH, height=HEIGHT)
    chosen = replace(encoding, codec=codec, pixel_format=pixel_format, fields=fields, form=form)
    path = str(tmp_path / "segment.nut")
    with write_segment(path, chosen, quality=0) as writer:
        for frame in noise(pixel_format):
            writer.write(frame)
    read = list(read_frames(path))
    assert {frame.format.name for frame in read} == {pixel_format}
    assert [samples(frame) for frame in read] == [samples(frame) for frame in noise(pixel_format)]
