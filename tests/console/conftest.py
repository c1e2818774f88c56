"""Serve the console over HTTP on the buckets of each test."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from defacer.web.common.rate_limit import RateLimiter
from defacer.web.console import jobs, people, policy, upload
from defacer.web.console.console_app import build_console
from defacer.web.console.review import face_crops, review_changes, source_search
from defacer_emulator.chaos.http import Request, Response
from defacer_emulator.services.storage_browser_proxy import StorageBrowserProxy
from tests.cloud import Buckets
from tests.console.permissions import find_missing
from tests.console.published_job import publish_example
from tests.console.visitor import Visitor
from tests.planned import Planned
from tests.proxy import serving


class ConsoleServer:
    """Serves the application of the current test. All tests share one event loop, because the engine's queue needs one.

    `active_requests` is the number of requests in progress. `limited` restricts them to the account's permissions.
    """

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.address = ""
        self.active_requests = 0
        self.limited = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        self.active_requests += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.active_requests -= 1


@pytest.fixture(scope="session")
def server() -> Iterator[ConsoleServer]:
    console = ConsoleServer()
    started: Future[int] = Future()
    config = uvicorn.Config(
        console,
        host="127.0.0.1",
        port=0,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,  # a test can leave a request unfinished
    )
    http_server = uvicorn.Server(config)

    async def main() -> None:
        task = asyncio.create_task(http_server.serve())
        while not http_server.started:
            await asyncio.sleep(0.01)
        started.set_result(http_server.servers[0].sockets[0].getsockname()[1])
        await task

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    console.address = f"http://127.0.0.1:{started.result(60)}"
    yield console
    http_server.should_exit = True
    thread.join(3)  # it is a daemon: a request that a test left behind does not hold up the end


@pytest.fixture
def storage_proxy(
    server: ConsoleServer,
    buckets: Buckets,
    storage_address: str,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """Serve storage as a browser needs it, and yield its address. The console uses this address too."""
    proxies: list[StorageBrowserProxy] = []
    all_missing: list[str] = []

    async def handle(request: Request) -> Response:
        missing = find_missing(request, buckets) if server.limited and server.active_requests else []
        all_missing.extend(missing)
        return Response(403, body=b"permission denied") if missing else await proxies[0].handle(request)

    with serving(handle) as address:
        proxies.append(StorageBrowserProxy(storage_address, address))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        environment()
        yield address
    assert all_missing == [], "the console's account lacks these permissions: infra/pages.tf"


@pytest.fixture
def visitor(
    server: ConsoleServer, storage_proxy: str, buckets: Buckets, environment: Callable[..., None]
) -> Visitor:
    """Build the console and return a client of it."""
    environment(console_origins=server.address)
    for module in (upload, jobs, people, policy, face_crops, review_changes, source_search):
        for value in vars(module).values():
            if isinstance(value, RateLimiter):
                value._buckets.clear()
    jobs._job_lists.__init__()  # type: ignore[misc]
    server.app = build_console()
    return Visitor(server.address, buckets)


@pytest.fixture
def published(buckets: Buckets, tmp_path: Path) -> Planned:
    """Publish a job whose result is the source itself."""
    return publish_example(buckets, tmp_path)


@pytest.fixture
def limited(server: ConsoleServer) -> Iterator[None]:
    """Allow requests only what the console's account on Google Cloud can do. For tests without a stream of changes."""
    server.limited = True
    yield
    server.limited = False
