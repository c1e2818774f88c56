"""What was asked for, checked, and made into a stream's plan: who is kept, and how the others are hidden."""

from typing import TYPE_CHECKING, Literal

from pydantic import Base64Bytes, Field

from defacer import engine_host
from defacer.engine.errors import PictureError
from defacer.engine.media.still_image import decode_picture
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Picture
from defacer.engine.rendering.redaction import Style
from defacer.pipeline.channel import find_replacement, list_targets, read_policy
from defacer.pipeline.documents.base import Document
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects
from defacer.web.live.stream import Plan
from defacer.web.live.url_policy import MAX_CHARACTERS

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Image

MAX_PICTURES = 20
MAX_BODY_BYTES = 24 * 1024 * 1024


class Target(Document):
    """A picture of somebody who stays visible, for this stream alone."""

    person: str = Field(min_length=1, max_length=100)
    data: Base64Bytes = Field(repr=False)


class StreamRequest(Document):
    """What the page asks for. Without an address frames come from its camera; what is null is as the channel has it."""

    address: str | None = Field(default=None, max_length=MAX_CHARACTERS, repr=False)
    channel: str | None = Field(default=None, max_length=222, pattern=r"^[^/\x00-\x1f\x7f]+$")
    targets: list[Target] = Field(default=[], max_length=MAX_PICTURES, repr=False)
    mode: Literal["blur", "pixelate", "solid", "image"] | None = None
    replacement: Base64Bytes | None = Field(default=None, repr=False)
    delay_seconds: float | None = Field(default=None, ge=0.3, le=1)


def plan_stream(wish: StreamRequest) -> Plan:
    """The plan. Raises PermanentError with a sentence for who asked."""
    limits, intake = settings(), settings().intake_bucket
    policy, pictures = Policy(), []
    if wish.channel is not None:
        policy = read_policy(intake, wish.channel)
        pictures = engine_host.load(list_targets(intake, wish.channel))
    pictures += [
        Picture(target.person, f"Picture {number}", target.data)
        for number, target in enumerate(wish.targets, start=1)
    ]
    mode = wish.mode or policy.mode
    return Plan(
        gallery=engine_host.gallery_of(pictures, policy.recognizer) if pictures else None,
        # One detector for all: the other one is too slow for this.
        options=Options(
            mode=mode,
            recognizer=policy.recognizer,
            recognition=policy.recognition,
            match_threshold=policy.match_threshold,
        ),
        style=Style(mode, policy.strength, policy.color, _replacement(wish) if mode == "image" else None),
        delay_seconds=wish.delay_seconds or limits.live_delay_seconds,
        most_frames_per_second=limits.live_frames_per_second,
    )


def _replacement(wish: StreamRequest) -> "Image":
    data = wish.replacement
    if data is None and wish.channel is not None:
        data = objects.read(find_replacement(settings().intake_bucket, wish.channel))
    if data is None:
        raise PermanentError("no-replacement", "Choose the picture that shall cover faces.")
    try:
        return decode_picture(
            data, "The picture that covers faces", alpha=True, max_pixels=settings().max_picture_pixels
        )
    except PictureError as error:
        raise PermanentError("bad-replacement", str(error)) from error
