"""The formats of pictures that De-facer accepts, by file name and by content. Standard library only."""

NAMES = "JPEG, PNG, WebP, HEIC, AVIF or TIFF"
SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff"})
SUFFIX_OF = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/heic": ".heic",
    "image/avif": ".avif",
    "image/tiff": ".tif",
}
HEAD_BYTES = 12  # of a file: they show its format
JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# Little and big endian; the last two are BigTIFF.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# HEIC and AVIF files name their kind after "ftyp" (ISO/IEC 23008-12, B.4). "mif1" can be either of them.
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")


def content_type_of(head: bytes) -> str | None:
    """Return the media type of a picture that begins with these 12 bytes or more; None for any other file."""
    if head.startswith(JPEG):
        return "image/jpeg"
    if head.startswith(PNG):
        return "image/png"
    if head.startswith(TIFF):
        return "image/tiff"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"avif", b"avis"):
            return "image/avif"
        if head[8:12] in HEIC_BRANDS:
            return "image/heic"
    return None
