"""Limits for callers: requests per minute, and pictures that the engine works on at a time."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from defacer.web.common.security import PERSON

MAX_CALLERS = 10_000
Result = TypeVar("Result")


class RateLimiter:
    """So many a minute for each caller, and as many at once after a pause."""

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic):
        self._a_minute = a_minute
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how many, and when that was

    def require(self, request: Request) -> None:
        """Count one. Raises 429, which says when to come again."""
        wait = self.seconds_to_wait(caller_of(request))
        if wait > 0:
            seconds = max(1, round(wait))
            raise HTTPException(
                429,
                f"That was often, in a short time. Try again in {seconds} s.",
                {"Retry-After": str(seconds)},
            )

    def seconds_to_wait(self, caller: str) -> float:
        """Count one for this caller, or say how long it has to wait for the next."""
        now = self._clock()
        left, before = self._left.pop(caller, (float(self._a_minute), now))
        left = min(float(self._a_minute), left + (now - before) * self._a_minute / 60)
        allowed = left >= 1
        self._left[caller] = (left - 1 if allowed else left, now)
        while len(self._left) > MAX_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) * 60 / self._a_minute


def caller_of(request: Request) -> str:
    """Who asks, as far as anybody knows: whom Identity-Aware Proxy let in, or the address.

    Each proxy adds to X-Forwarded-For whom it was called by; what stands before those is the caller's own invention.
    """
    person = request.scope.get("state", {}).get(PERSON)
    proxies = getattr(request.app.state, "proxies", 0)
    forwarded = [part.strip() for part in ",".join(request.headers.getlist("x-forwarded-for")).split(",")]
    address = forwarded[-proxies] if 0 < proxies <= len(forwarded) else ""
    return person or address or (request.client.host if request.client else "?")


class EngineQueue:
    """The engine works on `at_once` pictures at a time. A few more may wait, and no others."""

    def __init__(self, at_once: int = 1, most_waiting: int = 8):
        self._turns = asyncio.Semaphore(at_once)
        self._most_waiting = most_waiting
        self._waiting = 0

    async def do(self, work: Callable[[], Result]) -> Result:
        """Run this in a thread when it is its turn. Raises 429 if too many wait."""
        if self._waiting >= self._most_waiting:
            raise HTTPException(
                429, "Too many pictures are waiting. Try again in a moment.", {"Retry-After": "5"}
            )
        self._waiting += 1
        try:
            async with self._turns:
                return await run_in_threadpool(work)
        finally:
            self._waiting -= 1
