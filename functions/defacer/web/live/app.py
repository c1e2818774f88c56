"""The live page: an ASGI application. `python -m defacer.web.live` serves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from defacer import engine_host
from defacer.pipeline import log
from defacer.pipeline.documents.base import EncodingError, normalize_utf8
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings
from defacer.web.common.page_templates import environment_of, page_of, static_of
from defacer.web.common.rate_limit import RateLimiter
from defacer.web.common.security import Guard, Site, limited_body, require_token
from defacer.web.live import endpoints, url_policy
from defacer.web.live.model_loading import ModelLoading
from defacer.web.live.sessions import Streams
from defacer.web.live.stream_request import MAX_BODY_BYTES, StreamRequest, plan_stream
from defacer.web.live.url_policy import AddressError, Rules

HERE = Path(__file__).parent
PAGES = environment_of(HERE)
STARTS_A_MINUTE = RateLimiter(30)  # each may look an address up and connect to it
SITE = Site("live page", origin=lambda: settings().live_origin, camera=True)


def application() -> Starlette:
    """The whole service. Raises SettingsError if the environment is not fit for it."""
    settings()
    log.configure()
    return Starlette(
        routes=[
            Route("/health", lambda _: PlainTextResponse("ready")),
            Route("/", _page),
            Route("/loaded", _loaded),
            Route("/streams", _begin, methods=["POST"]),
            Route("/streams/{stream}", _page),
            Route("/streams/{stream}/end", _end, methods=["POST"]),
            Route("/streams/{stream}/mjpeg", endpoints.mjpeg),
            WebSocketRoute("/streams/{stream}/camera", endpoints.camera),
            WebSocketRoute("/streams/{stream}/watch", endpoints.watch),
            static_of(HERE),
        ],
        middleware=[Middleware(Guard, site=SITE)],
        exception_handlers={
            HTTPException: _told,
            AddressError: _told,
            PermanentError: _told,
            RetryableError: _told,
            Exception: _unexpected,
        },
        lifespan=_lifespan,
    )


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.models = models = ModelLoading()
    models.load()
    if settings().preload_models:  # nobody is answered before
        await models.wait()
    app.state.streams = Streams(engine_host.engine())
    async with app.state.streams.tended():
        yield


async def _page(request: Request) -> Response:
    """The page; with a stream's id to watch that one."""
    name = request.path_params.get("stream", "")
    if name and request.app.state.streams.find(name) is None:
        raise HTTPException(404, "There is no such stream, or it has ended.")
    models: ModelLoading = request.app.state.models
    return page_of(
        PAGES,
        request,
        "live.html",
        stream=name,
        delay=settings().live_delay_seconds,
        loading=not models.are_loaded,
    )


async def _loaded(request: Request) -> Response:
    """Answers when streams can begin."""
    await request.app.state.models.wait()
    return Response(status_code=204)


async def _begin(request: Request) -> Response:
    streams: Streams = request.app.state.streams
    await require_token(request)
    streams.require_room()
    try:
        wish = StreamRequest.model_validate_json(normalize_utf8(await limited_body(request, MAX_BODY_BYTES)))
    except EncodingError as error:
        raise HTTPException(422, f"Not understood: {error}.") from error
    except ValidationError as error:
        where = sorted({str(item["loc"][0]) for item in error.errors() if item["loc"]})
        raise HTTPException(422, f"Not understood: {', '.join(where) or 'no JSON'}.") from error
    STARTS_A_MINUTE.require(request)
    address = None
    if wish.address is not None:
        address = await run_in_threadpool(url_policy.check, wish.address, _rules())
    await request.app.state.models.wait()
    plan = await run_in_threadpool(plan_stream, wish)
    session = streams.begin(plan, address)
    return JSONResponse({"id": session.id, "key": session.key}, 201)


def _rules() -> Rules:
    chosen = settings()
    hosts = tuple(filter(None, chosen.live_hosts.split(",")))
    ports = tuple(map(int, filter(None, chosen.live_ports.split(","))))
    return Rules(tuple(chosen.live_schemes.split(",")), hosts, ports, chosen.live_allow_loopback)


async def _end(request: Request) -> Response:
    await require_token(request)
    session = endpoints.session_of(request)
    if not session.is_owner((await limited_body(request, 100)).decode(errors="replace")):
        raise HTTPException(403, "Only who began a stream may end it.")
    session.end("It was ended.")
    return Response(status_code=204)


async def _told(_: Request, error: Exception) -> Response:
    """What went wrong, for the page to show."""
    status, sentence, headers = 422, str(error), None
    if isinstance(error, HTTPException):
        status, sentence, headers = error.status_code, error.detail, error.headers
    elif isinstance(error, RetryableError):
        log.warning("storage or weights could not be read", error)
        status, sentence = 503, "What this needs can't be read at the moment. Try again."
    elif getattr(error, "code", "") == "too-many-streams":
        status = 429
    return JSONResponse({"error": sentence}, status, headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("an unexpected error in the live page", error)
    return await _told(request, HTTPException(500, "A fault of this service itself; it is noted in its log."))
