"""A picture's size is known before it is decoded, and what claims too much is not decoded at all."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from functions.engine.errors import PictureError
from functions.engine.picture import decode_picture, require_size
from tests.clips import astronaut, encode_picture
from tests.hostile import PNG, jpeg_that_claims, png_bomb
from tests.servers import ROOT

HUGE = 60_000
LITTLE = 64 * 1024  # KiB


def claiming(kind: str) -> bytes:
    if kind == "png":
        return png_bomb(HUGE)
    return jpeg_that_claims(encode_picture(astronaut(), ".jpg"), HUGE, HUGE)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_picture_that_claims_too_much_is_refused_by_its_size_without_being_decoded(
    kind: str, alpha: bool, tmp_path: Path
) -> None:
    """In a process of its own, whose memory tells."""
    file = tmp_path / "picture"
    file.write_bytes(claiming(kind))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from functions.engine.errors import PictureError; from functions.engine.picture import decode_picture\n"
        "data = Path(sys.argv[1]).read_bytes()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        f"try: decode_picture(data, 'me', alpha={alpha})\n"
        "except PictureError as error: print(peak() - before, error)\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    grown, said = done.stdout.split(" ", 1)
    assert said.startswith("me has 60000x60000 pixels, at most 100000000 are allowed.")
    assert int(grown) < LITTLE


def test_the_bomb_is_a_picture_that_decodes() -> None:
    image = cv2.imdecode(np.frombuffer(png_bomb(2_000), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (2_000, 2_000, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (30, 20)])
def test_a_picture_of_any_allowed_size_is_decoded(suffix: str, size: tuple[int, int]) -> None:
    width, height = size
    data = encode_picture(np.zeros((height, width, 3), np.uint8), suffix)
    require_size(data, "me", width * height)
    assert decode_picture(data, "me", alpha=True).shape == (height, width, 4)
    with pytest.raises(PictureError, match=f"me has {width}x{height} pixels, at most"):
        require_size(data, "me", width * height - 1)


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".tiff", ".gif"])
def test_other_kinds_of_pictures_are_refused(suffix: str) -> None:
    with pytest.raises(PictureError, match="Use a JPEG or PNG file"):
        decode_picture(encode_picture(astronaut(), suffix), "me")


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
    ],
    ids=lambda data: repr(data[:12]),
)
def test_a_header_that_breaks_off_or_gives_no_size_is_no_picture(data: bytes) -> None:
    with pytest.raises(PictureError, match="not a picture that can be read"):
        decode_picture(data, "me")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_picture_that_breaks_off_is_decoded_or_refused(suffix: str) -> None:
    whole = encode_picture(astronaut(), suffix)
    fates = set()
    for length in range(0, len(whole), len(whole) // 40):
        try:
            fates.add(decode_picture(whole[:length], "me").shape)
        except PictureError as error:
            fates.add(str(error))
    assert fates <= {astronaut().shape, "me is not a picture that can be read. Use a JPEG or PNG file."}


def test_a_16_bit_picture_is_scaled_to_8_bits() -> None:
    deep = np.array([[0, 257, 256, 65_535]], np.uint16)
    done, data = cv2.imencode(".png", cv2.cvtColor(deep, cv2.COLOR_GRAY2BGR))
    assert done
    assert decode_picture(data.tobytes(), "me", alpha=True)[0, :, 0].tolist() == [0, 1, 0, 255]
