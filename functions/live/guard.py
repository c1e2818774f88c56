"""What stands before the live page, beside Cloud Run's IAM: who may ask, and what a browser may do with the answer.

As the console's (functions/console/guard.py), but that the page may use the camera, and for WebSockets, too.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from functions.console.guard import SAFE_METHODS, is_from_own_page
from functions.pipeline.settings import settings

OPEN = {"/health"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware: refuses what comes from elsewhere."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = _refusal(scope, Headers(scope=scope))
        if scope["type"] == "websocket":
            await (WebSocketClose(1008, refusal) if refusal else self._app)(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
            await send(message)

        app = PlainTextResponse(refusal, status_code=403) if refusal else self._app
        await app(scope, receive, sending)


def _refusal(scope: Scope, headers: Headers) -> str | None:
    if scope["path"] in OPEN:
        return None
    origin = settings().live_origin
    # Else a page of anybody's whose name is made to lead to this machine could watch what is here.
    if origin is not None and headers.get("host") != urlsplit(origin).netloc:
        return f"The live page is at {origin}."
    # A browser says where a WebSocket comes from, but opens it to anywhere.
    changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
    if changes and not is_from_own_page(headers):
        return "This was not sent by the live page. Open it again and try once more."
    return None
