"""The one engine of a process, for ingest, the console and the live page."""

from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from defacer.engine.errors import EngineError, WeightsError
from defacer.engine.media.still_image import require_decodable
from defacer.engine.recognition.gallery import Gallery, Picture
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects

if TYPE_CHECKING:
    from defacer.engine.engine import Engine


# The engine's models serve one caller at a time, and ingest's requests run in threads. Pictures are decoded outside of
# it: a picture that is slow to decode must not stop other channels.
ALONE = Lock()


@cache
def engine() -> "Engine":
    """This process's engine, models loaded: made for the first job that has targets, not before."""
    from defacer.engine.engine import Engine

    return Engine()


def load(pictures: Sequence[TargetPicture]) -> list[Picture]:
    """These pictures, read from where they lie."""
    return [Picture(picture.person, picture.label, objects.read(picture.ref)) for picture in pictures]


def gallery_of(pictures: Sequence[Picture], recognizer: str) -> Gallery:
    """The gallery of these pictures. Raises PermanentError that names the picture that can't be used."""
    try:
        for picture in pictures:
            require_decodable(picture.data, picture.label, settings().max_picture_pixels)
        with ALONE:
            chosen = engine()
        return chosen.gallery(pictures, recognizer, ALONE)
    except WeightsError as error:
        raise RetryableError(str(error)) from error
    except EngineError as error:
        raise PermanentError(error.code, str(error)) from error
