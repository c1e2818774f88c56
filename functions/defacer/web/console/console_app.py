"""The console as an ASGI application: its routes, and how it reports errors."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from defacer.engine_host import EngineBusyError
from defacer.pipeline import log
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage.objects import AlreadyWrittenError
from defacer.web.common.channel_access import ChannelAccessMiddleware, require_identity
from defacer.web.common.page_templates import mount_static
from defacer.web.common.security import SecurityMiddleware, Site, require_csrf_token
from defacer.web.console import (
    channels,
    job_facts,
    jobs,
    people,
    policy,
    privacy,
    sample,
    signed_urls,
    upload,
)
from defacer.web.console.rendering import HERE, render_console_page
from defacer.web.console.review import face_crops, review_changes, review_data, review_page, source_search

PostHandler = Callable[[Request, dict[str, str]], Awaitable[Response]]
CHANNEL = "/channels/{channel}"
JOB = "/jobs/{job}"
STATUS_TITLES = {404: "Not found", 403: "Not allowed", 429: "Too many requests", 503: "Not available"}


def build_console() -> Starlette:
    """Build the console. Raise SettingsError if the settings are not valid."""
    require_identity()
    log.configure()
    site = Site(
        "console",
        origins=lambda: settings().console_origins,
        storage=signed_urls.list_storage_sources(),
    )
    return Starlette(
        routes=[
            Route("/health", lambda _: PlainTextResponse("ready")),
            Route("/", channels.show_channels),
            _post_route("/channels", channels.open_channel),
            _post_route("/sample", sample.upload_sample),
            Mount(CHANNEL, routes=_channel_routes(), middleware=[Middleware(ChannelAccessMiddleware)]),
            mount_static(HERE),
        ],
        middleware=[Middleware(SecurityMiddleware, site=site)],
        exception_handlers={
            HTTPException: _render_error,
            PermanentError: _render_error,
            RetryableError: _render_error,
            AlreadyWrittenError: _render_error,
            EngineBusyError: _render_error,
            Exception: _render_unexpected_error,
        },
    )


def _channel_routes() -> list[Route]:
    """Return the routes of a channel, below its path."""
    return [
        Route("/upload", upload.show_upload_page),
        _post_route("/uploads", upload.start),
        Route("/people", people.show_people),
        Route("/people/pictures/{picture}", people.redirect_to_picture),
        _post_route("/people/pictures", people.add),
        _post_route("/people/check", people.check),
        _post_route("/people/rename", people.rename),
        _post_route("/people/remove", people.remove),
        _post_route("/people/stored", privacy.describe_person),
        _post_route("/people/forget", privacy.forget),
        Route("/policy", policy.show_policy),
        _post_route("/policy/save", policy.save),
        _post_route("/policy/replacement", policy.replace_picture),
        _post_route("/policy/preview", policy.show_preview),
        Route("/jobs", jobs.show_jobs),
        _post_route("/jobs/live", jobs.stream_changes),
        _post_route(JOB + "/retry", jobs.retry),
        Route(JOB + "/stored", privacy.describe_erasure),
        _post_route(JOB + "/erase", privacy.erase_job),
        Route(JOB + "/counts", job_facts.count_tracks),
        Route(JOB + "/thumbnail", job_facts.show_thumbnail),
        Route(JOB, review_page.show_job),
        Route(JOB + "/source", review_page.redirect_to_source),
        Route(JOB + "/result", review_page.redirect_to_result),
        Route(JOB + "/report", review_page.redirect_to_report),
        Route(JOB + "/review.json", review_data.show_data),
        Route(JOB + "/tracks/{track}", review_data.show_track),
        Route(JOB + "/boxes", review_data.show_boxes),
        Route(JOB + "/crops", face_crops.show_crops),
        _post_route(JOB + "/targets", face_crops.save_target),
        _post_route(JOB + "/edits", review_changes.request_edits),
        _post_route(JOB + "/follow", source_search.follow_drawn_boxes),
        _post_route(JOB + "/look-again", source_search.find_missed_faces),
    ]


def _post_route(path: str, handler: PostHandler) -> Route:
    """Return a route for a change or an expensive request: only POST, only with this browser's token."""

    async def handle(request: Request) -> Response:
        return await handler(request, await require_csrf_token(request))

    return Route(path, handle, methods=["POST"])


async def _render_error(request: Request, error: Exception) -> Response:
    """Return the error as a page, or as JSON for a script."""
    status, message, headers = 500, "The console failed. Try again.", None
    if isinstance(error, HTTPException):
        status, message, headers = error.status_code, error.detail, error.headers
    elif isinstance(error, PermanentError):
        status, message = 422, str(error)
    elif isinstance(error, AlreadyWrittenError):
        status, message = 409, "Another user changed this at the same time. Load the page again and retry."
    elif isinstance(error, EngineBusyError):
        status, headers = 429, {"Retry-After": "5"}
        message = "Too many pictures are waiting to be checked. Try again in 5 s."
    elif isinstance(error, RetryableError):
        log.warning("storage failed during a request to the console", error)
        status, message = 503, "Cloud Storage is not available at the moment. Try again in a minute."
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": message}, status, headers)
    title = STATUS_TITLES.get(status, "Request failed")
    response = render_console_page(request, "error.html", status, title=title, message=message)
    response.headers.update(headers or {})
    return response


async def _render_unexpected_error(request: Request, error: Exception) -> Response:
    log.error("an unexpected error in the console", error)
    message = "The console failed unexpectedly. Its log has the details. Try again."
    return await _render_error(request, HTTPException(500, message))
