"""How one frame of a video would look with all of its faces hidden: to choose how, before anything is done."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import av
import cv2
import numpy as np

from defacer.engine.errors import VideoError
from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.hdr import sdr_curve
from defacer.engine.media.orientation import Orientation
from defacer.engine.media.reader import Source, open_video, time_base
from defacer.engine.media.still_image import decode_picture
from defacer.engine.models.arrays import Detector, Image
from defacer.engine.options import Options
from defacer.engine.rendering.redaction import Style, redact
from defacer.engine.tracking.face_report import Box

SEARCH_SIDE = 640  # pixels: the size that videos are searched at
SHOWN_SIDE = 960
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Preview:
    """A JPEG of the frame as it would be shown, and how many faces are hidden in it."""

    picture: bytes
    faces: int


def preview(
    source: Source,
    share: float,
    options: Options,
    detector_of: Callable[[str], Detector],
    alone: AbstractContextManager[object],
    replacement: bytes | None = None,
) -> Preview:
    """The frame at a share (0 to 1) of the video's length, or the key frame before it, with every face hidden.

    `alone` is held while the detector works, and not while frame and picture are decoded.

    Raises VideoError for a video that can't be done, PictureError for a replacement that can't be read.
    """
    encoding = encoding_of(source)
    frame = encoding.convert(_frame_at(source, share))
    small = _displayed(frame, encoding.orientation, SEARCH_SIDE)
    width, _ = encoding.orientation.displayed_size(frame.width, frame.height)
    scale = small.shape[1] / width
    with alone:
        detector = detector_of(options.detector)
        faces = [face for face in detector.detect([small])[0] if face.score >= detector.confident_score]
    boxes = [_box(face.box / scale) for face in faces]
    picture = None
    if options.mode == "image":
        picture = decode_picture(replacement or b"", "the replacement picture", alpha=True)
    redact(frame, boxes, Style(options.mode, options.strength, options.color, picture), encoding.orientation)
    return Preview(_jpeg(_displayed(frame, encoding.orientation, SHOWN_SIDE)), len(boxes))


def _frame_at(source: Source, share: float) -> av.VideoFrame:
    """Of the key frame at or before that moment: the one after it may be seconds of decoding away."""
    with open_video(source) as (container, stream):
        length = stream.duration
        if length is None and container.duration is not None:
            length = round(container.duration / 1_000_000 / time_base(stream))
        if length:
            container.seek((stream.start_time or 0) + round(length * share), stream=stream)
        for frame in container.decode(stream):
            return frame
    raise VideoError("it shows no frame there. Choose another moment.")


def _displayed(frame: av.VideoFrame, orientation: Orientation, side: int) -> Image:
    """Return the frame as an ordinary screen shows it, its longer side at most `side` pixels."""
    image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    scale = min(1.0, side / max(orientation.displayed_size(frame.width, frame.height)))
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    curve = sdr_curve(frame)
    return orientation.to_displayed(image if curve is None else curve[image])


def _box(box: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> Box:
    x1, y1, x2, y2 = (float(side) for side in box)
    return (x1, y1, x2, y2)


def _jpeg(image: Image) -> bytes:
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not done:
        raise VideoError("this frame can't be shown. Choose another moment.")
    return bytes(data)
