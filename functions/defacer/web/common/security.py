"""What stands before every page, the live one's too: who may ask, and what a browser may do with the answer.

Who may open them at all is decided before that: by Cloud Run's IAM, or by Identity-Aware Proxy, whose token is checked
here too where the settings name its audience.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from defacer.web.common import iap

SAFE_METHODS = {"GET", "HEAD"}
TOKEN_HEADER, TOKEN_FIELD = "x-csrf-token", "csrf"
PERSON = "person"  # in a request's state: whom Identity-Aware Proxy let in
FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 256 * 1024
MAX_FIELDS = 10_000
OPEN = {"/health"}  # asked by Cloud Run itself


@dataclass(frozen=True)
class Site:
    """What is guarded: what it is called, the one address that it is opened at (None: any), and what its pages may do.

    `storage` are the places in Cloud Storage that pages read pictures and videos from and send videos to. `audience`
    is that of Identity-Aware Proxy's tokens, where it stands before the site.
    """

    name: str
    origin: Callable[[], str | None]
    storage: tuple[str, ...] = ()
    camera: bool = False
    audience: Callable[[], str | None] = lambda: None

    @property
    def headers(self) -> dict[str, str]:
        """Scripts and styles of this address only, none inside a page; no frame, no plugin, no form elsewhere."""
        places = " ".join(("'self'", *self.storage))
        policy = (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src blob: {places}",
            f"media-src blob: {places}",
            f"connect-src {places}",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
        return {
            "Content-Security-Policy": "; ".join(policy),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": f"camera=({'self' if self.camera else ''}), microphone=(), geolocation=()",
        }


class Guard:
    """ASGI middleware: refuses what comes from elsewhere, and says with each answer what its page may do."""

    def __init__(self, app: ASGIApp, site: Site):
        self._app = app
        self._site = site
        self._headers = site.headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = await self._refusal(scope, Headers(scope=scope))
        if scope["type"] == "websocket":
            await (WebSocketClose(1008, refusal) if refusal else self._app)(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
            await send(message)

        app = PlainTextResponse(refusal, status_code=403) if refusal else self._app
        await app(scope, receive, sending)

    async def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        if scope["path"] in OPEN:
            return None
        origin, audience = self._site.origin(), self._site.audience()
        # Else a page of anybody's whose name is made to lead to this machine could read what is here.
        if origin is not None and headers.get("host") != urlsplit(origin).netloc:
            return f"The {self._site.name} is at {origin}."
        # A browser says where a WebSocket comes from, but opens it to anywhere.
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and not is_from_own_page(headers):
            return f"This was not sent by a page of the {self._site.name}. Open the page again and try once more."
        if audience is None:
            return None
        problem = await run_in_threadpool(iap.problem, headers.get(iap.HEADER), audience)
        if problem is None:  # only then does its other header say who that is
            scope.setdefault("state", {})[PERSON] = headers.get("x-goog-authenticated-user-email")
        return problem


def is_from_own_page(headers: Headers) -> bool:
    """Whether a browser says that a page of this very address sends this. Whoever says nothing is no browser."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


def token_of(request: Request) -> str:
    """This browser's token: the one in its cookie, or a new one, which `keep_token` puts there."""
    if not hasattr(request.state, "token"):
        request.state.token = request.cookies.get(_cookie(request)) or secrets.token_urlsafe(32)
    return str(request.state.token)


def keep_token(request: Request, headers: MutableHeaders) -> None:
    """Send the token as a cookie, if the browser has none yet."""
    if _cookie(request) not in request.cookies:
        secure = "; Secure" if request.url.scheme == "https" else ""
        cookie = f"{_cookie(request)}={token_of(request)}; Path=/; HttpOnly; SameSite=Strict{secure}"
        headers.append("Set-Cookie", cookie)


def _cookie(request: Request) -> str:
    # With this prefix browsers take it from this host alone, over HTTPS.
    return "__Host-defacer" if request.url.scheme == "https" else "defacer"


async def require_token(request: Request) -> dict[str, str]:
    """The fields of the form that was sent, or none for any other body, if the token came with it.

    Raises 403, and 413 or 422 for a form that is too large.

    A page of somebody else can send a form here with the browser's cookie, but it can't read the token.
    """
    fields: dict[str, str] = {}
    if request.headers.get("content-type", "").partition(";")[0].strip() == FORM:
        body = (await limited_body(request, MAX_FORM_BYTES)).decode(errors="replace")
        request.state.has_form = True
        try:  # it raises for too many fields, and for nothing else
            fields = dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError as error:
            raise HTTPException(422, f"A form has at most {MAX_FIELDS} fields. Send fewer.") from error
    sent = request.headers.get(TOKEN_HEADER) or fields.pop(TOKEN_FIELD, "")
    fields.pop(TOKEN_FIELD, None)
    kept = request.cookies.get(_cookie(request), "")
    if not kept or not hmac.compare_digest(sent.encode(), kept.encode()):
        raise HTTPException(403, "This page was open for too long. Open it again and try once more.")
    return fields


async def limited_body(request: Request, most: int) -> bytes:
    """Return the whole body. Raise 413 if it has more than `most` bytes, 415 if it was read as a form before."""
    if hasattr(request.state, "has_form"):
        raise HTTPException(415, "A form was sent where a file is expected. Send the file itself.")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise HTTPException(413, f"That is more than the {most / 1024 / 1024:.0f} MiB that are allowed.")
    return bytes(body)
