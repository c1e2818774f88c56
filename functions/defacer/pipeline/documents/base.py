"""The messages and documents that pass between functions: versioned, checked on the way in.

Each carries `version`. A reader takes its own version, and older ones that only lack fields which have a default. An
older function that meets a newer message answers with an error, so Pub/Sub keeps it until the newer function is there.
"""

import codecs
from array import array
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
)
from pydantic_core import from_json

from defacer.pipeline.errors import RetryableError

JobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]
SubsegmentPath = Annotated[str, StringConstraints(pattern=r"^[01]*$", max_length=8)]


def _as_times(value: object) -> "array[int]":
    """Return an array with 8 bytes for each time, because a merge holds the times of a whole video."""
    if not isinstance(value, list | tuple | array):
        raise ValueError("not a list of presentation times")
    try:
        return array("q", value)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"not a list of presentation times: {error}") from error


if TYPE_CHECKING:
    Times = array[int]
else:  # Python 3.11 does not know array[int] when it runs
    Times = Annotated[array, PlainValidator(_as_times), PlainSerializer(list)]


class Document(BaseModel):
    """A frozen document that refuses unknown fields, so a misspelt field is an error and not a silent default.

    No number is NaN or infinite, because JSON has neither.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnyDocument = TypeVar("AnyDocument", bound=Document)


class ObjectRef(Document):
    """One version of one object. Every read returns the same bytes, or fails."""

    bucket: str = Field(min_length=1, max_length=222)
    """The bucket."""
    name: str = Field(min_length=1, max_length=1024)
    """The name in the bucket."""
    generation: int = Field(ge=0, lt=2**63)
    """The version. Cloud Storage assigns a higher number to each new version of an object."""

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.name}#{self.generation}"


class EncodingError(ValueError):
    """Text is not encoded in UTF-8."""


def normalize_utf8(data: bytes) -> bytes:
    """Return JSON without the byte-order mark that some editors write. Raise EncodingError for UTF-16 and UTF-32."""
    # JSON begins with two ASCII characters, so a zero byte among the first two is half of a wider character.
    if b"\0" in data[:2] or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise EncodingError("it is encoded in UTF-16 or UTF-32, UTF-8 is expected")
    return data.removeprefix(codecs.BOM_UTF8)


def parse_document(model: type[AnyDocument], data: bytes) -> AnyDocument:
    """Parse JSON into a document.

    Raises RetryableError if its version is newer than this function's: the message waits for the newer function.
    Raises ValueError (pydantic's) if it is not a valid document.
    """
    data = normalize_utf8(data)
    try:
        # Python's json raises RecursionError for deep nesting.
        document = from_json(data)
    except ValueError:
        document = None
    version = document.get("version") if isinstance(document, dict) else None
    known = model.model_fields.get("version")
    if known is not None and isinstance(version, int) and version > known.default:
        raise RetryableError(
            f"{model.__name__} has version {version}, this function supports up to {known.default}: deploy the newer "
            "version of De-facer"
        )
    return model.model_validate_json(data)
