"""Limit how many requests each caller sends a minute."""

import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request

from defacer.web.common.security import find_user

MAX_CALLERS = 10_000


class RateLimiter:
    """A token bucket for each caller: `per_minute` requests a minute, and as many at once after a pause."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # tokens, and when they were counted

    def enforce(self, request: Request) -> None:
        """Count this request. Raise 429 with `Retry-After` if the caller sent too many."""
        wait = self.seconds_to_wait(identify_caller(request))
        if wait > 0:
            seconds = max(1, round(wait))
            raise HTTPException(
                429, f"Too many requests. Try again in {seconds} s.", {"Retry-After": str(seconds)}
            )

    def seconds_to_wait(self, caller: str) -> float:
        """Count a request of this caller and return 0, or return how long the caller has to wait for the next one."""
        now = self._clock()
        tokens, before = self._buckets.pop(caller, (float(self._per_minute), now))
        tokens = min(float(self._per_minute), tokens + (now - before) * self._per_minute / 60)
        is_allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if is_allowed else tokens, now)
        while len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1 - tokens) * 60 / self._per_minute


def identify_caller(request: Request) -> str:
    """Return the user that Identity-Aware Proxy verified, else the caller's address.

    Each trusted proxy appends its caller to X-Forwarded-For. Entries before those are the caller's own claims.
    """
    user = find_user(request)
    proxies = getattr(request.app.state, "proxies", 0)
    forwarded = [part.strip() for part in ",".join(request.headers.getlist("x-forwarded-for")).split(",")]
    address = forwarded[-proxies] if 0 < proxies <= len(forwarded) else ""
    return (user.email if user else "") or address or (request.client.host if request.client else "?")
