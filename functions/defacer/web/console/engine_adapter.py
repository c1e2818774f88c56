"""Where the console meets the engine: is this picture fit for a target, how would this frame look."""

from dataclasses import dataclass

from defacer import engine_host
from defacer.engine.errors import PictureError, VideoError
from defacer.engine.media.image_decoder import MAX_PROCESSES
from defacer.engine.media.still_image import decode_picture
from defacer.engine.models.arrays import Detector
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import only_face, picture_warnings
from defacer.engine.rendering.preview import Preview, preview
from defacer.engine.tracking.face_report import ADVICE
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.web.common.rate_limit import EngineQueue

ROOM = EngineQueue(at_once=MAX_PROCESSES)
THIS = "This picture"
DOUBTS = {
    "blurred-picture": "but not sharp",
    "small-picture": "which is small",
    "turned-picture": "turned away from the camera",
}


@dataclass(frozen=True)
class Answer:
    """Whether a picture can be used, and the sentence that says so. `doubtful`: it can, but a better one should be."""

    good: bool
    sentence: str
    doubtful: bool = False


def look_at(data: bytes) -> Answer:
    """What ingest will say of this picture of a target, and whether it is sharp."""
    try:
        image = decode_picture(data, THIS, max_pixels=settings().max_picture_pixels)
        with engine_host.ALONE:
            face = only_face(image, THIS, _detector)
    except PictureError as error:
        return Answer(False, str(error))
    side = int(face.box[3] - face.box[1])
    for warning in picture_warnings(image, face, THIS):
        return Answer(
            True,
            f"One face, {side} pixels high, {DOUBTS[warning.code]}. {ADVICE[warning.code]}",
            doubtful=True,
        )
    return Answer(True, f"One clear face, {side} pixels high.")


def _detector(name: str) -> Detector:
    return engine_host.engine().detector(name)


def preview_of(source: ObjectRef, share: float, policy: Policy, replacement: bytes | None) -> Preview:
    """A frame of this video, its faces hidden as the policy says. Raises PermanentError with a sentence."""
    options = Options(**policy.for_engine())
    with open_ranged(source) as file:
        try:
            return preview(file, share, options, _detector, engine_host.ALONE, replacement)
        except (VideoError, PictureError) as error:
            raise PermanentError(error.code, f"No preview: {error}") from error
