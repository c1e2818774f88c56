"""The live page as an ASGI application: the page itself, and starting and ending streams.

`endpoints.py` has the endpoints that are open for as long as a stream runs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from defacer.engine_host import HOST
from defacer.pipeline import log
from defacer.pipeline.documents.base import EncodingError, normalize_utf8
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings
from defacer.web.common.channel_access import list_open_channels, require_access, require_identity
from defacer.web.common.page_templates import make_environment, mount_static, render_page
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import SecurityMiddleware, Site, read_limited_body, require_csrf_token
from defacer.web.live import endpoints, url_policy
from defacer.web.live.engine_adapter import create_stream, plan_stream
from defacer.web.live.sessions import SessionRegistry
from defacer.web.live.stream_request import MAX_BODY_BYTES, StreamAccess, StreamRequest
from defacer.web.live.url_policy import AddressError, Rules

HERE = Path(__file__).parent
TEMPLATES = make_environment(HERE)
MAX_ACCESS_BYTES = 1000
START_LIMIT = RateLimiter(30)  # a start can resolve a host name and connect to it
SITE = Site("live page", origins=lambda: settings().live_origins, camera=True)


def build_live_page() -> Starlette:
    """Build the live page. Raise SettingsError if the settings are not valid."""
    if settings().live_channels:
        require_identity()
    log.configure()
    return Starlette(
        routes=[
            Route("/health", lambda _: PlainTextResponse("ready")),
            Route("/", _show_page),
            Route("/loaded", _wait_for_models),
            Route("/streams", _start_stream, methods=["POST"]),
            Route("/watch", _show_page),
            Route("/end", _end_stream, methods=["POST"]),
            Route("/mjpeg/{stream}", endpoints.mjpeg),
            WebSocketRoute("/sockets/camera", endpoints.camera),
            WebSocketRoute("/sockets/watch", endpoints.watch),
            mount_static(HERE),
        ],
        middleware=[Middleware(SecurityMiddleware, site=SITE)],
        exception_handlers={
            HTTPException: _render_error,
            AddressError: _render_error,
            PermanentError: _render_error,
            RetryableError: _render_error,
            Exception: _render_unexpected_error,
        },
        lifespan=_lifespan,
    )


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    HOST.start_loading()
    if settings().preload_models:
        await HOST.wait_until_loaded()
    app.state.sessions = SessionRegistry(create_stream)
    async with app.state.sessions.run_reaper():
        yield


async def _show_page(request: Request) -> Response:
    """Render the page to start a stream, or the page to watch one: the script reads its id from the URL's fragment."""
    is_watch_page = request.url.path == "/watch"
    config = settings()
    is_known = config.live_channel_list or config.iap_audience is not None
    lists = config.live_channels and is_known and not is_watch_page
    return render_page(
        TEMPLATES,
        request,
        "live.html",
        is_watch_page=is_watch_page,
        delay=config.live_delay_seconds,
        loading=not HOST.models_loaded,
        has_channels=config.live_channels,
        channels=await run_in_threadpool(list_open_channels, request) if lists else None,
        console=config.console_link,
        private=bool(config.live_private_hosts),
    )


async def _wait_for_models(_: Request) -> Response:
    """Respond when the models are loaded."""
    await HOST.wait_until_loaded()
    return Response(status_code=204)


async def _start_stream(request: Request) -> Response:
    sessions: SessionRegistry = request.app.state.sessions
    await require_csrf_token(request)
    sessions.require_capacity()
    try:
        body = normalize_utf8(await read_limited_body(request, MAX_BODY_BYTES))
        stream_request = StreamRequest.model_validate_json(body)
    except EncodingError as error:
        raise HTTPException(422, f"The request is not valid: {error}.") from error
    except ValidationError as error:
        fields = sorted({str(item["loc"][0]) for item in error.errors() if item["loc"]})
        raise HTTPException(
            422, f"The request is not valid: {', '.join(fields) or 'it is not JSON'}. Load the page again."
        ) from error
    if stream_request.channel is not None and not settings().live_channels:
        raise HTTPException(
            422, "This page runs without a pipeline, so it has no channels. Use target pictures."
        )
    if stream_request.channel is not None:
        require_access(request, stream_request.channel)
    START_LIMIT.enforce(request)
    address = None
    if stream_request.address is not None:
        address = await run_in_threadpool(url_policy.check_address, stream_request.address, _url_rules())
    await HOST.wait_until_loaded()
    plan = await run_in_threadpool(plan_stream, stream_request)
    session = sessions.start(plan, address)
    return JSONResponse({"id": session.id, "key": session.key}, 201)


def _url_rules() -> Rules:
    config = settings()
    hosts = tuple(filter(None, config.live_hosts.split(",")))
    ports = tuple(map(int, filter(None, config.live_ports.split(","))))
    private = tuple(map(ip_network, filter(None, config.live_private_hosts.split(","))))
    return Rules(tuple(config.live_schemes.split(",")), hosts, ports, config.live_allow_loopback, private)


async def _end_stream(request: Request) -> Response:
    await require_csrf_token(request)
    try:
        access = StreamAccess.model_validate_json(await read_limited_body(request, MAX_ACCESS_BYTES))
    except ValidationError as error:
        raise HTTPException(422, "The request is not valid. Load the page again.") from error
    session = endpoints.require_session(request.app.state.sessions, access.stream)
    if not session.is_owner(access.key):
        raise HTTPException(403, "Only the page that started a stream can end it.")
    session.end("The stream was ended.")
    return Response(status_code=204)


async def _render_error(_: Request, error: Exception) -> Response:
    """Return the error as JSON with a sentence for the page to show."""
    status, message, headers = 422, str(error), None
    if isinstance(error, HTTPException):
        status, message, headers = error.status_code, error.detail, error.headers
    elif isinstance(error, RetryableError):
        log.warning("storage or the models' weights could not be read", error)
        status, message = 503, "Cloud Storage or the models could not be read. Try again in a minute."
    elif getattr(error, "code", "") == ErrorCode.TOO_MANY_STREAMS:
        status = 429
    return JSONResponse({"error": message}, status, headers)


async def _render_unexpected_error(request: Request, error: Exception) -> Response:
    log.error("an unexpected error in the live page", error)
    message = "The live page failed unexpectedly. Its log has the details. Try again."
    return await _render_error(request, HTTPException(500, message))
