"""The engine's models: loaded while the page is there already, so that the first stream need not wait for that."""

import asyncio

from starlette.concurrency import run_in_threadpool

from defacer import engine_host
from defacer.engine.errors import EngineError
from defacer.engine.options import Options
from defacer.pipeline import log
from defacer.pipeline.errors import RetryableError


class ModelLoading:
    """Used by the event loop's thread alone."""

    def __init__(self) -> None:
        self._loading: asyncio.Task[None] | None = None
        self.are_loaded = False

    def load(self) -> "asyncio.Task[None]":
        """Begin, unless that was done; once more, if it failed."""
        if self._loading is None or (self._loading.done() and not self.are_loaded):
            self._loading = asyncio.create_task(self._load())
        return self._loading

    async def wait(self) -> None:
        """Until they are loaded. Raises RetryableError if they can't be."""
        await asyncio.shield(self.load())

    async def _load(self) -> None:
        try:
            await run_in_threadpool(_warm_up)
        except EngineError as error:
            log.error("the models can't be loaded", error)
            raise RetryableError(str(error)) from error
        self.are_loaded = True


def _warm_up() -> None:
    with engine_host.ALONE:
        engine_host.engine().warm_up(Options())
