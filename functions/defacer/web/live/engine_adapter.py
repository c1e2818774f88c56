"""The live page's use of the engine: plan a stream, by a request and a channel's policy, and create it."""

from typing import TYPE_CHECKING

from defacer.engine.errors import PictureError
from defacer.engine.media.pictures.still_image import decode_picture
from defacer.engine.options import Options
from defacer.engine.recognition.gallery import Picture
from defacer.engine.rendering.redaction import Style
from defacer.engine_host import HOST, read_pictures
from defacer.pipeline.channel import find_replacement, list_targets, read_policy
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects
from defacer.web.live.stream import Stream, StreamPlan
from defacer.web.live.stream_request import StreamRequest

if TYPE_CHECKING:
    from defacer.engine.models.arrays import Image


def create_stream(plan: StreamPlan) -> Stream:
    """Return a stream that uses the engine of this process. It is not started."""
    return Stream(HOST.engine, plan)


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
