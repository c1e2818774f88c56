"""Test that HEIC and AVIF pictures are read as cameras write them, and that hostile ones are refused."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from defacer.engine.errors import PictureError, VideoError
from defacer.engine.media.pictures import heif_tables
from defacer.engine.media.pictures.image_decoder import decode_here
from defacer.engine.media.pictures.still_image import decode_picture, require_decodable
from defacer.engine.media.reader import read_video_info
from tests.clips import Picture, astronaut, encode_picture
from tests.heif import HeifFile

KINDS = pytest.mark.parametrize("kind", ["heic", "avif"])
MAX_DIFFERENCE = 6  # mean of the color levels; the encoders are lossy
HUGE = 60_000
NO_PICTURE = "is not a picture that can be read"


def portrait() -> Picture:
    """Return a portrait whose sides differ and are odd, so that every change of its place shows."""
    return np.ascontiguousarray(astronaut()[:251, :203])


def require_same(found: Picture, wanted: Picture) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).mean() < MAX_DIFFERENCE


def crop_of(*numbers: int) -> bytes:
    """Return the body of `clap`: width, height, and how far its centre is right of and below the picture's."""
    return b"".join(struct.pack(">iI", number, 1) for number in numbers)


@KINDS
@pytest.mark.parametrize(("columns", "rows"), [(0, 0), (1, 1), (2, 2), (3, 1), (1, 3)])
def test_picture_is_decoded_from_its_tiles(kind: str, columns: int, rows: int) -> None:
    wanted = np.ascontiguousarray(portrait()[:250, :202])  # a single image has even sides
    data = HeifFile(wanted, kind, columns, rows).to_bytes()
    require_same(decode_picture(data, "me"), wanted)


def test_grid_is_cut_where_its_tiles_overhang() -> None:
    require_same(decode_picture(HeifFile(portrait(), columns=3, rows=2).to_bytes(), "me"), portrait())


@KINDS
@pytest.mark.parametrize(
    ("changes", "change"),
    [
        ([(b"irot", b"\1")], lambda image: np.rot90(image)),
        ([(b"irot", b"\3")], lambda image: np.rot90(image, 3)),
        ([(b"imir", b"\0")], lambda image: image[::-1]),
        ([(b"imir", b"\1")], lambda image: image[:, ::-1]),
        ([(b"imir", b"\1"), (b"irot", b"\1")], lambda image: np.rot90(image[:, ::-1])),
        ([(b"clap", crop_of(100, 80, 10, -20))], lambda image: image[66:146, 61:161]),
        ([(b"clap", crop_of(100, 80, 10, -20)), (b"irot", b"\2")], lambda image: image[66:146, 61:161][::-1, ::-1]),
    ],
    ids=lambda value: "-".join(kind.decode() for kind, _ in value) if isinstance(value, list) else "",
)  # fmt: skip
def test_rotation_mirroring_and_crop_apply_in_their_order(
    kind: str, changes: list[tuple[bytes, bytes]], change: Callable[[Picture], Picture]
) -> None:
    shown = np.ascontiguousarray(portrait()[:252, :202])
    data = HeifFile(shown, kind, 2, 2, changes=changes).to_bytes()
    require_same(decode_picture(data, "me"), change(np.asarray(shown)))


@KINDS
def test_transparency_is_read_where_it_is_wanted(kind: str) -> None:
    picture = np.ascontiguousarray(portrait()[:250, :202])
    opacity = np.full_like(picture, 255)
    opacity[:100] = 16
    data = HeifFile(picture, kind, alpha=opacity).to_bytes()
    found = decode_picture(data, "me", alpha=True)
    require_same(found[..., :3], picture)
    assert found[20:80, :, 3].max() < 40
    assert found[120:, :, 3].min() > 230
    assert decode_picture(data, "me").shape == picture.shape
    assert decode_picture(HeifFile(picture, kind).to_bytes(), "me", alpha=True)[..., 3].min() == 255


def test_file_of_another_encoder_is_read() -> None:
    require_same(decode_picture(encode_picture(portrait(), ".avif"), "me"), portrait())


@KINDS
@pytest.mark.parametrize("field", ["claimed", "claimed_tile"])
def test_grid_of_huge_claims_is_refused_before_decoding(
    kind: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defacer.engine.media.pictures.image_decoder.decode", None)
    sizes: dict[str, Any] = {field: (HUGE, HUGE)}
    if field == "claimed":  # tiles that cover the claim, so that only the size is wrong
        sizes["claimed_tile"] = (HUGE // 2, HUGE // 2)
    else:
        sizes["claimed"] = (HUGE + 1, HUGE + 1)
    with pytest.raises(PictureError, match=r"^me has 6000\dx6000\d pixels, at most 100000000 are allowed"):
        decode_picture(HeifFile(astronaut(), kind, 2, 2, **sizes).to_bytes(), "me")


@KINDS
def test_coded_image_larger_than_its_claim_is_not_decoded(kind: str) -> None:
    """The header promises a small picture, and the codec's own header another one."""
    data = HeifFile(astronaut(), kind, claimed=(64, 64)).to_bytes()
    require_decodable(data, "me", 64 * 64)
    assert decode_here(data, alpha=False) is None
    with pytest.raises(PictureError, match=NO_PICTURE):
        decode_picture(data, "me", max_pixels=64 * 64)


@KINDS
def test_truncated_file_is_decoded_or_refused(kind: str) -> None:
    whole = HeifFile(np.ascontiguousarray(astronaut()[:128, :128]), kind, 2, 2).to_bytes()
    for length in [*range(8, 700, 7), *range(700, len(whole), 997)]:
        with pytest.raises(
            PictureError, match=r"^me (can't be read as HEIC or AVIF: .* Save it again|is not a)"
        ):
            decode_picture(whole[:length], "me")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"pitm", b"free", "it contains no picture"),
        (b"iloc", b"free", "a table is missing or ends early"),
        (b"ispe", b"free", "a property or an item is missing"),
        (b"hvcC", b"free", "a property or an item is missing"),
        (b"dimg", b"free", "its grid has no tiles of one size, or more than 1024"),
        (b"gridx", b"iovlx", "its picture has the kind b'iovl'"),
        (b"hvc1", b"jpeg", "its picture has the kind b'jpeg'"),
    ],
)
def test_damaged_table_is_refused_with_its_reason(old: bytes, new: bytes, message: str) -> None:
    data = HeifFile(portrait(), columns=2, rows=2).to_bytes()
    if old.endswith(b"x"):
        old, new = b"\0" + old[:-1] + b"\0", b"\0" + new[:-1] + b"\0"
    assert old in data
    with pytest.raises(PictureError) as refused:
        decode_picture(data.replace(old, new), "me")
    assert str(refused.value).startswith(f"me can't be read as HEIC or AVIF: {message}. Save it again as")


def test_tables_that_are_too_large_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif_tables, "MAX_META_BYTES", 100)
    with pytest.raises(PictureError, match="its tables have more than 100 bytes"):
        decode_picture(HeifFile(portrait(), columns=2, rows=2).to_bytes(), "me")


def test_tiles_that_share_bytes_do_not_multiply_the_file() -> None:
    """Each of 64 tiles claims to be the whole file."""
    file = HeifFile(np.zeros((512, 512, 3), np.uint8), columns=8, rows=8)
    data = bytearray(file.to_bytes())
    start = data.index(b"iloc") + 12
    for entry in range(1, 65):
        struct.pack_into(">II", data, start + 14 * entry + 6, 0, len(data))
    with pytest.raises(PictureError, match="its items have more data than the file"):
        decode_picture(bytes(data), "me")


@KINDS
def test_photo_is_refused_as_a_video(kind: str, tmp_path: Any) -> None:
    """FFmpeg would show one tile of it as a video of one frame."""
    photo = tmp_path / "photo.mp4"
    photo.write_bytes(HeifFile(portrait(), kind, 2, 2).to_bytes())
    with pytest.raises(VideoError, match="it is a picture, not a video"):
        read_video_info(str(photo))
