"""How a service of pages is served: its command line, and who is believed about who calls."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette

from defacer.pipeline.settings import SettingsError


def options_of(name: str, purpose: str | None, port: int) -> argparse.Namespace:
    """The options of `python -m defacer.NAME`: `host`, `port`, `behind_proxy`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m defacer.web.{name}", description=purpose, allow_abbrev=False
    )
    parser.add_argument("--host", default="127.0.0.1", help="where it listens (default: this machine alone)")
    parser.add_argument("--port", type=int, default=port, help=f"default: {port}")
    parser.add_argument(
        "--behind-proxy",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="N",
        help="how many proxies stand before it (1 if no number is given; Cloud Run is one, a load balancer before it "
        "another): believe what they say about who calls and by which scheme",
    )
    return parser.parse_args()


def built(name: str, application: Callable[[], Starlette], proxies: int) -> Starlette | None:
    """The application, or None where the environment is not fit for it: then that has been said."""
    try:
        app = application()
    except SettingsError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None
    app.state.proxies = proxies
    return app


def common(proxies: int) -> dict[str, Any]:
    """uvicorn's options. No log of requests: their addresses name channels, people and streams."""
    return {
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": proxies > 0,
        "forwarded_allow_ips": "*" if proxies else None,
        "timeout_graceful_shutdown": 3,
    }
