"""The console: an ASGI application, for whoever may see a channel's videos. `python -m
defacer.web.console` serves it."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from defacer.pipeline import log
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage.objects import AlreadyWrittenError
from defacer.web.common.page_templates import static_of
from defacer.web.common.security import Guard, Site, require_token
from defacer.web.console import channels, jobs, people, policy, review, signed_urls, upload
from defacer.web.console.rendering import HERE, page

Page = Callable[[Request], Awaitable[Response]]
Change = Callable[[Request, dict[str, str]], Awaitable[Response]]
CHANNEL = "/channels/{channel}"
JOB = CHANNEL + "/jobs/{job}"
STATUS_TITLES = {404: "There is nothing here", 403: "Not allowed", 429: "Too often", 503: "Not now"}


def application() -> Starlette:
    """The whole console. Raises SettingsError if the environment is not fit for it."""
    settings()
    log.configure()
    site = Site(
        "console",
        origin=lambda: settings().console_origin,
        storage=signed_urls.places(),
        audience=lambda: settings().console_iap_audience,
    )
    return Starlette(
        routes=[
            Route("/health", lambda _: PlainTextResponse("ready")),
            Route("/", channels.show),
            _changing("/channels", channels.open_channel),
            Route(CHANNEL + "/drop", upload.show),
            _changing(CHANNEL + "/uploads", upload.start),
            Route(CHANNEL + "/people", people.show),
            Route(CHANNEL + "/people/picture", people.picture),
            _changing(CHANNEL + "/people/pictures", people.add),
            _changing(CHANNEL + "/people/check", people.check),
            _changing(CHANNEL + "/people/rename", people.rename),
            _changing(CHANNEL + "/people/remove", people.remove),
            Route(CHANNEL + "/policy", policy.show),
            _changing(CHANNEL + "/policy/save", policy.save),
            _changing(CHANNEL + "/policy/replacement", policy.replace_picture),
            _changing(CHANNEL + "/policy/preview", policy.preview),
            Route(CHANNEL + "/jobs", jobs.show),
            Route(CHANNEL + "/jobs/live", jobs.live),
            _changing(JOB + "/again", jobs.again),
            Route(JOB, review.show),
            Route(JOB + "/source", review.source),
            Route(JOB + "/result", review.result),
            Route(JOB + "/report", review.report),
            Route(JOB + "/tracks/{track:int}", review.track),
            _changing(JOB + "/decisions", review.decide),
            static_of(HERE),
        ],
        middleware=[Middleware(Guard, site=site)],
        exception_handlers={
            HTTPException: _told,
            PermanentError: _told,
            RetryableError: _told,
            AlreadyWrittenError: _told,
            Exception: _unexpected,
        },
    )


def _changing(path: str, change: Change) -> Route:
    """A route that changes something or costs something: by POST, with this browser's token."""

    async def guarded(request: Request) -> Response:
        return await change(request, await require_token(request))

    return Route(path, guarded, methods=["POST"])


async def _told(request: Request, error: Exception) -> Response:
    """What went wrong, as a page or, for a script, as a document."""
    status, sentence, headers = 500, "Something went wrong.", None
    if isinstance(error, HTTPException):
        status, sentence, headers = error.status_code, error.detail, error.headers
    elif isinstance(error, PermanentError):
        status, sentence = 422, str(error)
    elif isinstance(error, AlreadyWrittenError):
        status, sentence = 409, "Somebody else changed the same thing in this moment. Load the page again."
    elif isinstance(error, RetryableError):
        log.warning("storage did not do what a page asked of it", error)
        status, sentence = 503, "Cloud Storage does not answer as it should. Try again in a moment."
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": sentence}, status, headers)
    answer = page(
        request, "error.html", status, title=STATUS_TITLES.get(status, "That did not work"), sentence=sentence
    )
    answer.headers.update(headers or {})
    return answer


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("an unexpected error in the console", error)
    return await _told(request, HTTPException(500, "A fault of the console itself; it is noted in its log."))
