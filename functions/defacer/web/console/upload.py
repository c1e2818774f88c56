"""Start the upload of a video. The browser sends its bytes straight to the intake bucket (`static/upload.js`)."""

from google.api_core.exceptions import PreconditionFailed
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from defacer.pipeline.channel import list_kept_people
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import objects
from defacer.pipeline.storage.object_names import VideoName
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.console import signed_urls
from defacer.web.console.channels import require_channel
from defacer.web.console.rendering import format_size, render_console_page

UPLOAD_LIMIT = RateLimiter(60)
DEFAULT_TYPE = "application/octet-stream"
MAX_TYPE_CHARACTERS = 200
MAX_NUMBERED = 100
MAX_SIZE_DIGITS = 19
NAME_IN_USE = "The channel already has a video of this name."
REPLACE, KEEP_BOTH = "replace", "keep-both"  # values of the form field `on_conflict`


async def show_upload_page(request: Request) -> Response:
    """Render the page for uploads."""
    channel = require_channel(request)
    people = await run_in_threadpool(list_kept_people, channel)
    most = format_size(settings().max_video_bytes)
    return render_console_page(
        request, "upload.html", channel=channel, tab="upload", people=people, most=most
    )


async def start(request: Request, fields: dict[str, str]) -> Response:
    """Return a URL that accepts the video's bytes from this page, or an error.

    If the channel has a video of that name, `on_conflict` decides: replace it, keep both, or (empty) respond with 409.
    """
    channel = require_channel(request)
    UPLOAD_LIMIT.enforce(request)
    video = VideoName(channel, fields.get("name", ""))
    digits = fields.get("size", "")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= MAX_SIZE_DIGITS
    size = int(digits) if is_number else 0
    if not video.path or "/" in video.path or video.problem:
        problem = video.problem or "it is not a file name"
        raise HTTPException(422, f"A video can't have this name: {problem}. Rename it.")
    if size < 1:
        raise HTTPException(422, "This file is empty. Choose a video.")
    if size > settings().max_video_bytes:
        allowed = format_size(settings().max_video_bytes)
        raise HTTPException(
            422, f"This video has {format_size(size)}; at most {allowed} are allowed. Cut it into parts."
        )
    content_type = fields.get("type", "")
    if (
        not content_type.isascii()
        or not content_type.isprintable()
        or len(content_type) > MAX_TYPE_CHARACTERS
    ):
        raise HTTPException(
            422, "This file's type is not valid, expected one like video/mp4. Choose another file."
        )
    if not content_type.startswith("video/"):
        content_type = DEFAULT_TYPE
    origin = request.headers.get("origin") or f"{request.url.scheme}://{request.url.netloc}"
    on_conflict = fields.get("on_conflict", "")
    return await run_in_threadpool(_start_session, video, content_type, size, origin, on_conflict)


def _start_session(video: VideoName, content_type: str, size: int, origin: str, on_conflict: str) -> Response:
    bucket = settings().intake_bucket
    if on_conflict != REPLACE and objects.find_blob(bucket, video.object_name) is not None:
        if on_conflict != KEEP_BOTH:
            return JSONResponse({"error": NAME_IN_USE}, 409)
        video = _find_free_name(bucket, video)
    # Generation 0 means "no such object", so a concurrent upload of that name is never silently replaced.
    generation = None if on_conflict == REPLACE else 0
    try:
        url = signed_urls.start_upload_session(
            bucket, video.object_name, content_type, size, origin, generation
        )
    except PreconditionFailed:  # another upload took the name since the check above
        return JSONResponse({"error": NAME_IN_USE}, 409)
    return JSONResponse({"url": url, "name": video.path})


def _find_free_name(bucket: str, video: VideoName) -> VideoName:
    """Return the next free name, such as `clip (2).mp4`."""
    stem, dot, suffix = video.path.rpartition(".")
    for number in range(2, MAX_NUMBERED):
        path = f"{stem} ({number}){dot}{suffix}" if dot else f"{suffix} ({number})"
        candidate = VideoName(video.channel, path)
        if objects.find_blob(bucket, candidate.object_name) is None:
            return candidate
    raise HTTPException(422, f"The channel has {MAX_NUMBERED} videos of this name. Rename the file.")
