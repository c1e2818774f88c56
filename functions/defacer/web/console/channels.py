"""Which channels there are: every folder below `channels/` in the intake bucket."""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import VideoName
from defacer.web.console.rendering import at, page


def problem(name: str) -> str | None:
    """Why no channel can be called this; None if one can."""
    if not name or "/" in name:
        return "A channel's name is a word without slashes."
    wrong = VideoName(name, "video.mp4").problem
    return f"No channel can be called that: {wrong}." if wrong else None


def channel_of(request: Request) -> str:
    """The channel whose page is asked for. Raises 404 if there can be none of that name."""
    name = str(request.path_params["channel"])
    if problem(name):
        raise HTTPException(404, "No channel can have that name.")
    return name


async def show(request: Request) -> Response:
    """The start page."""
    return page(request, "channels.html", channels=await run_in_threadpool(_all), problem=None)


async def open_channel(request: Request, fields: dict[str, str]) -> Response:
    """A channel is there as soon as something lies in it: opening one is all that there is to do."""
    name = fields.get("name", "").strip()
    wrong = problem(name)
    if wrong:
        return page(request, "channels.html", 422, channels=await run_in_threadpool(_all), problem=wrong)
    return RedirectResponse(at(name, "drop"), 303)


def _all() -> list[str]:
    folders = objects.list_folders(settings().intake_bucket, object_names.CHANNELS)
    names = (folder.removeprefix(object_names.CHANNELS).removesuffix("/") for folder in folders)
    return [name for name in names if not problem(name)]
