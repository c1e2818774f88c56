"""Check and decode pictures: JPEG, PNG, WebP, HEIC, AVIF and TIFF.

A few kilobytes can claim any size, or cost minutes to decode. So the size and the number of scans are read from the
bytes first, and then the picture is decoded in a process that ends after MAX_DECODE_SECONDS.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from defacer.engine.errors import PictureError
from defacer.engine.media.pictures import image_decoder
from defacer.engine.media.pictures.heif import HEIF_TYPES, read_heif
from defacer.engine.media.pictures.heif_tables import HeifError
from defacer.engine.media.pictures.tiff import read_tiff_size
from defacer.picture_formats import JPEG, NAMES, PNG, content_type_of

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Image

MAX_PIXELS = 100_000_000  # 0.3 GB decoded
MAX_SCANS = 100  # of a JPEG; encoders write about 10, optimizers up to 64
MAX_SCANNED_PIXELS = 2_000_000_000  # scans times pixels: the cost of a progressive JPEG, up to 10 s
MAX_PARTS = 100_000  # segments of a JPEG, chunks of a PNG or WebP
MAX_DECODE_SECONDS = 10.0  # of CPU time; 50 megapixels take 2 s
SAVE_AGAIN = "Save it again as a baseline JPEG or as a PNG."
# A JPEG's markers (ITU-T T.81, table B.1). Stuffed zeros, restart markers and fill bytes belong to a scan's data.
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
STANDALONE = {0x01, 0xD8}  # markers without a segment
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
END, SCAN = 0xD9, 0xDA
# The chunks of a PNG's picture. Texts and color profiles are not decoded, because each can unpack to 8 MB.
PICTURE_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"}


@dataclass(frozen=True)
class PictureHeader:
    """A picture's size in pixels, the number of its scans, and the number of its segments or chunks."""

    width: int
    height: int
    scans: int
    parts: int


def require_decodable(
    data: bytes, label: str, max_pixels: int = MAX_PIXELS, max_scanned_pixels: int = MAX_SCANNED_PIXELS
) -> None:
    """Raise PictureError with the label unless it is a picture within the limits. The picture is not decoded."""
    header = _read_header(data, label)
    if header is None or not header.width or not header.height:
        raise _unreadable(label)
    size = f"{header.width}x{header.height}"
    pixels = header.width * header.height
    if pixels > max_pixels:
        raise PictureError(
            f"{label} has {size} pixels, at most {max_pixels} are allowed. Use a smaller picture."
        )
    if header.parts > MAX_PARTS:
        raise PictureError(
            f"{label} has more than {MAX_PARTS} segments or chunks, at most {MAX_PARTS} are allowed. {SAVE_AGAIN}"
        )
    if header.scans > MAX_SCANS:
        raise PictureError(f"{label} has {header.scans} scans, at most {MAX_SCANS} are allowed. {SAVE_AGAIN}")
    if header.scans > 1 and header.scans * pixels > max_scanned_pixels:
        allowed = max_scanned_pixels // pixels
        raise PictureError(
            f"{label} has {header.scans} scans of {size} pixels, at most {allowed} of this size are allowed. "
            f"{SAVE_AGAIN}"
        )


def decode_picture(data: bytes, label: str, alpha: bool = False, max_pixels: int = MAX_PIXELS) -> "Image":
    """Return a picture as RGB uint8 (H, W, 3), or RGBA (H, W, 4). Raises PictureError with the label."""
    require_decodable(data, label, max_pixels)
    try:
        image = image_decoder.decode(_strip_extra_chunks(data), alpha, MAX_DECODE_SECONDS)
    except image_decoder.DecoderStoppedError as error:
        if error.is_timeout:
            found = f"takes more than {MAX_DECODE_SECONDS:g} s to decode, which is the limit"
        else:
            found = f"can't be decoded: {error}"
        raise PictureError(f"{label} {found}. {SAVE_AGAIN}") from error
    if image is None:
        raise _unreadable(label)
    return image


def _unreadable(label: str) -> PictureError:
    return PictureError(f"{label} is not a picture that can be read. Use a {NAMES} file.")


def _read_header(data: bytes, label: str) -> PictureHeader | None:
    """Return None for a file of another format."""
    kind = content_type_of(data)
    if kind in HEIF_TYPES:
        return _heif_header(data, label)
    readers = {
        "image/png": _png_header,
        "image/jpeg": _jpeg_header,
        "image/webp": _webp_header,
        "image/tiff": _tiff_header,
    }
    return readers[kind](data) if kind else None


def _heif_header(data: bytes, label: str) -> PictureHeader:
    """Return the size of the picture, or of one of its parts if that is larger."""
    try:
        picture = read_heif(data)
    except HeifError as error:
        raise PictureError(f"{label} can't be read as HEIC or AVIF: {error}. {SAVE_AGAIN}") from error
    sizes = [size for part in (picture.color, picture.alpha) if part for size in part.sizes]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return PictureHeader(width, height, scans=1, parts=len(picture.color.tiles))


def _tiff_header(data: bytes) -> PictureHeader | None:
    """Return the size of the first picture, or of one of its tiles if that is larger."""
    size = read_tiff_size(data)
    if size is None:
        return None
    width, height = max(size.width, size.tile_width), max(size.height, size.tile_height)
    return PictureHeader(width, height, scans=1, parts=size.entries)


def _webp_header(data: bytes) -> PictureHeader | None:
    """Read the first chunk, which has the size of the picture (RFC 9649), and count the chunks."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        return None
    parts, start = 0, 12
    while start + 8 <= len(data) and parts <= MAX_PARTS:
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        parts, start = parts + 1, start + 8 + size + size % 2
    return PictureHeader(width, height, scans=1, parts=parts)


def _png_header(data: bytes) -> PictureHeader | None:
    """Read the chunk IHDR, which must be the first and only one (https://www.w3.org/TR/png-3/#11IHDR).

    No chunk may claim to be longer than the file: OpenCV allocates the claimed length.
    """
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    parts, end = 0, 0
    for kind, start, end in _chunks(data):
        parts += 1
        if (kind == b"IHDR" and start > len(PNG)) or end > len(data):
            return None
        if parts > MAX_PARTS:
            break
    return PictureHeader(
        int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), scans=1, parts=parts
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each chunk of a PNG, where it starts, and where it says that it ends.

    IEND is the last one. Bytes behind it are ignored: editors leave the end of a longer file there.
    """
    start, kind = len(PNG), b""
    while start + 8 <= len(data) and kind != b"IEND":
        kind, end = data[start + 4 : start + 8], start + 12 + int.from_bytes(data[start : start + 4], "big")
        yield kind, start, end
        start = end


def _jpeg_header(data: bytes) -> PictureHeader | None:
    """Read the first frame header (ITU-T T.81, B.2.2), and count the scans up to the end of the picture."""
    width = height = scans = parts = 0
    position = len(JPEG)
    while parts <= MAX_PARTS and (found := MARKER.search(data, position)):
        marker, position = data[found.end() - 1], found.end()
        parts += 1
        if marker == END:
            break
        if marker in STANDALONE:
            continue
        if marker in FRAMES and not width and position + 7 <= len(data):
            height = int.from_bytes(data[position + 3 : position + 5], "big")
            width = int.from_bytes(data[position + 5 : position + 7], "big")
        scans += marker == SCAN
        position += max(int.from_bytes(data[position : position + 2], "big"), 2)
    return PictureHeader(width, height, scans, parts)


def _strip_extra_chunks(data: bytes) -> bytes:
    """Return the picture without the chunks that only cost decoding time."""
    if not data.startswith(PNG):
        return data
    return PNG + b"".join(data[start:end] for kind, start, end in _chunks(data) if kind in PICTURE_CHUNKS)
