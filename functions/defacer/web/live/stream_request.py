"""A page's requests: for a new stream, and for access to a stream."""

from typing import Literal

from pydantic import Base64Bytes, Field

from defacer.pipeline.documents.base import Document
from defacer.web.live.url_policy import MAX_CHARACTERS

MAX_PICTURES = 20
MAX_BODY_BYTES = 24 * 1024 * 1024


class Target(Document):
    """A target picture for this stream only."""

    person: str = Field(min_length=1, max_length=100)
    data: Base64Bytes = Field(repr=False)


class StreamRequest(Document):
    """A page's request for a stream. Without an address, frames come from the page's camera.

    Fields that are null take the value of the channel's policy.
    """

    address: str | None = Field(default=None, max_length=MAX_CHARACTERS, repr=False)
    channel: str | None = Field(default=None, max_length=222, pattern=r"^[^/\x00-\x1f\x7f]+$")
    targets: list[Target] = Field(default=[], max_length=MAX_PICTURES, repr=False)
    mode: Literal["blur", "pixelate", "solid", "image"] | None = None
    replacement: Base64Bytes | None = Field(default=None, repr=False)
    delay_seconds: float | None = Field(default=None, ge=0.3, le=1)


class StreamAccess(Document):
    """The stream that a page asks for. `key` is needed to send frames and to end the stream."""

    stream: str = Field(repr=False)
    key: str = Field(default="", repr=False)
