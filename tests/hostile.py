"""Hostile input: pictures and videos with false sizes, and unusual names."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"
MEBIBYTE = 1024 * 1024
ODD_NAMES = {
    "right to left": "שלום-مرحبا.mp4",
    "override": "safe\u202e4pm.exe.mp4",
    "emoji": "👩\u200d👩\u200d👧 🏳️\u200d🌈.mp4",
    "combining": "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢.mp4",
    "punctuation": "%2e%2e%2F?#[]*\"'<>|\\:;&=+$,@!~`^{}.mp4",
    "longest": "ü" * 497 + "u.mp4",  # its report's name has the maximum length in Cloud Storage
}
BAD_NAMES = {
    "up": "../../../../etc/passwd.mp4",
    "up at the end": "a/..",
    "here": "./a.mp4",
    "line break": "a\nb.mp4",
    "escape": "a\x1b[2Jb.mp4",
    "null": "a\0b.mp4",
    "too long": "ü" * 498
    + "a.mp4",  # the maximum length of an object's name, so the report's name would be too long
}


def png_bomb(side: int) -> bytes:
    """Return a black 1-bit PNG of `side` x `side` pixels. 60,000 pixels are 450 MB of bits in 450 KB.

    Blocks of zeros that end in a full flush can be repeated, and the checksum of zeros (Adler-32) is known.
    """
    raw = side * (1 + (side + 7) // 8)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeeze.compress(bytes(MEBIBYTE)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = end.compress(bytes(raw % MEBIBYTE)) + end.flush()
    checksum = (raw % 65521) << 16 | 1
    stream = b"\x78\xda" + block * (raw // MEBIBYTE) + rest + struct.pack(">I", checksum)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_texts(texts: int) -> bytes:
    """Return a black PNG of 64 x 64 pixels with texts of 8 MB each, which take 8 KB compressed."""
    small = png_bomb(64)
    text = _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(7_900_000), 9))
    return small[:33] + text * texts + small[33:]


def png_of_chunks(chunks: int) -> bytes:
    """Return a black PNG of 64 x 64 pixels with this number of empty chunks of an unknown type."""
    small = png_bomb(64)
    return small[:33] + _chunk(b"abCd", b"") * chunks + small[33:]


def progressive_jpeg(side: int, scans: int) -> bytes:
    """Return a gray progressive JPEG of `side` x `side` pixels whose decoder visits every block once per scan.

    After the scan of averages, each scan contains only the longest runs of "end of block", so that nothing changes: 45
    bytes for 765,000 blocks (ITU-T T.81, G.1.2.2).
    """
    blocks = ((side + 7) // 8) ** 2
    runs, rest = divmod(blocks, 2**15 - 1)
    codes = ("0" + "1" * 14) * runs + (
        "0" * 15 if rest else ""
    )  # the last run can be longer than the picture
    frame = struct.pack(">BHHBBBB", 8, side, side, 1, 1, 0x11, 0)
    tables = _segment(0xDB, bytes([0] + [1] * 64)) + _segment(0xC2, frame)
    for kind, symbol in ((0x00, 0x00), (0x10, 0xE0)):
        tables += _segment(0xC4, bytes([kind, 1, *[0] * 15, symbol]))
    averages = _segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(blocks // 8 + 1)
    changes = _segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10])) + _bits(codes)
    return b"\xff\xd8" + tables + averages + changes * (scans - 1) + b"\xff\xd9"


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _bits(bits: str) -> bytes:
    """Return a scan's data, padded with ones and with a zero after each byte of ones."""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def jpeg_that_claims(picture: bytes, width: int, height: int) -> bytes:
    """Return a JPEG with another size in its frame header."""
    at = picture.index(b"\xff\xc0") + 5
    return picture[:at] + struct.pack(">HH", height, width) + picture[at + 4 :]


def webp_that_claims(picture: bytes, width: int, height: int) -> bytes:
    """Return a WebP whose extended header (VP8X) states another size than its image."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + picture[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_of_chunks(chunks: int) -> bytes:
    """Return a WebP of 64 x 64 pixels with this number of empty chunks of an unknown type, and no image."""
    body = webp_that_claims(bytes(12), 64, 64)[8:] + (b"abCd" + bytes(4)) * chunks
    return b"RIFF" + struct.pack("<I", len(body)) + body


def mp4_that_claims_frames(clip: Path, count: int) -> bytes:
    """Return a clip whose index claims `count` frames of one byte each, in one chunk."""
    data = bytearray(clip.read_bytes())
    sizes, chunks, times = (data.index(kind) + 8 for kind in (b"stsz", b"stsc", b"stts"))
    struct.pack_into(">II", data, sizes, 1, count)
    struct.pack_into(">III", data, chunks + 4, 1, count, 1)
    struct.pack_into(">II", data, times + 4, count, 512)
    return bytes(data)


def uncompressed_avi(path: Path, size: tuple[int, int] = (64, 48), frames: int = 5) -> bytes:
    """Return a video without a codec, so that only its header states its size and number of frames."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("rawvideo", rate=25)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(
                np.full((size[1], size[0], 3), index, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
    return path.read_bytes()


def avi_that_claims_size(avi: bytes, width: int, height: int) -> bytes:
    """Return the AVI with another size in its stream format (BITMAPINFOHEADER)."""
    at = avi.index(b"strf") + 12
    return avi[:at] + struct.pack("<II", width, height) + avi[at + 8 :]


def avi_that_claims_frames(avi: bytes, count: int) -> bytes:
    """Return the AVI with another number of frames in the headers of the file and the stream."""
    file, stream = avi.index(b"avih") + 8 + 16, avi.index(b"strh") + 8 + 32
    number = struct.pack("<I", count)
    return avi[:file] + number + avi[file + 4 : stream] + number + avi[stream + 4 :]


def tiff_that_claims(side: int) -> bytes:
    """Return a TIFF without pixels that states `side` x `side` pixels."""
    entries = [(tag, 4, 1, value) for tag, value in ((256, side), (257, side), (273, 8), (279, 0))]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)
