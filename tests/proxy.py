"""A proxy in front of a real server that lets chosen requests fail, as transient errors of the cloud do."""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from defacer.pipeline.storage import objects
from defacer_emulator.chaos.http import Handler, Request, Response, send, serve_http

# The client looks a bucket's location up by itself, in the background: no step of anything.
BUCKET_LOOKUP = re.compile(r"/storage/v1/b/[^/]+")
AnyProxy = TypeVar("AnyProxy", bound="Proxy")


class Proxy:
    """A proxy whose `fails` selects by method and path the requests that receive a 503.

    `loses` selects requests that the server completes, but whose response is lost. `downloaded_bytes` counts the bytes
    of objects that were read.
    """

    def __init__(self, upstream: str):
        self.fails: Callable[[str, str], bool] = lambda method, path: False
        self.loses: Callable[[str, str], bool] = lambda method, path: False
        self.requests: list[tuple[str, str]] = []
        self.downloaded_bytes = 0
        self.address = ""
        self._upstream = upstream

    @contextmanager
    def failing(self, fails: Callable[[str, str], bool]) -> Iterator[None]:
        """Respond with 503 to the requests that `fails` selects. Storage calls are not retried, publishing is."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(objects, "retries", lambda: None)
            patch.setattr(self, "fails", fails)
            yield

    async def handle(self, request: Request) -> Response:
        step = (request.method, request.target)
        counts = not BUCKET_LOOKUP.fullmatch(urlsplit(request.target).path)
        if counts:
            self.requests.append(step)
        # In a thread, because what a test does there may come through here again.
        if counts and await asyncio.to_thread(self.fails, *step):
            return Response(503, body=b"out of order")
        answer = await self.pass_on(request)
        if request.method == "GET" and "alt=media" in request.target:
            self.downloaded_bytes += len(answer.body)
        if await asyncio.to_thread(self.loses, *step):
            return Response(503, body=b"the answer was lost")
        return answer

    async def pass_on(self, request: Request) -> Response:
        return await send(self._upstream, request)


@contextmanager
def open_proxy(upstream: str, kind: type[AnyProxy]) -> Iterator[AnyProxy]:
    proxy = kind(upstream)
    with serving(proxy.handle) as proxy.address:
        yield proxy


@contextmanager
def serving(handler: Handler, port: int = 0) -> Iterator[str]:
    """Serve a handler on a port in another thread, and yield the address."""
    with running(lambda: serve_http(handler, port)) as address:
        yield address


@contextmanager
def running(start: Callable[[], Awaitable[asyncio.Server]]) -> Iterator[str]:
    """Run a server in another thread, and yield its address."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        server = await start()
        address = "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        started.set_result((address, asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()  # connections that are kept end with the loop

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    address, loop, stop = started.result(10)
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
