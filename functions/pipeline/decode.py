"""From bytes to a contract: the one place that tells a newer version from a broken document."""

from typing import TypeVar

from pydantic_core import from_json

from functions.pipeline.contracts import Contract
from functions.pipeline.errors import RetryableError

AnyContract = TypeVar("AnyContract", bound=Contract)


def decode(model: type[AnyContract], data: bytes) -> AnyContract:
    """The contract that `data` (JSON) holds.

    Raises RetryableError if it is of a newer version than this function knows: the newer function, once it
    is there, will take it. Raises ValueError (pydantic's) if it is no such document at all.
    """
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
