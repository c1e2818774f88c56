"""Cut the faces of some tracks out of a video, so that a person can recognize them: in a strip, or one alone."""

from collections.abc import Iterator, Sequence

import av
import cv2
import numpy as np

from defacer.engine.errors import VideoError
from defacer.engine.media.clock.clocked_source import Source, clock_of
from defacer.engine.media.display.picture_form import FormConverter
from defacer.engine.media.encoding import encoding_of
from defacer.engine.media.reader import open_video, read_frames
from defacer.engine.models.arrays import Image
from defacer.engine.rendering.preview import display_frame, encode_jpeg
from defacer.report.clock import Clock
from defacer.report.compact_boxes import Box
from defacer.report.face_views import FaceView

MAX_DECODED_SIDE = 1920  # pixels; larger frames are reduced before a face is cut out
FACE_SIDE = 128  # pixels, of a face in the strip
STRIP_MARGIN = 0.25  # around the box, as a share of its longer side
MAX_FRAMES_WITHOUT_SEEK = 60  # decoding a few frames is faster than a seek and the frames after its key frame


def render_contact_sheet(source: Source, rows: Sequence[Sequence[FaceView]]) -> bytes:
    """Return a JPEG with the faces of each row side by side, each a square of FACE_SIDE pixels.

    The video is decoded in one pass for all rows. Raises VideoError for a frame that cannot be decoded.
    """
    views = list({view for row in rows for view in row})
    faces = dict(zip(views, cut_faces(source, views, STRIP_MARGIN), strict=True))
    sheet = np.zeros((FACE_SIDE * len(rows), FACE_SIDE * max(map(len, rows)), 3), np.uint8)
    for top, row in enumerate(rows):
        for left, view in enumerate(row):
            small = cv2.resize(faces[view], (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA)
            y, x = FACE_SIDE * top, FACE_SIDE * left
            sheet[y : y + FACE_SIDE, x : x + FACE_SIDE] = small
    return encode_jpeg(sheet)


def cut_faces(source: Source, views: Sequence[FaceView], margin: float) -> list[Image]:
    """Return each face with a margin around its box, as a share of the box's longer side."""
    ordered = sorted(set(views), key=lambda view: view.pts)
    faces = {view: _square(*found, margin) for view, found in _read_views(source, ordered)}
    return [faces[view] for view in views]


def _read_views(source: Source, views: Sequence[FaceView]) -> Iterator[tuple[FaceView, tuple[Image, Box]]]:
    """Yield each view with its displayed frame and its box in pixels of that."""
    form = encoding_of(source).form
    converter, orientation = FormConverter(form), form.orientation
    for view, decoded in _decode_views(source, views):
        frame = converter.convert(decoded)
        image = display_frame(frame, orientation, MAX_DECODED_SIDE)
        width, _ = orientation.displayed_size(frame.width, frame.height)
        scale = image.shape[1] / width
        x1, y1, x2, y2 = (side * scale for side in view.box)
        yield view, (image, (x1, y1, x2, y2))


def _decode_views(source: Source, views: Sequence[FaceView]) -> Iterator[tuple[FaceView, av.VideoFrame]]:
    """Yield the frame that is shown at each view's time. Seek only where that is shorter than to decode on."""
    if clock_of(source) != Clock():  # FFmpeg seeks by times that are not corrected
        for view in views:
            found = next(read_frames(source, view.pts), None)
            if found is None:
                raise _no_frame()
            yield view, found
        return
    with open_video(source) as (container, stream):
        rate = float(stream.average_rate or 30)
        frame: av.VideoFrame | None = None
        frames = container.decode(stream)
        for view in views:
            ahead = None if frame is None or frame.pts is None else view.pts - frame.pts
            if ahead is None or ahead * float(stream.time_base or 0) * rate > MAX_FRAMES_WITHOUT_SEEK:
                container.seek(view.pts, stream=stream)
                frames, frame = container.decode(stream), None
            while frame is None or frame.pts is None or frame.pts < view.pts:
                frame = next(frames, None)
                if frame is None:
                    raise _no_frame()
            yield view, frame


def _no_frame() -> VideoError:
    return VideoError("it has no frame at that time. Load the page again.")


def _square(image: Image, box: Box, margin: float) -> Image:
    """Return a square around the box, moved into the frame. It is as large as the frame's shorter side at most."""
    x1, y1, x2, y2 = box
    height, width = image.shape[:2]
    side = min(max(2, round((1 + 2 * margin) * max(x2 - x1, y2 - y1))), height, width)
    left = min(max(0, round((x1 + x2 - side) / 2)), width - side)
    top = min(max(0, round((y1 + y2 - side) / 2)), height - side)
    return image[top : top + side, left : left + side]
