"""The size of a result: at most 1.5 times that of its source at the default quality."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

from defacer.engine.media.clock.clocked_source import ClockedSource
from defacer.engine.media.clock.section_rates import MIN_LIMIT
from defacer.engine.media.encoding import Encoding, encoding_of
from defacer.engine.media.probe import probe
from defacer.engine.media.reader import Segment, read_frames
from defacer.engine.options import Options, SizeLimit
from defacer.engine.rendering.redact_segment import redact_segment
from defacer.report.faces import Faces

EVAL = os.environ.get("DEFACER_EVAL")
SIZE, RATE, SECONDS = (640, 360), 25, 5


@pytest.fixture(scope="module", params=["mp4", pytest.param("mkv", marks=pytest.mark.slow)])
def low_rate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip whose encoder discarded most of a moving texture, as the encoder of a video site does."""
    path = tmp_path_factory.mktemp("size") / f"clip.{request.param}"
    random = np.random.default_rng(0)
    texture = (
        random.integers(0, 256, (90, 160 + SECONDS * RATE), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    )
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.options = {"preset": "medium", "crf": "30", "g": "250"}
        for index in range(SECONDS * RATE):
            noise = random.normal(0, 20, (45, 80)).repeat(8, axis=0).repeat(8, axis=1)
            gray = np.clip(texture[:, 2 * index : 2 * index + SIZE[0]] + noise, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(gray, format="gray")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def rewrite(clip: Path | ClockedSource, folder: Path, size: SizeLimit = "like-source") -> Path:
    """Write all frames without any mask."""
    source = str(clip) if isinstance(clip, Path) else clip
    encoding = encoding_of(source)
    width, height = encoding.orientation.displayed_size(encoding.width, encoding.height)
    faces = Faces("", None, 0.7, width, height, str(encoding.time_base), 0, 0, (), ())
    out = folder / "out.nut"
    redact_segment(Segment(source), faces, str(out), Options(size=size))
    return out


def picture_bytes(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size for packet in container.demux(video=0))


def mean_psnr(one: Path, other: Path, frames: slice = slice(None)) -> float:
    """Return the mean over the frames, of luma."""
    found = []
    for before, after in zip(read_frames(str(one)), read_frames(str(other)), strict=True):
        width, height = before.width, before.height
        difference = before.to_ndarray()[:height, :width].astype(int) - after.to_ndarray()[:height, :width]
        found.append(10 * np.log10(255**2 / max(float(np.square(difference).mean()), 1e-3)))
    return float(np.mean(found[frames]))


def test_result_of_a_low_rate_clip_is_about_as_large(low_rate: Path, tmp_path: Path) -> None:
    source = picture_bytes(low_rate)
    assert source * 8 / SECONDS > MIN_LIMIT
    unlimited = rewrite(low_rate, tmp_path, size="any")
    assert picture_bytes(unlimited) > 1.7 * source  # the clip shows what the limit is for
    limited = rewrite(low_rate, tmp_path)
    assert picture_bytes(limited) <= 1.5 * source
    assert mean_psnr(low_rate, limited) > 31


@pytest.mark.parametrize("suffix", ["mp4", "mkv", pytest.param("ts", marks=pytest.mark.slow)])
def test_hard_section_of_an_easy_clip_keeps_its_quality(suffix: str, tmp_path: Path) -> None:
    """A still slide, 12 s of a changing texture, and the slide again: its mean rate is a quarter of the hard rate."""
    path, rate = tmp_path / f"slides.{suffix}", 5
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.options = {"preset": "veryfast", "crf": "23"}
        for index in range(40 * rate):
            moving = 100 <= index < 160
            gray = np.full(SIZE[::-1], 90, np.uint8)
            if moving:
                gray += random.integers(0, 60, (90, 160), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
            frame = av.VideoFrame.from_ndarray(gray, format="gray")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    source = ClockedSource(str(path), probe(str(path), Options()).info.clock)
    limited = rewrite(source, tmp_path)
    assert picture_bytes(limited) <= 1.5 * picture_bytes(path)
    assert mean_psnr(path, limited, slice(100, 160)) > 40


@pytest.mark.parametrize("suffix", ["mp4", pytest.param("mkv", marks=pytest.mark.slow)])
def test_hard_section_of_a_low_rate_clip_keeps_its_quality(suffix: str, tmp_path: Path) -> None:
    """A still slide, and 4 s of a moving texture. The mean rate is so low that the result can be larger."""
    path, rate = tmp_path / f"slide.{suffix}", 5
    random = np.random.default_rng(0)
    texture = random.integers(0, 256, (90, 160 + 40 * rate), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.options = {"preset": "veryfast", "crf": "26"}
        for index in range(40 * rate):
            gray = np.full(SIZE[::-1], 90, np.uint8)
            if 100 <= index < 120:
                gray = np.ascontiguousarray(texture[:, 2 * index : 2 * index + SIZE[0]])
            frame = av.VideoFrame.from_ndarray(gray, format="gray")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    source = ClockedSource(str(path), probe(str(path), Options()).info.clock)
    limited = rewrite(source, tmp_path)
    assert picture_bytes(path) * 8 / 40 < MIN_LIMIT / 4
    assert picture_bytes(limited) * 8 / 40 < MIN_LIMIT
    assert mean_psnr(path, limited, slice(100, 120)) > 45


def test_lossless_result_has_no_limit(low_rate: Path) -> None:
    encoding = encoding_of(str(low_rate))
    assert "maxrate" in encoding.options(18)
    assert "maxrate" not in encoding.options(0)
    assert "maxrate" not in replace(encoding, limit=None).options(18)


def test_all_encoders_accept_the_limit(low_rate: Path) -> None:
    for codec, pixel_format in (
        ("libx264", "yuv420p"),
        ("libx264", "yuv420p10le"),
        ("libx265", "yuv420p10le"),
    ):
        limited: Encoding = replace(encoding_of(str(low_rate)), codec=codec, pixel_format=pixel_format)
        assert limited.limit
        context = cast(VideoCodecContext, av.CodecContext.create(codec, "w"))
        context.width, context.height, context.pix_fmt = *SIZE, pixel_format
        context.time_base, context.options = Fraction(1, RATE), limited.options(18)
        context.open()


def test_wrong_duration_in_a_header_does_not_lower_the_limit(low_rate: Path, tmp_path: Path) -> None:
    if low_rate.suffix != ".mp4":
        pytest.skip("only the header of an MP4 is changed")
    data = bytearray(low_rate.read_bytes())
    for box, at in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        place = data.index(box) + at
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") * 10).to_bytes(4, "big")
    long = tmp_path / "long.mp4"
    long.write_bytes(data)
    limits = [encoding_of(str(path)).limit for path in (long, low_rate)]
    rates = [limit.bits_per_second for limit in limits if limit]
    assert rates == pytest.approx([rates[1]] * 2, rel=0.05)


def test_very_high_rate_has_no_limit(low_rate: Path, tmp_path: Path) -> None:
    large = tmp_path / low_rate.name
    large.write_bytes(low_rate.read_bytes())
    os.truncate(large, 5_000_000_000)  # a sparse file
    assert encoding_of(str(large)).limit is None


@pytest.mark.slow
@pytest.mark.skipif(not EVAL, reason="DEFACER_EVAL does not name the folder with real clips")
@pytest.mark.parametrize("clip", ["c01", "c04", "c05", "c08", "c11"])
def test_result_of_a_real_clip_is_about_as_large(clip: str, tmp_path: Path) -> None:
    source = Path(str(EVAL), "clips", f"{clip}.mp4")
    limited = rewrite(source, tmp_path)
    assert picture_bytes(limited) <= 1.5 * picture_bytes(source)
    assert mean_psnr(source, limited) > 43


def test_encoder_holds_few_large_frames(low_rate: Path) -> None:
    large = replace(encoding_of(str(low_rate)), width=2560, height=1440)
    encoder = cast(VideoCodecContext, av.CodecContext.create(large.codec, "w"))
    encoder.width, encoder.height, encoder.pix_fmt = large.width, large.height, large.pixel_format
    encoder.time_base, encoder.options = Fraction(1, RATE), large.options(quality=18)
    frames = [av.VideoFrame(large.width, large.height, large.pixel_format) for _ in range(8)]
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, Fraction(1, RATE)
    assert sum(len(encoder.encode(frame)) for frame in frames) > 0
