"""How often anybody may ask, and how much the engine does at a time."""

import asyncio
import threading

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request

from defacer.web.common.rate_limit import EngineQueue, RateLimiter, caller_of
from defacer.web.console import policy
from tests.console.visitor import Visitor


def test_so_many_a_minute_are_allowed_and_time_brings_them_back() -> None:
    now = 0.0
    rate = RateLimiter(6, clock=lambda: now)

    assert [rate.seconds_to_wait("a") for _ in range(6)] == [0] * 6
    assert rate.seconds_to_wait("a") == pytest.approx(10)
    assert rate.seconds_to_wait("b") == 0
    now = 10.0
    assert rate.seconds_to_wait("a") == 0
    assert rate.seconds_to_wait("a") == pytest.approx(10)
    now = 1000.0
    assert [rate.seconds_to_wait("a") for _ in range(7)].count(0) == 6


def test_previews_are_limited_and_the_answer_says_when_to_come_again(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "PREVIEWS_A_MINUTE", RateLimiter(2, clock=lambda: 0.0))
    address = f"{visitor.at('street', 'policy')}/preview"

    assert [visitor.post(address, {"video": "none.mp4"}).status_code for _ in range(3)] == [404, 404, 429]
    refused = visitor.post(address, {"video": "none.mp4"})
    assert refused.headers["Retry-After"] == "30"
    assert "Try again in 30 s" in refused.json()["error"]


def test_the_engine_looks_at_one_picture_at_a_time_and_few_wait() -> None:
    room = EngineQueue(most_waiting=3)
    go, lock = threading.Event(), threading.Lock()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        go.wait(30)
        with lock:
            inside -= 1

    async def main() -> list[object]:
        tasks = [asyncio.create_task(room.do(work)) for _ in range(5)]
        while sum(task.done() for task in tasks) < 2:
            await asyncio.sleep(0.01)
        go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    refused = [result for result in results if isinstance(result, HTTPException)]
    assert [error.status_code for error in refused] == [429, 429]
    assert most == 1
    assert inside == 0


def asking(proxies: int, *forwarded: str) -> Request:
    app = Starlette()
    app.state.proxies = proxies
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return Request({"type": "http", "app": app, "headers": headers, "client": ("192.0.2.9", 1)})


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("proxies", "forwarded", "caller"),
    [
        (0, ("198.51.100.1",), "192.0.2.9"),
        (1, ("198.51.100.1, 203.0.113.5",), "203.0.113.5"),
        (1, ("198.51.100.1", "203.0.113.5"), "203.0.113.5"),
        (2, ("198.51.100.1, 203.0.113.5, 203.0.113.99",), "203.0.113.5"),
        (2, ("203.0.113.5",), "192.0.2.9"),
        (1, (), "192.0.2.9"),
    ],
)
def test_a_caller_is_known_by_what_the_nearest_proxies_say_and_not_by_what_it_says_itself(
    proxies: int, forwarded: tuple[str, ...], caller: str
) -> None:
    assert caller_of(asking(proxies, *forwarded)) == caller
