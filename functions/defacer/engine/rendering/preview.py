"""Preview one frame of a video with all faces redacted.

The console shows it, so that a user can choose a redaction style before the video is uploaded.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import av
import cv2
import numpy as np

from defacer.engine.errors import VideoError
from defacer.engine.media.clock.clocked_source import Source
from defacer.engine.media.display.picture_form import FormConverter
from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.hdr import sdr_curve
from defacer.engine.media.orientation import Orientation
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.media.reader import open_video, time_base
from defacer.engine.models.arrays import Detector, Image
from defacer.engine.options import Options
from defacer.engine.rendering.redaction import Style, redact_boxes
from defacer.report.compact_boxes import Box

DETECTOR_SIDE = 640  # pixels, the long side of the image that the detector gets
SHOWN_SIDE = 960  # pixels, the long side of the preview
SMALL_SIDE = 320  # pixels, the long side of a picture in a list
JPEG_QUALITY, TARGET_JPEG_QUALITY = 85, 95  # of a shown picture, and of one that is stored for recognition


@dataclass(frozen=True)
class Preview:
    """A JPEG of the displayed frame, and the number of redacted faces in it."""

    picture: bytes
    faces: int


def render_preview_frame(
    source: Source,
    share: float,
    options: Options,
    detector_of: Callable[[str], Detector],
    lock: AbstractContextManager[object],
    replacement: bytes | None = None,
) -> Preview:
    """Return the key frame at or before a share (0 to 1) of the video's length, with every face redacted.

    `lock` is held while the detector works, but not while the frame and the picture are decoded.

    Raises VideoError for a video that cannot be processed, and PictureError for a replacement picture that cannot be
    decoded.
    """
    encoding = encoding_of(source)
    frame = encoding.convert(FormConverter(encoding.form).convert(_frame_at(source, share)))
    small = display_frame(frame, encoding.orientation, DETECTOR_SIDE)
    width, _ = encoding.orientation.displayed_size(frame.width, frame.height)
    scale = small.shape[1] / width
    with lock:
        detector = detector_of(options.detector)
        faces = [face for face in detector.detect([small])[0] if face.score >= detector.confident_score]
    boxes = [_to_box(face.box / scale) for face in faces]
    picture = None
    if options.mode == "image":
        picture = decode_picture(replacement or b"", "the replacement picture", alpha=True)
    redact_boxes(
        frame, boxes, Style(options.mode, options.strength, options.color, picture), encoding.orientation
    )
    return Preview(encode_jpeg(display_frame(frame, encoding.orientation, SHOWN_SIDE)), len(boxes))


def render_small_frame(source: Source, share: float) -> bytes:
    """Return a JPEG of the key frame at or before a share (0 to 1) of the video's length, for a list of videos.

    Raises VideoError for a video that cannot be processed.
    """
    encoding = encoding_of(source)
    frame = encoding.convert(FormConverter(encoding.form).convert(_frame_at(source, share)))
    return encode_jpeg(display_frame(frame, encoding.orientation, SMALL_SIDE))


def _frame_at(source: Source, share: float) -> av.VideoFrame:
    """Return the key frame at or before that time. To decode the exact frame can take seconds."""
    with open_video(source) as (container, stream):
        length = stream.duration
        if length is None and container.duration is not None:
            length = round(container.duration / 1_000_000 / time_base(stream))
        if length:
            container.seek((stream.start_time or 0) + round(length * share), stream=stream)
        for frame in container.decode(stream):
            return frame
    raise VideoError("it has no frame there. Choose another moment.")


def display_frame(frame: av.VideoFrame, orientation: Orientation, side: int) -> Image:
    """Return the frame as an SDR screen shows it, with a longer side of `side` pixels at most."""
    image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    scale = min(1.0, side / max(orientation.displayed_size(frame.width, frame.height)))
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    curve = sdr_curve(frame)
    return orientation.to_displayed(image if curve is None else curve[image])


def _to_box(box: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> Box:
    x1, y1, x2, y2 = (float(side) for side in box)
    return (x1, y1, x2, y2)


def encode_jpeg(image: Image, quality: int = JPEG_QUALITY) -> bytes:
    """Return the image as a JPEG. Raise VideoError if that fails."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise VideoError("this frame cannot be shown. Choose another moment.")
    return bytes(data)
