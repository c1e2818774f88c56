"""Serve the live page with uvicorn on a socket whose connections soon detect that a peer no longer reads."""

import socket

import uvicorn
from starlette.applications import Starlette

from defacer.web.common.uvicorn_server import uvicorn_options
from defacer.web.live.jpeg import MAX_FRAME_BYTES
from defacer.web.live.sessions import SEND_TIMEOUT_SECONDS

SEND_BUFFER_BYTES = 256 * 1024


def create_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        timeout_ms = int(SEND_TIMEOUT_SECONDS * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
    return listener


def serve(app: Starlette, listener: socket.socket, proxies: int = 0) -> None:
    """Serve the page until the process is stopped."""
    config = uvicorn.Config(
        app,
        **uvicorn_options(proxies),
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=1.0,
        ws_ping_timeout=SEND_TIMEOUT_SECONDS - 1.0,
    )
    uvicorn.Server(config).run([listener])
