"""Serve the live page until it is stopped: `python -m defacer.web.live`."""

import sys

from defacer.web.common.uvicorn_server import build_application, parse_options
from defacer.web.live.live_app import build_live_page
from defacer.web.live.serving import create_listener, serve


def main() -> int:
    """Serve the page. Return the exit code."""
    options = parse_options("live", __doc__, 8090)
    app = build_application("live", build_live_page, options.behind_proxy)
    if app is None:
        return 2
    serve(app, create_listener(options.host, options.port), options.behind_proxy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
