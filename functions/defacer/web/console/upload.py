"""Drop: a video goes from the browser straight into the intake bucket. Here is only its beginning, no byte of it."""

from google.api_core.exceptions import PreconditionFailed
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from defacer.pipeline.channel import list_targets
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects
from defacer.pipeline.storage.object_names import VideoName
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.console import signed_urls
from defacer.web.console.channels import channel_of
from defacer.web.console.rendering import page, size

A_MINUTE = RateLimiter(60)
OTHER = "application/octet-stream"
LONGEST_TYPE = 200
MAX_NUMBERED = 100
TAKEN = "A video of this name is in the channel already."


async def show(request: Request) -> Response:
    """The page; the upload itself is static/drop.js."""
    channel = channel_of(request)
    people = await run_in_threadpool(_people, channel)
    most = size(settings().max_video_bytes)
    return page(request, "drop.html", channel=channel, tab="drop", people=people, most=most)


async def start(request: Request, fields: dict[str, str]) -> Response:
    """An address that takes a video's bytes, for the page that asks; or why there is none.

    A video of that name that is there already is only replaced if `there` says so; or else gets a brother.
    """
    channel = channel_of(request)
    A_MINUTE.require(request)
    video = VideoName(channel, fields.get("name", ""))
    digits = fields.get("size", "")
    count = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0
    if not video.path or "/" in video.path or video.problem:
        why = video.problem or "it is no name of a file"
        raise HTTPException(422, f"This video can't be taken: {why}. Rename it.")
    if count < 1:
        raise HTTPException(422, "This file is empty. Choose a video.")
    if count > settings().max_video_bytes:
        allowed = size(settings().max_video_bytes)
        raise HTTPException(
            422, f"This video has {size(count)}; at most {allowed} are allowed. Cut it into parts."
        )
    kind = fields.get("type", "")
    if not kind.isascii() or not kind.isprintable() or len(kind) > LONGEST_TYPE:
        raise HTTPException(
            422, "This file's type can't be read. A type is like video/mp4; choose another file."
        )
    origin = request.headers.get("origin") or f"{request.url.scheme}://{request.url.netloc}"
    return await run_in_threadpool(
        _session, video, kind if kind.startswith("video/") else OTHER, count, origin, fields.get("there", "")
    )


def _session(video: VideoName, kind: str, count: int, origin: str, there: str) -> Response:
    bucket = settings().intake_bucket
    if there != "replace" and objects.find(bucket, video.object_name) is not None:
        if there != "beside":
            return JSONResponse({"error": TAKEN}, 409)
        video = _beside(bucket, video)
    # Else whoever comes first would be replaced without a word.
    generation = None if there == "replace" else 0
    try:
        address = signed_urls.upload_session(bucket, video.object_name, kind, count, origin, generation)
    except PreconditionFailed:  # somebody was quicker
        return JSONResponse({"error": TAKEN}, 409)
    return JSONResponse({"address": address, "name": video.path})


def _beside(bucket: str, video: VideoName) -> VideoName:
    """The next free name: `clip (2).mp4`."""
    stem, dot, suffix = video.path.rpartition(".")
    for number in range(2, MAX_NUMBERED):
        path = f"{stem} ({number}){dot}{suffix}" if dot else f"{suffix} ({number})"
        other = VideoName(video.channel, path)
        if objects.find(bucket, other.object_name) is None:
            return other
    raise HTTPException(422, "There are too many videos of this name. Rename it.")


def _people(channel: str) -> list[str]:
    pictures = list_targets(settings().intake_bucket, channel)
    return sorted({picture.person for picture in pictures})
