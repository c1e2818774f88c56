"""The start page with the channels of the user. A channel is a folder below `channels/` in the intake bucket."""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from defacer.pipeline.channel import find_name_problem
from defacer.pipeline.settings import settings
from defacer.web.common.channel_access import is_unlimited, list_open_channels, require_access
from defacer.web.console.rendering import channel_url, render_console_page


def require_channel(request: Request) -> str:
    """Return the channel in the request's path. Raise 404 if no channel can have that name."""
    name = str(request.path_params["channel"])
    if find_name_problem(name):
        raise HTTPException(404, "A channel can't have this name. Choose a channel on the start page.")
    return name


async def show_channels(request: Request) -> Response:
    """Render the start page."""
    return await _render(request, 200, None)


async def open_channel(request: Request, fields: dict[str, str]) -> Response:
    """Redirect to the channel's page for uploads. The channel exists when its folder has an object."""
    name = fields.get("name", "").strip()
    problem = find_name_problem(name)
    if problem:
        return await _render(request, 422, problem)
    require_access(request, name)
    return RedirectResponse(channel_url(name, "upload"), 303)


async def _render(request: Request, status: int, problem: str | None) -> Response:
    names = await run_in_threadpool(list_open_channels, request)
    return render_console_page(
        request,
        "channels.html",
        status,
        channels=names,
        has_sample=settings().console_sample is not None,
        can_create=is_unlimited(request),
        problem=problem,
    )
