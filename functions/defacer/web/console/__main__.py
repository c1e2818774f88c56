"""Serve the console until it is stopped: `python -m defacer.web.console`."""

import sys

import uvicorn

from defacer.web.common.uvicorn_server import build_application, parse_options, uvicorn_options
from defacer.web.console.console_app import build_console


def main() -> int:
    """Serve the console. Return the exit code."""
    options = parse_options("console", __doc__, 8080)
    app = build_application("console", build_console, options.behind_proxy)
    if app is None:
        return 2
    config = uvicorn.Config(
        app, host=options.host, port=options.port, **uvicorn_options(options.behind_proxy)
    )
    uvicorn.Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
