"""The console's use of the engine: check pictures, describe recognition levels, and render a preview of a policy."""

from dataclasses import dataclass

import cv2
import numpy as np

from defacer.engine.errors import PictureError, VideoError
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.models.arrays import Detector
from defacer.engine.options import Options
from defacer.engine.recognition.picture_quality import picture_warnings
from defacer.engine.recognition.recognition_levels import calibration_of, strangers_at
from defacer.engine.recognition.target_face import locate_face
from defacer.engine.rendering.preview import (
    TARGET_JPEG_QUALITY,
    Preview,
    encode_jpeg,
    render_preview_frame,
    render_small_frame,
)
from defacer.engine_host import HOST
from defacer.picture_formats import content_type_of
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage.ranged_reader import open_ranged
from defacer.report.texts import ADVICE

DISPLAYED_SIDE = 3000
THUMBNAIL_SHARE = 0.1  # of the video's length: the first frame is often black
PICTURE_LABEL = "This picture"  # the subject of the engine's messages
WARNING_TEXT = {
    "blurred-picture": "but not sharp",
    "small-picture": "which is small",
    "overexposed-picture": "but overexposed",
    "squeezed-picture": "but squeezed or stretched",
    "turned-picture": "turned away from the camera",
}


@dataclass(frozen=True)
class PictureCheck:
    """Whether a target picture is usable, and a sentence about it. A doubtful picture is usable, but poor."""

    usable: bool
    message: str
    doubtful: bool = False


@dataclass(frozen=True)
class LevelRates:
    """The measured rates of a recognition level: strangers kept in 10,000, and percent of targets kept.

    Both are None if they were not measured.
    """

    strangers: int | None
    targets_percent: int | None


def require_replacement(data: bytes) -> None:
    """Raise PermanentError if the picture can't be used to cover faces."""
    try:
        decode_picture(data, PICTURE_LABEL, alpha=True, max_pixels=settings().max_picture_pixels)
    except PictureError as error:
        raise PermanentError(error.code, str(error)) from error


def measured_rates(recognizer: str) -> dict[str, LevelRates]:
    """Return the measured rates of each recognition level."""
    levels = calibration_of(recognizer).levels
    return {
        name: LevelRates(strangers_at(recognizer, level.match), level.kept) for name, level in levels.items()
    }


def check_picture(data: bytes) -> PictureCheck:
    """Check a target picture as ingest does, and rate its quality."""
    try:
        image = decode_picture(data, PICTURE_LABEL, max_pixels=settings().max_picture_pixels)
        with HOST.lock:
            found = locate_face(image, PICTURE_LABEL, _load_detector)
    except PictureError as error:
        return PictureCheck(usable=False, message=str(error))
    height = int(found.face.box[3] - found.face.box[1])
    for warning in picture_warnings(found.image, found.face, PICTURE_LABEL):
        message = f"One face, {height} pixels high, {WARNING_TEXT[warning.code]}. {ADVICE[warning.code]}"
        return PictureCheck(usable=True, message=message, doubtful=True)
    return PictureCheck(usable=True, message=f"One clear face, {height} pixels high.")


def make_displayable(data: bytes) -> bytes:
    """Return a target picture in a format that browsers show.

    Few show HEIC or TIFF, so these become a JPEG without metadata.
    """
    if content_type_of(data) not in ("image/heic", "image/tiff"):
        return data
    image = decode_picture(data, PICTURE_LABEL, max_pixels=settings().max_picture_pixels)
    scale = min(1.0, DISPLAYED_SIDE / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return encode_jpeg(small.astype(np.uint8), TARGET_JPEG_QUALITY)


def render_preview(source: ObjectRef, share: float, policy: Policy, replacement: bytes | None) -> Preview:
    """Return a frame of the video with all faces redacted by the policy. Raise PermanentError if that fails."""
    options = Options(**policy.for_engine())
    with open_ranged(source) as file:
        try:
            return render_preview_frame(file, share, options, _load_detector, HOST.lock, replacement)
        except (VideoError, PictureError) as error:
            raise PermanentError(error.code, f"No preview: {error}") from error


def render_thumbnail(result: ObjectRef) -> bytes:
    """Return a JPEG of a frame of a result. Raise PermanentError if that fails."""
    with open_ranged(result) as file:
        try:
            return render_small_frame(file, THUMBNAIL_SHARE)
        except VideoError as error:
            raise PermanentError(error.code, f"No picture: {error}") from error


def _load_detector(name: str) -> Detector:
    return HOST.engine.detector(name)
