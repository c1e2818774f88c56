"""Pictures, and a report's faces: where ingest's inputs meet the engine. Imports the models' back end at first use."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from defacer.engine.errors import EngineError, PictureError
from defacer.engine.media.still_image import decode_picture
from defacer.engine.tracking import report_edit
from defacer.engine_host import gallery_of, load
from defacer.ingest.plan_job import Embeddings
from defacer.ingest.plan_rerender import Decided
from defacer.pipeline.channel import TargetPicture
from defacer.pipeline.documents.base import Decision, ObjectRef
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects

if TYPE_CHECKING:
    pass


def embed(pictures: Sequence[TargetPicture], recognizer: str) -> Embeddings:
    """The gallery of these pictures, as a job takes it. Raises as `gallery_of` does."""
    gallery = gallery_of(load(pictures), recognizer)
    # One row for each picture: a person of whom there are several is named by each.
    return Embeddings(tuple(dict.fromkeys(gallery.people)), gallery.to_bytes())


def require_picture(ref: ObjectRef) -> None:
    """Raise PermanentError if the replacement picture can't be used."""
    data, label = objects.read(ref), object_names.owner_name(ref.name)
    try:
        decode_picture(data, label, alpha=True, max_pixels=settings().max_picture_pixels)
    except PictureError as error:
        raise PermanentError(
            "bad-replacement", f"{error} Upload the picture that shall cover faces."
        ) from error


def decide_anew(faces: bytes, decisions: Mapping[int, Decision], known: Collection[str]) -> Decided:
    """A report's faces with these tracks decided anew. Raises PermanentError for a track that is not there."""
    try:
        made = report_edit.with_decisions(faces, decisions, known)
    except EngineError as error:
        raise PermanentError("bad-decisions", str(error)) from error
    return Decided(made.document, made.people, made.strangers)
