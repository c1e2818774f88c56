"""The words that a message for a channel's owner must not contain: buckets, and terms of libraries."""

import re

FOREIGN = re.compile(
    r"gs://|\bjobs/[0-9a-f]{20}|\bleases/|"
    r"\b(ffmpeg|errno|traceback|(de)?mux\w*|avcodec|libx26\d|yuvj?\d+\w*|pix_?fmt|moov|pts|dts|nal)\b|"
    r"invalid data found|invalid argument|end of file|operation not permitted|input/output error|resource temporarily|"
    r"(decoder|encoder|protocol|stream|bitstream filter|option) not found|error in an external library|"
    r"not yet implemented|immediate exit",
    re.IGNORECASE,
)


def require_plain(sentence: str) -> None:
    """Assert that a message contains no such word."""
    found = FOREIGN.search(sentence)
    assert found is None, f"{found[0] if found else ''!r} in: {sentence}"
