"""Protect every page of the console and the live page: who is allowed to send requests, and what a page can do.

Cloud Run's IAM or Identity-Aware Proxy decides first who can open a page. The proxy's token is checked here again if
the settings name its audience.
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
USER = "user"  # key in a request's state: the user that Identity-Aware Proxy names
FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 256 * 1024
MAX_FIELDS = 10_000
UNPROTECTED_PATHS = {"/health"}  # for Cloud Run's health checks


@dataclass(frozen=True)
class Site:
    """The site to protect: its name, its only origin (None: any), and what its pages can do.

    `storage` are the Cloud Storage URLs that pages read from and upload to. `audience` is the audience of the tokens of
    Identity-Aware Proxy, or None without the proxy.
    """

    name: str
    origin: Callable[[], str | None]
    storage: tuple[str, ...] = ()
    camera: bool = False
    audience: Callable[[], str | None] = lambda: None

    @property
    def headers(self) -> dict[str, str]:
        """The security headers. They allow only scripts and styles of this origin, and no inline code or frames."""
        sources = " ".join(("'self'", *self.storage))
        policy = (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src blob: {sources}",
            f"media-src blob: {sources}",
            f"connect-src {sources}",
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


class SecurityMiddleware:
    """ASGI middleware that refuses requests of other sites and adds the security headers to each response."""

    def __init__(self, app: ASGIApp, site: Site):
        self._app = app
        self._site = site
        self._headers = site.headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = await self._find_refusal(scope, Headers(scope=scope))
        if scope["type"] == "websocket":
            await (WebSocketClose(1008, refusal) if refusal else self._app)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                caching = "no-cache" if scope["path"].startswith("/static/") else "no-store"
                headers.setdefault("Cache-Control", caching)
            await send(message)

        app = PlainTextResponse(refusal, status_code=403) if refusal else self._app
        await app(scope, receive, send_with_headers)

    async def _find_refusal(self, scope: Scope, headers: Headers) -> str | None:
        if scope["path"] in UNPROTECTED_PATHS:
            return None
        origin, audience = self._site.origin(), self._site.audience()
        # DNS rebinding: a page of another site whose host name resolves to this machine could read the responses.
        if origin is not None and headers.get("host") != urlsplit(origin).netloc:
            return (
                f"Unknown host: {headers.get('host')}. The {self._site.name} is at {origin}. Open it there."
            )
        # Browsers let any page open a WebSocket to any address, so its origin is checked here.
        is_change = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if is_change and not is_same_origin(headers):
            return f"This request was not sent by a page of the {self._site.name}. Open the page again and retry."
        if audience is None:
            return None
        refusal = await run_in_threadpool(iap.check_token, headers.get(iap.HEADER), audience)
        if refusal is None:  # the header with the user is only trusted beside a valid token
            scope.setdefault("state", {})[USER] = headers.get("x-goog-authenticated-user-email")
        return refusal


def is_same_origin(headers: Headers) -> bool:
    """Return whether a browser states that a page of this origin sent the request. Browsers always state it."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


def get_csrf_token(request: Request) -> str:
    """Return the token in this browser's cookie, or a new token for `set_csrf_cookie`."""
    if not hasattr(request.state, "token"):
        request.state.token = request.cookies.get(_cookie_name(request)) or secrets.token_urlsafe(32)
    return str(request.state.token)


def set_csrf_cookie(request: Request, headers: MutableHeaders) -> None:
    """Send the token as a cookie if the browser has no such cookie yet."""
    if _cookie_name(request) not in request.cookies:
        secure = "; Secure" if request.url.scheme == "https" else ""
        cookie = (
            f"{_cookie_name(request)}={get_csrf_token(request)}; Path=/; HttpOnly; SameSite=Strict{secure}"
        )
        headers.append("Set-Cookie", cookie)


def _cookie_name(request: Request) -> str:
    # Browsers accept the prefix only from this host over HTTPS.
    return "__Host-defacer" if request.url.scheme == "https" else "defacer"


async def require_csrf_token(request: Request) -> dict[str, str]:
    """Return the fields of the form in the body, if the request carries the token. Other bodies have no fields.

    A page of another site can send a form with the browser's cookie, but can't read the token.
    Raise 403 without the token, 413 if the form is too large, and 422 if it has too many fields.
    """
    fields: dict[str, str] = {}
    if request.headers.get("content-type", "").partition(";")[0].strip() == FORM:
        body = (await read_limited_body(request, MAX_FORM_BYTES)).decode(errors="replace")
        request.state.has_form = True
        try:  # raises only for too many fields
            fields = dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError as error:
            raise HTTPException(422, f"The form has more than {MAX_FIELDS} fields. Send fewer.") from error
    sent = request.headers.get(TOKEN_HEADER) or fields.pop(TOKEN_FIELD, "")
    fields.pop(TOKEN_FIELD, None)
    expected = request.cookies.get(_cookie_name(request), "")
    if not expected or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise HTTPException(403, "This page was open for too long. Load it again and retry.")
    return fields


async def read_limited_body(request: Request, max_bytes: int) -> bytes:
    """Return the whole body. Raise 413 if it is larger than `max_bytes`, 415 if it was read as a form before."""
    if hasattr(request.state, "has_form"):
        raise HTTPException(415, "The request holds a form, expected a file. Send the file itself.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            allowed = f"{max_bytes / 1024 / 1024:.0f} MiB"
            raise HTTPException(413, f"The file is larger than {allowed}. Choose a smaller file.")
    return bytes(body)
