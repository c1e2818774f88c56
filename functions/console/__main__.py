"""`python -m functions.console`: the console, served until it is stopped."""

import argparse
import sys

import uvicorn

from functions.console.main import application
from functions.pipeline.settings import SettingsError


def main() -> int:
    """Serve; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m functions.console", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--behind-proxy", action="store_true", help="believe what it says about who calls and by which scheme"
    )
    options = parser.parse_args()
    try:
        console = application()
    except SettingsError as error:
        print(f"console: {error}", file=sys.stderr)
        return 2
    # No log of requests: their addresses name channels and people.
    uvicorn.run(
        console,
        host=options.host,
        port=options.port,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=options.behind_proxy,
        forwarded_allow_ips="*" if options.behind_proxy else None,
        timeout_graceful_shutdown=3,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
