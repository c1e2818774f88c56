"""Serve the live page until it is stopped: `python -m defacer.web.live`."""

import socket
import sys

import uvicorn

from defacer.web.common.uvicorn_server import build_application, parse_options, uvicorn_options
from defacer.web.live.jpeg import MAX_FRAME_BYTES
from defacer.web.live.live_app import build_live_page
from defacer.web.live.sessions import SEND_TIMEOUT_SECONDS

SEND_BUFFER_BYTES = 256 * 1024


def main() -> int:
    """Serve the page. Return the exit code."""
    options = parse_options("live", __doc__, 8090)
    app = build_application("live", build_live_page, options.behind_proxy)
    if app is None:
        return 2
    config = uvicorn.Config(
        app,
        **uvicorn_options(options.behind_proxy),
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=1.0,
        ws_ping_timeout=SEND_TIMEOUT_SECONDS - 1.0,
    )
    uvicorn.Server(config).run([create_listener(options.host, options.port)])
    return 0


def create_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket whose connections soon detect that a peer no longer reads."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        timeout_ms = int(SEND_TIMEOUT_SECONDS * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
    return listener


if __name__ == "__main__":
    sys.exit(main())
