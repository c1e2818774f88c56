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
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from defacer.pipeline.settings import settings
from defacer.web.common import iap

SAFE_METHODS = {"GET", "HEAD"}
TOKEN_HEADER, TOKEN_FIELD = "x-csrf-token", "csrf"
USER = "user"  # key in a request's state: the user that Identity-Aware Proxy verified
FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 256 * 1024
MAX_FIELDS = 10_000
UNPROTECTED_PATHS = {"/health"}  # for Cloud Run's health checks
POLICY_VIOLATION, MAX_REASON_BYTES = 1008, 123  # of a closed WebSocket (RFC 6455)


@dataclass(frozen=True)
class Site:
    """The site to protect: its name, its comma-separated origins, and what its pages can do.

    `storage` are the Cloud Storage URLs that pages read from and upload to.
    """

    name: str
    origins: Callable[[], str]
    storage: tuple[str, ...] = ()
    camera: bool = False

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
            if refusal:
                await refuse_socket(WebSocket(scope, receive, send), refusal)
            else:
                await self._app(scope, receive, send)
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
        origins, audience = self._site.origins().split(","), settings().iap_audience
        # DNS rebinding: a page of another site whose host name resolves to this machine could read the responses. A
        # proxy in front of the service selects the service by its host, so another host does not arrive.
        is_behind_proxy = getattr(scope["app"].state, "proxies", 0) > 0
        host = headers.get("host")
        if not is_behind_proxy and host not in {urlsplit(origin).netloc for origin in origins}:
            return f"Unknown host: {host}. The {self._site.name} is at {origins[0]}. Open it there."
        # Browsers let any page open a WebSocket to any address, so its origin is checked here.
        is_change = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if is_change and not is_own_page(headers, origins):
            return f"This page is not at an address of the {self._site.name}. Open {origins[0]} instead."
        if audience is None:
            return None
        try:
            user = await run_in_threadpool(iap.verify_token, headers.get(iap.HEADER), audience)
        except iap.UnverifiedError as error:
            return str(error)
        scope.setdefault("state", {})[USER] = user
        return None


def find_user(connection: HTTPConnection) -> iap.User | None:
    """Return the user that Identity-Aware Proxy verified for this request, or None without the proxy."""
    user: iap.User | None = connection.scope.get("state", {}).get(USER)
    return user


def is_own_page(headers: Headers, origins: list[str]) -> bool:
    """Return whether a browser states that a page of these origins sent the request. Browsers always state it.

    `Host` is not compared: `gcloud run services proxy` replaces it. Chromium sends no `Sec-Fetch-Site` for a WebSocket.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    return (origin or site) is not None and origin in (None, *origins) and site in (None, "same-origin")


async def refuse_socket(socket: WebSocket, reason: str) -> None:
    """Close the socket with a reason for its page. It is accepted first: a page can't read why a handshake failed."""
    await socket.accept()
    await socket.close(POLICY_VIOLATION, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))


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
