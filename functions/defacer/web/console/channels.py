"""The start page with the list of channels. A channel is a folder below `channels/` in the intake bucket."""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import VideoName
from defacer.web.console.rendering import channel_url, render_console_page


def find_name_problem(name: str) -> str | None:
    """Return why a channel can't have this name, as a sentence; None if it can."""
    if not name or "/" in name:
        return "A channel's name must not be empty or have a slash. Choose another name."
    problem = VideoName(name, "video.mp4").problem
    return f"A channel can't have this name: {problem}. Choose another name." if problem else None


def require_channel(request: Request) -> str:
    """Return the channel in the request's path. Raise 404 if no channel can have that name."""
    name = str(request.path_params["channel"])
    if find_name_problem(name):
        raise HTTPException(404, "A channel can't have this name. Choose a channel on the start page.")
    return name


async def show_channels(request: Request) -> Response:
    """Render the start page."""
    return render_console_page(
        request, "channels.html", channels=await run_in_threadpool(_list_channels), problem=None
    )


async def open_channel(request: Request, fields: dict[str, str]) -> Response:
    """Redirect to the channel's page for uploads. The channel exists when its folder has an object."""
    name = fields.get("name", "").strip()
    problem = find_name_problem(name)
    if problem:
        existing = await run_in_threadpool(_list_channels)
        return render_console_page(request, "channels.html", 422, channels=existing, problem=problem)
    return RedirectResponse(channel_url(name, "upload"), 303)


def _list_channels() -> list[str]:
    folders = objects.list_folders(settings().intake_bucket, object_names.CHANNELS)
    names = (folder.removeprefix(object_names.CHANNELS).removesuffix("/") for folder in folders)
    return [name for name in names if not find_name_problem(name)]
