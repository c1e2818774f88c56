"""Frames in and out as JPEG, their planes as they are: nothing goes through RGB."""

from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext

from defacer.engine.errors import VideoError
from defacer.engine.media.still_image import require_decodable

MAX_PIXELS = 3840 * 2160  # of a frame that comes in
MAX_SCANNED_PIXELS = 10 * MAX_PIXELS  # ten scans are a usual progressive JPEG; cameras write one
MAX_FRAME_BYTES = 4 * 1024 * 1024
MAX_SIDE = 1280  # pixels: larger frames are made smaller
PIXEL_FORMAT = "yuvj420p"
QUALITY = 4  # of FFmpeg's 2 (best) to 31
NOT_A_FRAME = "a frame is not a JPEG that can be read."


class Decoder:
    """Takes one JPEG after the other. Not for two threads at once."""

    def __init__(self) -> None:
        self._context = VideoCodecContext.create("mjpeg", "r")
        self._context.thread_count = 1  # more would hold frames back
        self._context.options = {"err_detect": "explode"}

    def decode(self, data: bytes) -> av.VideoFrame:
        """Return the frame. Raise PictureError unless it is a JPEG within the limits, VideoError if it is damaged."""
        require_decodable(data, "A frame", MAX_PIXELS, MAX_SCANNED_PIXELS)
        try:
            frames = self._context.decode(av.Packet(data))
        except av.error.FFmpegError as error:
            raise VideoError(NOT_A_FRAME) from error
        if len(frames) != 1 or frames[0].is_corrupt:
            raise VideoError(NOT_A_FRAME)
        return frames[0]


class Encoder:
    """Gives a JPEG for each frame of one size; nothing that came with the source's picture is in it."""

    def __init__(self, width: int, height: int):
        self._context = VideoCodecContext.create("mjpeg", "w")
        self._context.width, self._context.height = width, height
        self._context.pix_fmt = PIXEL_FORMAT
        self._context.time_base = Fraction(1, 1000)
        self._context.qmin = self._context.qmax = QUALITY
        self._context.thread_count = 1

    def encode(self, frame: av.VideoFrame) -> bytes:
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


def fitted(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame as it is worked on: of even sides, MAX_SIDE at most, and with samples that JPEG has.

    Raises VideoError for a frame that is too small for any of it.
    """
    scale = min(1.0, MAX_SIDE / max(frame.width, frame.height))
    width, height = (2 * round(side * scale / 2) for side in (frame.width, frame.height))
    if min(width, height) < 16:
        raise VideoError(f"its picture has {frame.width}x{frame.height} pixels. Use a larger one.")
    if (width, height, frame.format.name) == (frame.width, frame.height, PIXEL_FORMAT):
        return frame
    return frame.reformat(
        width, height, PIXEL_FORMAT, dst_color_range="JPEG", interpolation="AREA", threads=1
    )
