"""Pictures, and a report's faces: where ingest's inputs meet the engine. Imports the models' back end at first use."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from defacer.engine import anew
from defacer.engine.errors import EngineError, PictureError, WeightsError
from defacer.engine.gallery import Gallery, Picture
from defacer.engine.picture import decode_picture, require_decodable
from defacer.ingest.again import Decided
from defacer.ingest.inputs import TargetPicture
from defacer.ingest.planning import Embeddings
from defacer.pipeline import layout, store
from defacer.pipeline.contracts import Decision, ObjectRef
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings

if TYPE_CHECKING:
    from defacer.engine.deface import Engine

# The engine's models serve one caller at a time, and ingest's requests run in threads. Pictures are decoded outside of
# it: a picture that is slow to decode must not stop other channels.
ALONE = Lock()


@cache
def engine() -> "Engine":
    """This process's engine, models loaded: made for the first job that has targets, not before."""
    from defacer.engine.deface import Engine

    return Engine()


def load(pictures: Sequence[TargetPicture]) -> list[Picture]:
    """These pictures, read from where they lie."""
    return [Picture(picture.person, picture.label, store.read(picture.ref)) for picture in pictures]


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


def embed(pictures: Sequence[TargetPicture], recognizer: str) -> Embeddings:
    """The gallery of these pictures, as a job takes it. Raises as `gallery_of` does."""
    gallery = gallery_of(load(pictures), recognizer)
    # One row for each picture: a person of whom there are several is named by each.
    return Embeddings(tuple(dict.fromkeys(gallery.people)), gallery.to_bytes())


def require_picture(ref: ObjectRef) -> None:
    """Raise PermanentError if the replacement picture can't be used."""
    data, label = store.read(ref), layout.owner_name(ref.name)
    try:
        decode_picture(data, label, alpha=True, max_pixels=settings().max_picture_pixels)
    except PictureError as error:
        raise PermanentError(
            "bad-replacement", f"{error} Upload the picture that shall cover faces."
        ) from error


def decide_anew(faces: bytes, decisions: Mapping[int, Decision], known: Collection[str]) -> Decided:
    """A report's faces with these tracks decided anew. Raises PermanentError for a track that is not there."""
    try:
        made = anew.decide_anew(faces, decisions, known)
    except EngineError as error:
        raise PermanentError("bad-decisions", str(error)) from error
    return Decided(made.document, made.people, made.strangers)
