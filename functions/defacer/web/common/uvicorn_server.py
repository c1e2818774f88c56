"""Serve a web service with uvicorn: its command line, and how many proxies it trusts."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette

from defacer.pipeline.settings import SettingsError


def parse_options(name: str, purpose: str | None, port: int) -> argparse.Namespace:
    """Parse the command line of `python -m defacer.web.NAME`: `host`, `port` and `behind_proxy`."""
    parser = argparse.ArgumentParser(
        prog=f"python -m defacer.web.{name}", description=purpose, allow_abbrev=False
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=port, help=f"default: {port}")
    parser.add_argument(
        "--behind-proxy",
        type=int,
        nargs="?",
        const=1,
        default=0,
        metavar="N",
        help="number of proxies in front of the service, 1 without a number: trust their headers about the caller and "
        "the scheme. Cloud Run is one proxy, a load balancer in front of it is another one.",
    )
    return parser.parse_args()


def build_application(name: str, build: Callable[[], Starlette], proxies: int) -> Starlette | None:
    """Build the application. Print the error and return None if the settings are not valid."""
    try:
        app = build()
    except SettingsError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None
    app.state.proxies = proxies
    return app


def uvicorn_options(proxies: int) -> dict[str, Any]:
    """Return the uvicorn options. Requests are not logged: their paths name channels, people and streams."""
    return {
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "proxy_headers": proxies > 0,
        "forwarded_allow_ips": "*" if proxies else None,
        "timeout_graceful_shutdown": 3,
    }
