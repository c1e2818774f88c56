"""`python -m defacer.web.console`: the console, served until it is stopped."""

import sys

import uvicorn

from defacer.web.common.server import built, common, options_of
from defacer.web.console.app import application


def main() -> int:
    """Serve; gives the exit code."""
    options = options_of("console", __doc__, 8080)
    console = built("console", application, options.behind_proxy)
    if console is None:
        return 2
    config = uvicorn.Config(console, host=options.host, port=options.port, **common(options.behind_proxy))
    uvicorn.Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
