"""`python -m defacer_emulator.chaos SETUP.json`: run the proxies until the process is ended."""

import asyncio
import sys
from pathlib import Path

from defacer_emulator.chaos import http, publish_proxy
from defacer_emulator.chaos.push_proxy import PushProxy
from defacer_emulator.chaos.setup import Run, Setup
from defacer_emulator.chaos.storage_proxy import StorageProxy


async def main(file: Path) -> None:
    """Listen on all three ports until the process ends."""
    setup = Setup.model_validate_json(file.read_bytes())
    run = Run(setup, lambda line: print(line, flush=True))
    publishing = await publish_proxy.serve_publishing(run)
    await http.serve_http(StorageProxy(run).handle, setup.storage_port)
    await http.serve_http(PushProxy(run).handle, setup.push_port)
    await publishing.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
