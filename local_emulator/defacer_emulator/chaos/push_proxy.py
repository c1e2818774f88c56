"""The proxy for pushes from Pub/Sub: it duplicates, delays, reorders and loses messages.

It also kills functions, and fills their disk, during a request.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from defacer_emulator.chaos import process_faults
from defacer_emulator.chaos.http import HangUpError, Request, Response, Transmission, send
from defacer_emulator.chaos.setup import FaultChoice, Run

ERROR_FAULTS = ("push-429", "push-500", "push-503")
FAULTS = (
    *("kill", *ERROR_FAULTS, "push-lost", "push-cut", "push-slow"),
    *("push-twice", "push-delay", "push-reorder", "full-disk"),
)
MAX_DELAY_SECONDS = 3.0
MAX_BODY_SECONDS = 2.0
LATER_MESSAGES = 2
MAX_HOLD_SECONDS = 5.0
POLL_SECONDS = 0.05
# The assumed duration of the first request, and the weight of the newest one in the average.
DEFAULT_SECONDS = 0.4
NEWEST_WEIGHT = 0.3


@dataclass(frozen=True)
class _Push:
    """A push to a function, and the fault to inject into it."""

    function: str
    request: Request
    choice: FaultChoice

    @property
    def kind(self) -> str:
        """The kind of the request: requests for one function and step take a similar time."""
        name = self.choice.subject.name
        return f"{name.partition('/')[0]}/{name.rpartition('/')[2].partition('-')[0]}"


class PushProxy:
    """Answers pushes. The path of a push names the function."""

    def __init__(self, run: Run):
        self._run = run
        self._deliveries: dict[str, int] = defaultdict(int)
        self._mean_seconds: dict[str, float] = defaultdict(lambda: DEFAULT_SECONDS)
        self._background: set[asyncio.Task[None]] = set()
        self._full_disks = Counter[int]()

    async def handle(self, request: Request) -> Response:
        function = request.target.strip("/")
        subject = self._run.classifier.classify_push(function, request.body)
        choice = self._run.choose_fault(subject, FAULTS)
        try:
            response = await self._deliver(_Push(function, replace(request, target="/"), choice))
        except HangUpError:
            self._run.journal.log_retry(choice.occurrence, subject, None)
            raise
        if response.status >= 300:
            self._run.journal.log_retry(choice.occurrence, subject, response.status)
        return response

    async def _deliver(self, push: _Push) -> Response:
        fault, share, log_fault = push.choice.fault, push.choice.share, push.choice.log
        if fault is None:
            return await self._send(push)
        if fault == "kill":
            return await self._kill_during(push)
        if fault == "full-disk":
            return await self._fill_disk(push)
        if fault in ERROR_FAULTS:
            log_fault()
            return Response(int(fault.rpartition("-")[2]))
        if fault == "push-lost":
            await self._send(push)
            log_fault("503" if share < 0.5 else "cut")
            if share < 0.5:
                return Response(503)
            raise HangUpError
        if fault in {"push-cut", "push-slow"}:
            seconds = share * MAX_BODY_SECONDS
            log_fault("half of the message" if fault == "push-cut" else f"{seconds:.2f} s")
            transmission = Transmission(sent=0.5) if fault == "push-cut" else Transmission(seconds=seconds)
            return await self._send(push, transmission)
        if fault == "push-twice":
            log_fault("at the same time" if share < 0.5 else "the second one later")
            if share < 0.5:
                return await self._send_twice(push)
            response = await self._send(push)
            self._run_in_background(self._send_later(push, share * MAX_DELAY_SECONDS))
            return response
        if fault == "push-delay":
            log_fault(f"{share * MAX_DELAY_SECONDS:.2f} s")
            await asyncio.sleep(share * MAX_DELAY_SECONDS)
        if fault == "push-reorder":
            log_fault(f"after {await self._hold_back(push.function)} later messages")
        return await self._send(push)

    async def _send(self, push: _Push, transmission: Transmission | None = None) -> Response:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            response = await send(self._run.setup.function_urls[push.function], push.request, transmission)
        finally:
            self._deliveries[push.function] += 1
        mean = self._mean_seconds[push.kind]
        self._mean_seconds[push.kind] = mean + NEWEST_WEIGHT * (loop.time() - started - mean)
        return response

    async def _send_twice(self, push: _Push) -> Response:
        """Send the request twice at once, and return the worse status: Pub/Sub sees one delivery."""
        deliveries = (self._send(push) for _ in range(2))
        responses = await asyncio.gather(*deliveries, return_exceptions=True)
        statuses = [response.status for response in responses if isinstance(response, Response)]
        if len(statuses) < len(responses):
            raise HangUpError
        return Response(max(statuses))

    async def _send_later(self, push: _Push, seconds: float) -> None:
        await asyncio.sleep(seconds)
        with suppress(HangUpError):  # it was an extra delivery
            await self._send(push)

    async def _hold_back(self, function: str) -> int:
        """Wait for later messages to be delivered first, and return their number."""
        before = self._deliveries[function]
        for _ in range(int(MAX_HOLD_SECONDS / POLL_SECONDS)):
            if self._deliveries[function] - before >= LATER_MESSAGES:
                break
            await asyncio.sleep(POLL_SECONDS)
        return self._deliveries[function] - before

    async def _kill_during(self, push: _Push) -> Response:
        """Kill the process that has the request, at a random point of the request's usual duration."""
        transmission = Transmission()
        # Computed before the request is sent, which itself changes the average.
        seconds = self._mean_seconds[push.kind] * push.choice.share
        delivery = asyncio.create_task(self._send(push, transmission))
        pid = await self._find_process(push.function, transmission, delivery)
        if pid is None:
            return await delivery
        await asyncio.wait({delivery}, timeout=seconds)
        if not delivery.done() and process_faults.kill(pid):
            push.choice.log(f"after {seconds:.2f} s")
        return await delivery

    async def _fill_disk(self, push: _Push) -> Response:
        """Limit the file size of the process that accepted the connection, for the length of the request."""
        start = asyncio.Event()
        transmission = Transmission(start=start)
        delivery = asyncio.create_task(self._send(push, transmission))
        pid = await self._find_process(push.function, transmission, delivery, MAX_HOLD_SECONDS)
        if pid is not None:
            push.choice.log()
            self._full_disks[pid] += 1
            process_faults.fill_disk(pid)
        try:
            start.set()
            return await delivery
        finally:
            if pid is not None:
                self._full_disks[pid] -= 1
                if not self._full_disks[pid]:  # it can have several requests
                    process_faults.free_disk(pid)

    async def _find_process(
        self,
        function: str,
        transmission: Transmission,
        delivery: "asyncio.Task[Response]",
        seconds: float = math.inf,
    ) -> int | None:
        """Return the process that accepted the connection, or None if none did before the delivery or time ended."""
        port = int(self._run.setup.function_urls[function].rpartition(":")[2])
        deadline = asyncio.get_running_loop().time() + seconds
        while not delivery.done() and asyncio.get_running_loop().time() < deadline:
            if transmission.port and (
                pid := process_faults.find_owner(self._run.setup.mark, port, transmission.port)
            ):
                return pid
            await asyncio.wait({delivery}, timeout=POLL_SECONDS)
        return None

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
