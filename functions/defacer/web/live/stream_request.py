"""Validate the request for a stream and turn it into a plan: who stays visible, and how other faces are redacted."""

from typing import TYPE_CHECKING, Literal

from pydantic import Base64Bytes, Field

from defacer.engine.errors import PictureError
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Picture
from defacer.engine.rendering.redaction import Style
from defacer.engine_host import HOST, read_pictures
from defacer.pipeline.channel import find_replacement, list_targets, read_policy
from defacer.pipeline.documents.base import Document
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects
from defacer.web.live.stream import StreamPlan
from defacer.web.live.url_policy import MAX_CHARACTERS

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Image

MAX_PICTURES = 20
MAX_BODY_BYTES = 24 * 1024 * 1024


class Target(Document):
    """A target picture for this stream only."""

    person: str = Field(min_length=1, max_length=100)
    data: Base64Bytes = Field(repr=False)


class StreamRequest(Document):
    """A page's request for a stream. Without an address, frames come from the page's camera.

    Fields that are null take the value of the channel's policy.
    """

    address: str | None = Field(default=None, max_length=MAX_CHARACTERS, repr=False)
    channel: str | None = Field(default=None, max_length=222, pattern=r"^[^/\x00-\x1f\x7f]+$")
    targets: list[Target] = Field(default=[], max_length=MAX_PICTURES, repr=False)
    mode: Literal["blur", "pixelate", "solid", "image"] | None = None
    replacement: Base64Bytes | None = Field(default=None, repr=False)
    delay_seconds: float | None = Field(default=None, ge=0.3, le=1)


def plan_stream(request: StreamRequest) -> StreamPlan:
    """Return the plan of the stream. Raise PermanentError with a sentence for the page."""
    config = settings()
    policy, pictures = Policy(), []
    if request.channel is not None:
        policy = read_policy(config.intake_bucket, request.channel)
        pictures = read_pictures(list_targets(config.intake_bucket, request.channel))
    pictures += [
        Picture(target.person, f"Picture {number}", target.data)
        for number, target in enumerate(request.targets, start=1)
    ]
    mode = request.mode or policy.mode
    return StreamPlan(
        gallery=HOST.build_gallery(pictures, policy.recognizer) if pictures else None,
        # The policy's detector is ignored: MTCNN is too slow for a live stream.
        options=Options(
            mode=mode,
            recognizer=policy.recognizer,
            recognition=policy.recognition,
            match_threshold=policy.match_threshold,
        ),
        style=Style(
            mode, policy.strength, policy.color, _read_replacement(request) if mode == "image" else None
        ),
        delay_seconds=request.delay_seconds or config.live_delay_seconds,
        max_frames_per_second=config.live_frames_per_second,
    )


def _read_replacement(request: StreamRequest) -> "Image":
    data = request.replacement
    if data is None and request.channel is not None:
        data = objects.read(find_replacement(settings().intake_bucket, request.channel))
    if data is None:
        raise PermanentError(
            ErrorCode.NO_REPLACEMENT, "No picture to cover faces. Choose one, or another redaction style."
        )
    try:
        return decode_picture(
            data, "The picture that covers faces", alpha=True, max_pixels=settings().max_picture_pixels
        )
    except PictureError as error:
        raise PermanentError(ErrorCode.BAD_REPLACEMENT, str(error)) from error
