"""Where the console meets the engine: is this picture fit for a target, how would this frame look."""

from dataclasses import dataclass

from functions.engine.errors import PictureError, VideoError
from functions.engine.faces import ADVICE
from functions.engine.gallery import only_face, picture_warnings
from functions.engine.options import Options
from functions.engine.picture import decode_picture, require_size
from functions.engine.preview import Preview, preview
from functions.ingest import gallery
from functions.pages.limits import EngineRoom
from functions.pipeline.contracts import ObjectRef, Policy
from functions.pipeline.errors import PermanentError
from functions.pipeline.ranged import open_ranged
from functions.pipeline.settings import settings

ROOM = EngineRoom()
THIS = "This picture"


@dataclass(frozen=True)
class Answer:
    """Whether a picture can be used, and the sentence that says so. `doubtful`: it can, but a better one should be."""

    good: bool
    sentence: str
    doubtful: bool = False


def look_at(data: bytes) -> Answer:
    """What ingest will say of this picture of a target, and whether it is sharp."""
    try:
        require_size(data, THIS, settings().max_picture_pixels)
        image = decode_picture(data, THIS)
        with gallery.ALONE:
            box = only_face(image, THIS, gallery.engine().detector)
    except PictureError as error:
        return Answer(False, str(error))
    side = int(box[3] - box[1])
    for warning in picture_warnings(image, box, THIS):
        what = "but not sharp" if warning.code == "blurred-picture" else "which is small"
        return Answer(True, f"One face, {side} pixels high, {what}. {ADVICE[warning.code]}", doubtful=True)
    return Answer(True, f"One clear face, {side} pixels high.")


def preview_of(source: ObjectRef, share: float, policy: Policy, replacement: bytes | None) -> Preview:
    """A frame of this video, its faces hidden as the policy says. Raises PermanentError with a sentence."""
    options = Options(**policy.for_engine())
    with open_ranged(source) as file:
        try:
            with gallery.ALONE:
                return preview(file, share, options, gallery.engine().detector, replacement)
        except (VideoError, PictureError) as error:
            raise PermanentError(error.code, f"No preview: {error}") from error
