"""`python -m defacer.web.live`: the live page, served until it is stopped."""

import socket
import sys

import uvicorn

from defacer.web.common.server import built, common, options_of
from defacer.web.live.app import application
from defacer.web.live.jpeg import MAX_FRAME_BYTES
from defacer.web.live.sessions import LOST_SECONDS

SEND_BUFFER_BYTES = 256 * 1024


def main() -> int:
    """Serve; gives the exit code."""
    options = options_of("live", __doc__, 8090)
    live = built("live", application, options.behind_proxy)
    if live is None:
        return 2
    config = uvicorn.Config(
        live,
        **common(options.behind_proxy),
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=1.0,
        ws_ping_timeout=LOST_SECONDS - 1.0,
    )
    uvicorn.Server(config).run([listening(options.host, options.port)])
    return 0


def listening(host: str, port: int) -> socket.socket:
    """A socket whose connections notice soon that nobody takes any more what they send."""
    made = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(LOST_SECONDS * 1000))
    return made


if __name__ == "__main__":
    sys.exit(main())
