"""`python -m functions.live`: the live page, served until it is stopped."""

import argparse
import socket
import sys

import uvicorn

from functions.live.jpeg import MOST_FRAME_BYTES
from functions.live.main import application
from functions.live.streams import LOST_SECONDS
from functions.pipeline.settings import SettingsError

SEND_BUFFER_BYTES = 256 * 1024


def main() -> int:
    """Serve; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m functions.live", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument(
        "--behind-proxy", action="store_true", help="believe what it says about who calls and by which scheme"
    )
    options = parser.parse_args()
    try:
        live = application()
    except SettingsError as error:
        print(f"live: {error}", file=sys.stderr)
        return 2
    # No log of requests: their addresses name streams.
    server = uvicorn.Server(
        uvicorn.Config(
            live,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=options.behind_proxy,
            forwarded_allow_ips="*" if options.behind_proxy else None,
            timeout_graceful_shutdown=3,
            ws="websockets-sansio",
            ws_max_size=MOST_FRAME_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=1.0,
            ws_ping_timeout=LOST_SECONDS - 1.0,
        )
    )
    server.run([listening(options.host, options.port)])
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
