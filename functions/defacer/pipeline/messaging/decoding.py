"""From bytes to a contract: the one place that tells a newer version from a broken document."""

import codecs
from typing import TypeVar

from pydantic_core import from_json

from defacer.pipeline.documents.base import Document
from defacer.pipeline.errors import RetryableError

AnyContract = TypeVar("AnyContract", bound=Document)


class EncodingError(ValueError):
    """Text is not encoded in UTF-8."""


def utf8_json(data: bytes) -> bytes:
    """Return JSON without the byte-order mark that some editors write. Raise EncodingError for UTF-16 and UTF-32."""
    # JSON begins with two ASCII characters, so a zero byte among the first two is half of a wider character.
    if b"\0" in data[:2] or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise EncodingError("it is encoded in UTF-16 or UTF-32, UTF-8 is expected")
    return data.removeprefix(codecs.BOM_UTF8)


def decode(model: type[AnyContract], data: bytes) -> AnyContract:
    """The contract that `data` (JSON) holds.

    Raises RetryableError if it is of a newer version than this function knows: the newer function, once it
    is there, will take it. Raises ValueError (pydantic's) if it is no such document at all.
    """
    data = utf8_json(data)
    try:
        # Not Python's json: deep nesting there is a RecursionError.
        document = from_json(data)
    except ValueError:
        document = None
    version = document.get("version") if isinstance(document, dict) else None
    known = model.model_fields.get("version")
    if known is not None and isinstance(version, int) and version > known.default:
        raise RetryableError(
            f"{model.__name__} has version {version}, this function knows up to {known.default}: deploy the newer"
        )
    return model.model_validate_json(data)
