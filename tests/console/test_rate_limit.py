"""Rate limits of callers, and the queue for the engine."""

import asyncio
import threading

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from defacer.engine_host import EngineBusyError, WorkQueue
from defacer.web.common.rate_limit import RateLimiter, identify_caller
from defacer.web.console import policy
from tests.console.visitor import Visitor


def test_allowance_of_a_caller_refills_with_time() -> None:
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


def test_too_many_previews_are_refused_with_a_waiting_time(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "PREVIEW_LIMIT", RateLimiter(2, clock=lambda: 0.0))
    address = f"{visitor.url('street', 'policy')}/preview"

    assert [visitor.post(address, {"video": "none.mp4"}).status_code for _ in range(3)] == [404, 404, 429]
    limited = visitor.post(address, {"video": "none.mp4"})
    assert limited.headers["Retry-After"] == "30"
    assert "Try again in 30 s" in limited.json()["error"]


def test_engine_runs_one_task_at_a_time_and_refuses_a_full_queue() -> None:
    queue = WorkQueue(max_running=1, max_queued=3)
    may_finish, lock = threading.Event(), threading.Lock()
    running, most = 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        may_finish.wait(30)
        with lock:
            running -= 1

    async def main() -> list[object]:
        tasks = [asyncio.create_task(queue.run(work)) for _ in range(5)]
        while sum(task.done() for task in tasks) < 2:
            await asyncio.sleep(0.01)
        may_finish.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert [type(result) for result in results].count(EngineBusyError) == 2
    assert most == 1
    assert running == 0


def make_request(proxies: int, *forwarded: str) -> Request:
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
def test_caller_is_identified_by_trusted_proxies_only(
    proxies: int, forwarded: tuple[str, ...], caller: str
) -> None:
    assert identify_caller(make_request(proxies, *forwarded)) == caller
