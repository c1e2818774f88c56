"""From target pictures to embeddings: where ingest's inputs meet the engine. Imports torch at first use."""

from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from functions.engine.errors import PictureError, WeightsError
from functions.engine.gallery import Picture
from functions.ingest.inputs import TargetPicture
from functions.ingest.planning import Embeddings
from functions.pipeline import store
from functions.pipeline.errors import PermanentError, RetryableError
from functions.pipeline.settings import settings

if TYPE_CHECKING:
    from functions.engine.deface import Engine

# The engine's models serve one caller at a time, and ingest's requests run in threads.
ALONE = Lock()


@cache
def engine() -> "Engine":
    """This process's engine, models loaded: made for the first job that has targets, not before."""
    from functions.engine.deface import Engine

    return Engine(settings().weights_dir)


def embed(pictures: Sequence[TargetPicture], recognizer: str) -> Embeddings:
    """The gallery of these pictures. Raises PermanentError that names the picture that can't be used."""
    loaded = [Picture(picture.person, picture.label, store.read(picture.ref)) for picture in pictures]
    try:
        with ALONE:
            gallery = engine().gallery(loaded, recognizer)
    except PictureError as error:
        raise PermanentError(error.code, str(error)) from error
    except WeightsError as error:
        raise RetryableError(str(error)) from error
    # One row for each picture: a person of whom there are several is named by each.
    return Embeddings(tuple(dict.fromkeys(gallery.people)), gallery.to_bytes())
