"""The console behind HTTP, on this test's own buckets; and a browser, where there is one."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import requests
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from defacer.web.common.rate_limit import RateLimiter
from defacer.web.console import jobs, people, policy, review, upload
from defacer.web.console.app import application
from defacer_emulator.chaos.http import Request, Response
from defacer_emulator.services.storage_browser_proxy import StorageBrowserProxy
from tests.cloud import Buckets
from tests.console.rights import refused
from tests.console.visitor import Visitor
from tests.proxy import serving


class _Stage:
    """Whatever application is on it answers. One loop serves all tests: what waits belongs to a loop.

    `busy` is how many requests it is answering, `limited` whether its account's rights count meanwhile.
    """

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.address = ""
        self.busy = 0
        self.limited = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        self.busy += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.busy -= 1


@pytest.fixture(scope="session")
def stage() -> Iterator[_Stage]:
    made = _Stage()
    started: Future[int] = Future()
    config = uvicorn.Config(made, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)

    async def main() -> None:
        serving_ = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        started.set_result(server.servers[0].sockets[0].getsockname()[1])
        await serving_

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    made.address = f"http://127.0.0.1:{started.result(60)}"
    yield made
    server.should_exit = True
    thread.join(30)


@pytest.fixture
def browsing(
    stage: _Stage,
    buckets: Buckets,
    storage_address: str,
    environment: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """Storage as a browser needs it; the functions reach it there too."""
    made: list[StorageBrowserProxy] = []
    missed: list[str] = []

    async def handle(request: Request) -> Response:
        missing = refused(request, buckets) if stage.limited and stage.busy else []
        missed.extend(missing)
        return Response(403, body=b"no right to do this") if missing else await made[0].handle(request)

    with serving(handle) as address:
        made.append(StorageBrowserProxy(storage_address, address))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        environment()
        yield address
    assert missed == [], "the console's account may not do this: infra/pages.tf"


@pytest.fixture
def visitor(stage: _Stage, browsing: str, buckets: Buckets, environment: Callable[..., None]) -> Visitor:
    """Somebody with a browser who has opened the console."""
    environment(console_origin=stage.address)
    for module in (upload, jobs, people, policy, review):
        for value in vars(module).values():
            if isinstance(value, RateLimiter):
                value._left.clear()
    jobs._job_lists.__init__()  # type: ignore[misc]
    stage.app = application()
    return Visitor(stage.address, buckets)


@pytest.fixture
def limited(stage: _Stage) -> Iterator[None]:
    """While the console answers, only what its account may do on Google Cloud is done. For tests without a stream."""
    stage.limited = True
    yield
    stage.limited = False


@pytest.fixture
def stranger() -> Any:
    """Somebody else's page, or a program: a session of its own, without any token."""
    return requests.Session()
