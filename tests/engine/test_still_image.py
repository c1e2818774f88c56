"""Test that the cost of a picture is limited before it is decoded, and that a slow decode is stopped."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Timer, current_thread

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from defacer.engine.errors import PictureError
from defacer.engine.media.pictures import image_decoder, still_image
from defacer.engine.media.pictures.still_image import decode_picture, require_decodable
from tests.clips import astronaut, encode_picture
from tests.heif import heic_that_claims
from tests.hostile import (
    PNG,
    jpeg_that_claims,
    png_bomb,
    png_of_chunks,
    png_of_texts,
    progressive_jpeg,
    tiff_that_claims,
    webp_of_chunks,
    webp_that_claims,
)
from tests.servers import ROOT, wait_until

HUGE = 60_000
UNREADABLE = "me is not a picture that can be read. Use a JPEG, PNG, WebP, HEIC, AVIF or TIFF file."
MAX_GROWTH = 64 * 1024  # KiB


def picture_that_claims(kind: str) -> bytes:
    if kind == "png":
        return png_bomb(HUGE)
    if kind in ("heic", "avif"):
        return heic_that_claims(HUGE, kind)
    if kind == "webp":
        return webp_that_claims(encode_picture(astronaut(), ".webp"), HUGE, HUGE)
    if kind == "tiff":
        return tiff_that_claims(HUGE)
    return jpeg_that_claims(encode_picture(astronaut(), ".jpg"), HUGE, HUGE)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "heic", "avif", "tiff"])
def test_picture_that_claims_too_much_is_refused_before_decoding(
    kind: str, alpha: bool, tmp_path: Path
) -> None:
    """The memory of a separate process shows that nothing was decoded."""
    file = tmp_path / "picture"
    file.write_bytes(picture_that_claims(kind))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from defacer.engine.errors import PictureError\n"
        "from defacer.engine.media.pictures.still_image import decode_picture\n"
        "data = Path(sys.argv[1]).read_bytes()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        f"try: decode_picture(data, 'me', alpha={alpha})\n"
        "except PictureError as error: print(peak() - before, error)\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    growth, message = done.stdout.split(" ", 1)
    assert message.startswith("me has 60000x60000 pixels, at most 100000000 are allowed.")
    assert int(growth) < MAX_GROWTH


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tiff"])
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (30, 20)])
def test_picture_of_any_allowed_size_is_decoded(suffix: str, size: tuple[int, int]) -> None:
    width, height = size
    data = encode_picture(np.zeros((height, width, 3), np.uint8), suffix)
    require_decodable(data, "me", width * height)
    assert decode_picture(data, "me", alpha=True).shape == (height, width, 4)
    with pytest.raises(PictureError, match=f"me has {width}x{height} pixels, at most"):
        require_decodable(data, "me", width * height - 1)


@pytest.mark.parametrize("suffix", [".bmp", ".gif"])
def test_other_picture_formats_are_refused(suffix: str) -> None:
    with pytest.raises(PictureError, match="Use a JPEG, PNG, WebP, HEIC, AVIF or TIFF file"):
        decode_picture(encode_picture(astronaut(), suffix), "me")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}])
def test_tiff_is_decoded_upright(orientation: int, options: dict[str, object]) -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    Image.fromarray(np.rot90(astronaut(), turns)).save(file, "TIFF", exif=exif, **options)
    assert np.array_equal(decode_picture(file.getvalue(), "me"), astronaut())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PNG,
        PNG + b"\0\0\0\x0dIHDR",
        PNG + b"\0\0\0\x0dIHDR" + bytes(8),
        PNG + b"\0\0\0\x0dIHDR\xff\xff\xff\xff\0\0\0\0",
        b"\xff\xd8",
        b"\xff\xd8\xff\xc0\0\x11\x08",
        b"\xff\xd8" + b"\xff" * 100_000,
        b"\xff\xd8" + b"\xff\xe0\0\0" * 100_000,
        b"\xff\xd8" + b"\xff\xd0" * 100_000,
        b"\xff\xd8\xff\xc0\0\x11\x08\0\0\0\x10" + bytes(99),
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0" + bytes(10),
        b"RIFF\0\0\0\0WEBPJUNK\0\0\0\0" + bytes(10),
        b"II*\0",
        b"II*\0\x08\0\0\0\xff\xff",
        b"MM\0+\0\x08\0\0" + b"\xff" * 20,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_truncated_header_or_missing_size_is_refused(data: bytes) -> None:
    with pytest.raises(PictureError, match="not a picture that can be read"):
        decode_picture(data, "me")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_truncated_picture_is_decoded_or_refused(suffix: str) -> None:
    whole = encode_picture(astronaut(), suffix)
    outcomes: set[object] = set()
    for length in range(0, len(whole), len(whole) // 40):
        try:
            outcomes.add(decode_picture(whole[:length], "me").shape)
        except PictureError as error:
            outcomes.add(str(error))
    assert outcomes <= {astronaut().shape, UNREADABLE}


@pytest.mark.parametrize("alpha", [False, True])
def test_bytes_after_the_end_of_a_png_are_ignored(alpha: bool) -> None:
    """An editor that shortens a file in place leaves the end of the longer file."""
    whole = encode_picture(astronaut(), ".png")
    image = decode_picture(whole + whole[len(whole) // 2 :] + whole, "me", alpha)
    assert (image == decode_picture(whole, "me", alpha)).all()


def test_16_bit_picture_is_scaled_to_8_bits() -> None:
    deep = np.array([[0, 257, 256, 65_535]], np.uint16)
    done, data = cv2.imencode(".png", cv2.cvtColor(deep, cv2.COLOR_GRAY2BGR))
    assert done
    assert decode_picture(data.tobytes(), "me", alpha=True)[0, :, 0].tolist() == [0, 1, 0, 255]


def test_jpeg_of_10000_scans_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_decoder, "decode", None)
    data = progressive_jpeg(7_000, 10_000)
    assert len(data) < 1_000_000
    with pytest.raises(PictureError) as refused:
        decode_picture(data, "me")
    assert str(refused.value) == (
        "me has 10000 scans, at most 100 are allowed. Save it again as a baseline JPEG or as a PNG."
    )


@pytest.mark.parametrize(("side", "scans", "allowed"), [(7_000, 40, 40), (7_000, 41, 40), (10_000, 12, 20)])
def test_scans_times_pixels_are_limited(side: int, scans: int, allowed: int) -> None:
    data = progressive_jpeg(side, scans)
    if scans <= allowed:
        require_decodable(data, "me")
        return
    with pytest.raises(PictureError, match=f"{scans} scans of {side}x{side} pixels, at most {allowed} of"):
        require_decodable(data, "me")


def test_ordinary_progressive_jpeg_is_decoded() -> None:
    image = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert done
    assert b"\xff\xc2" in data.tobytes()
    assert decode_picture(data.tobytes(), "me").shape == astronaut().shape
    assert decode_picture(progressive_jpeg(64, 100), "me").shape == (64, 64, 3)


def test_scans_of_a_preview_inside_a_jpeg_are_not_counted() -> None:
    data = encode_picture(astronaut(), ".jpg")
    preview = b"\xff\xe1" + (20_002).to_bytes(2, "big") + b"\xff\xda" * 10_000
    require_decodable(data[:2] + preview * 3 + data[2:] + b"\xff\xda" * 10_000, "me")


@pytest.mark.parametrize("kind", [".jpg", ".webp"])
def test_exif_orientation_is_applied(kind: str) -> None:
    """A phone stores an upright portrait lying on its side, with its orientation."""
    lying = np.ascontiguousarray(np.rot90(astronaut()))
    stored = io.BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turn it clockwise to show it
    Image.fromarray(lying).save(stored, {".jpg": "JPEG", ".webp": "WEBP"}[kind], quality=95, exif=exif)
    found = decode_picture(stored.getvalue(), "me")
    assert np.abs(found.astype(int) - astronaut()).mean() < 6


@pytest.mark.parametrize("lossless", [False, True])
def test_transparency_of_a_webp_is_read(lossless: bool) -> None:
    shown = np.dstack([astronaut(), np.full(astronaut().shape[:2], 128, np.uint8)])
    stored = io.BytesIO()
    Image.fromarray(shown).save(stored, "WEBP", lossless=lossless)
    assert (decode_picture(stored.getvalue(), "me", alpha=True)[..., 3] == 128).all()


@pytest.mark.parametrize(
    "make", [png_of_chunks, webp_of_chunks, lambda parts: b"\xff\xd8" + b"\xff\xfe\0\2" * parts]
)
def test_picture_of_a_million_parts_is_refused(make: Callable[[int], bytes]) -> None:
    data = make(1_000_000) + encode_picture(astronaut(), ".jpg")[2:]
    with pytest.raises(PictureError, match=r"more than 100000 segments or chunks|not a picture"):
        decode_picture(data, "me")


def test_png_texts_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacking 400 of them takes 12 s of CPU time."""
    monkeypatch.setattr(still_image, "MAX_DECODE_SECONDS", 1.0)
    assert decode_picture(png_of_texts(400), "me").shape == (64, 64, 3)


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return a picture that takes minutes to decode and that no limit refuses."""
    monkeypatch.setattr(still_image, "SCAN", None)  # no marker counts as a scan
    return progressive_jpeg(5_000, 10_000)


def test_decode_that_takes_too_long_is_stopped(unlimited: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as short:
        short.setattr(still_image, "MAX_DECODE_SECONDS", 0.2)
        with pytest.raises(PictureError, match=r"^me takes more than 0.2 s to decode, .* Save it again"):
            decode_picture(unlimited, "me")
    assert decode_picture(encode_picture(astronaut()), "me").shape == astronaut().shape


def test_killed_decode_is_reported_and_stops_no_other(unlimited: bytes) -> None:
    """The slow decode ends only when this test kills its process, after the other decode."""
    with ThreadPoolExecutor() as pool, image_decoder._pool().borrow() as process:
        slow = pool.submit(process.decode, unlimited, False, 600.0)
        assert decode_picture(encode_picture(astronaut()), "me").shape == astronaut().shape
        assert not slow.done()
        os.kill(process._process.pid, signal.SIGKILL)
        error = slow.exception(60)
        assert isinstance(error, image_decoder.DecoderStoppedError)
        assert str(error) == f"the picture decoder ended with status {-signal.SIGKILL}"
        assert not error.is_timeout


def test_idle_decoders_are_closed() -> None:
    decode_picture(encode_picture(astronaut()), "me")
    idle = image_decoder._pool()._idle[-1]
    image_decoder.close_idle_decoders()
    assert not idle.is_alive
    assert decode_picture(encode_picture(astronaut()), "me").shape == astronaut().shape


def test_decoder_that_ended_between_pictures_is_replaced() -> None:
    decode_picture(encode_picture(astronaut()), "me")
    idle = image_decoder._pool()._idle[-1]._process
    idle.kill()
    wait_until(lambda: idle.poll() is not None, "the decoder had ended")
    assert decode_picture(encode_picture(astronaut()), "me").shape == astronaut().shape


def test_decoder_ends_with_its_parent(tmp_path: Path) -> None:
    file = tmp_path / "me.png"
    file.write_bytes(encode_picture(astronaut()))
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from defacer.engine.media.pictures import image_decoder, still_image\n"
        "still_image.decode_picture(Path(sys.argv[1]).read_bytes(), 'me')\n"
        "print(image_decoder._pool()._idle[0]._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    pid = int(done.stdout)

    def is_gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_until(is_gone, "the decoder had ended")


def test_decode_is_stopped_on_a_system_without_a_cpu_timer(
    unlimited: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows has none. The parent kills the process after a time."""
    monkeypatch.setattr(image_decoder, "HAS_CPU_TIMER", False)
    monkeypatch.setattr(image_decoder, "WALL_SECONDS_PER_CPU_SECOND", 1)
    with monkeypatch.context() as short:
        short.setattr(still_image, "MAX_DECODE_SECONDS", 0.2)
        with pytest.raises(PictureError, match=r"^me takes more than 0.2 s to decode, .* Save it again"):
            decode_picture(unlimited, "me")
    assert decode_picture(encode_picture(astronaut()), "me").shape == astronaut().shape


def test_timeout_is_reported_when_the_timer_is_slow_after_the_kill(
    unlimited: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timer sets `finished` after its function. The parent can read the end of the process before that."""
    waiting = Event()
    kill = subprocess.Popen.kill

    def kill_and_wait(process: subprocess.Popen[bytes]) -> None:
        kill(process)
        if isinstance(current_thread(), Timer):
            waiting.wait(10)

    monkeypatch.setattr(image_decoder, "HAS_CPU_TIMER", False)
    monkeypatch.setattr(image_decoder, "WALL_SECONDS_PER_CPU_SECOND", 1)
    monkeypatch.setattr(subprocess.Popen, "kill", kill_and_wait)
    try:
        with pytest.raises(image_decoder.DecoderStoppedError) as stopped:
            image_decoder.decode(unlimited, alpha=False, seconds=0.2)
    finally:
        waiting.set()
    assert stopped.value.is_timeout


def test_webp_larger_than_its_canvas_is_not_decoded() -> None:
    data = webp_that_claims(encode_picture(astronaut(), ".webp"), 8, 8)
    with pytest.raises(PictureError, match="not a picture that can be read"):
        decode_picture(data, "me", max_pixels=64)
