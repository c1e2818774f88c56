"""Where the console meets the engine: is this picture fit for a target, how would this frame look."""

from dataclasses import dataclass

import cv2
import numpy as np

from functions.engine.detect import Detector
from functions.engine.errors import PictureError, VideoError
from functions.engine.gallery import only_face
from functions.engine.options import Options
from functions.engine.picture import decode_picture
from functions.engine.picture_decoder import MAX_PROCESSES
from functions.engine.preview import Preview, preview
from functions.ingest import gallery
from functions.pages.limits import EngineRoom
from functions.pipeline.contracts import ObjectRef, Policy
from functions.pipeline.errors import PermanentError
from functions.pipeline.ranged import open_ranged
from functions.pipeline.settings import settings

ROOM = EngineRoom(at_once=MAX_PROCESSES)
THIS = "This picture"
FACE_SIDE = 112  # pixels: the size at which sharpness is measured
# Variance of the Laplacian. Of ten good pictures of targets the least has 12; blurred over a fortieth of the face's
# height they have 2 to 13.
BLURRED = 10.0


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
        with gallery.ALONE:
            box = only_face(image, THIS, _detector)
    except PictureError as error:
        return Answer(False, str(error))
    height, width = image.shape[:2]
    x1, y1 = max(0, int(box[0])), max(0, int(box[1]))
    face = image[y1 : min(height, int(box[3])), x1 : min(width, int(box[2]))]
    side = int(box[3] - box[1])
    if _sharpness(face) < BLURRED:
        return Answer(
            True,
            f"One face, {side} pixels high, but not sharp. A sharper picture is recognised more surely.",
            True,
        )
    return Answer(True, f"One clear face, {side} pixels high.")


def _detector(name: str) -> Detector:
    return gallery.engine().detector(name)


def _sharpness(face: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> float:
    gray = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    how = cv2.INTER_AREA if gray.shape[0] > FACE_SIDE else cv2.INTER_LINEAR
    return float(cv2.Laplacian(cv2.resize(gray, (FACE_SIDE, FACE_SIDE), interpolation=how), cv2.CV_64F).var())


def preview_of(source: ObjectRef, share: float, policy: Policy, replacement: bytes | None) -> Preview:
    """A frame of this video, its faces hidden as the policy says. Raises PermanentError with a sentence."""
    options = Options(**policy.for_engine())
    with open_ranged(source) as file:
        try:
            return preview(file, share, options, _detector, gallery.ALONE, replacement)
        except (VideoError, PictureError) as error:
            raise PermanentError(error.code, f"No preview: {error}") from error
