"""Decode and encode frames as JPEG without a conversion to RGB."""

from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext

from defacer.engine.errors import VideoError
from defacer.engine.media.pictures.still_image import require_decodable

MAX_PIXELS = 3840 * 2160  # of an incoming frame
MAX_SCANNED_PIXELS = 10 * MAX_PIXELS  # progressive JPEGs usually have ten scans, those of cameras have one
MAX_FRAME_BYTES = 4 * 1024 * 1024
MIN_SIDE, MAX_SIDE = 16, 1280  # pixels; larger frames are scaled down
PIXEL_FORMAT = "yuvj420p"
QUALITY = 4  # on FFmpeg's scale from 2 (best) to 31
NOT_A_FRAME = "A frame is not a readable JPEG. Start again."


class Decoder:
    """Decodes one JPEG after the other, in one thread at a time."""

    def __init__(self) -> None:
        self._context = VideoCodecContext.create("mjpeg", "r")
        self._context.thread_count = 1  # more threads delay the frames
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
    """Encodes frames of one size as JPEG, without any metadata of the source."""

    def __init__(self, width: int, height: int):
        self._context = VideoCodecContext.create("mjpeg", "w")
        self._context.width, self._context.height = width, height
        self._context.pix_fmt = PIXEL_FORMAT
        self._context.time_base = Fraction(1, 1000)
        self._context.qmin = self._context.qmax = QUALITY
        self._context.thread_count = 1

    def encode(self, frame: av.VideoFrame) -> bytes:
        """Return the frame as JPEG."""
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


def fit_frame(frame: av.VideoFrame) -> av.VideoFrame:
    """Return the frame with even sides of at most MAX_SIDE pixels, in JPEG's pixel format.

    Raise VideoError if a side is smaller than MIN_SIDE.
    """
    scale = min(1.0, MAX_SIDE / max(frame.width, frame.height))
    width, height = (2 * round(side * scale / 2) for side in (frame.width, frame.height))
    if min(width, height) < MIN_SIDE:
        raise VideoError(
            f"The picture has {frame.width}x{frame.height} pixels, at least {MIN_SIDE}x{MIN_SIDE} are needed. "
            "Use a larger one."
        )
    if (width, height, frame.format.name) == (frame.width, frame.height, PIXEL_FORMAT):
        return frame
    return frame.reformat(
        width, height, PIXEL_FORMAT, dst_color_range="JPEG", interpolation="AREA", threads=1
    )
