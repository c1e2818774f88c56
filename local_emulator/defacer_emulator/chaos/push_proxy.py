"""The proxy for pushes from Pub/Sub: it duplicates, delays, reorders and loses messages.

It also kills functions, and fills their disk, during a request.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from defacer_emulator.chaos import process_faults
from defacer_emulator.chaos.http import HangUpError, Request, Response, Transmission, send
from defacer_emulator.chaos.plan import Occurrence
from defacer_emulator.chaos.setup import Run
from defacer_emulator.chaos.subjects import FaultSubject

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
        occurrence = self._run.occurrences.next(subject.name)
        request = replace(request, target="/")
        fault = self._run.plan.first_fault(FAULTS, occurrence)
        try:
            response = await self._deliver(fault, function, request, subject, occurrence)
        except HangUpError:
            self._run.journal.log_retry(occurrence, subject, None)
            raise
        if response.status >= 300:
            self._run.journal.log_retry(occurrence, subject, response.status)
        return response

    async def _deliver(
        self,
        fault: str | None,
        function: str,
        request: Request,
        subject: FaultSubject,
        occurrence: Occurrence,
    ) -> Response:
        if fault is None:
            return await self._send(function, request, subject)
        share = self._run.plan.random_share(fault, occurrence, "how")

        def log_fault(how: str = "") -> None:
            self._run.journal.log_fault(str(fault), occurrence, subject, how)

        if fault == "kill":
            return await self._kill_during(function, request, subject, occurrence)
        if fault == "full-disk":
            return await self._fill_disk(function, request, subject, occurrence)
        if fault in ERROR_FAULTS:
            log_fault()
            return Response(int(fault.rpartition("-")[2]))
        if fault == "push-lost":
            await self._send(function, request, subject)
            log_fault("503" if share < 0.5 else "cut")
            if share < 0.5:
                return Response(503)
            raise HangUpError
        if fault in {"push-cut", "push-slow"}:
            seconds = share * MAX_BODY_SECONDS
            log_fault("half of the message" if fault == "push-cut" else f"{seconds:.2f} s")
            transmission = Transmission(sent=0.5) if fault == "push-cut" else Transmission(seconds=seconds)
            return await self._send(function, request, subject, transmission)
        if fault == "push-twice":
            log_fault("at the same time" if share < 0.5 else "the second one later")
            if share < 0.5:
                return await self._send_twice(function, request, subject)
            response = await self._send(function, request, subject)
            self._run_in_background(self._send_later(function, request, subject, share * MAX_DELAY_SECONDS))
            return response
        if fault == "push-delay":
            log_fault(f"{share * MAX_DELAY_SECONDS:.2f} s")
            await asyncio.sleep(share * MAX_DELAY_SECONDS)
        if fault == "push-reorder":
            log_fault(f"after {await self._hold_back(function)} later messages")
        return await self._send(function, request, subject)

    async def _send(
        self, function: str, request: Request, subject: FaultSubject, transmission: Transmission | None = None
    ) -> Response:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            response = await send(self._run.setup.function_urls[function], request, transmission)
        finally:
            self._deliveries[function] += 1
        kind = _kind(subject)
        self._mean_seconds[kind] += NEWEST_WEIGHT * (loop.time() - started - self._mean_seconds[kind])
        return response

    async def _send_twice(self, function: str, request: Request, subject: FaultSubject) -> Response:
        """Send the request twice at once, and return the worse status: Pub/Sub sees one delivery."""
        deliveries = (self._send(function, request, subject) for _ in range(2))
        responses = await asyncio.gather(*deliveries, return_exceptions=True)
        statuses = [response.status for response in responses if isinstance(response, Response)]
        if len(statuses) < len(responses):
            raise HangUpError
        return Response(max(statuses))

    async def _send_later(
        self, function: str, request: Request, subject: FaultSubject, seconds: float
    ) -> None:
        await asyncio.sleep(seconds)
        try:
            await self._send(function, request, subject)
        except HangUpError:
            return  # it was an extra delivery

    async def _hold_back(self, function: str) -> int:
        """Wait for later messages to be delivered first, and return their number."""
        before = self._deliveries[function]
        for _ in range(int(MAX_HOLD_SECONDS / POLL_SECONDS)):
            if self._deliveries[function] - before >= LATER_MESSAGES:
                break
            await asyncio.sleep(POLL_SECONDS)
        return self._deliveries[function] - before

    async def _kill_during(
        self, function: str, request: Request, subject: FaultSubject, occurrence: Occurrence
    ) -> Response:
        """Kill the process that has the request, at a random point of the request's usual duration."""
        transmission = Transmission()
        # Computed before the request is sent, which itself changes the average.
        seconds = self._mean_seconds[_kind(subject)] * self._run.plan.random_share("kill", occurrence, "how")
        delivery = asyncio.create_task(self._send(function, request, subject, transmission))
        pid = await self._find_process(function, transmission, delivery)
        if pid is None:
            return await delivery
        await asyncio.wait({delivery}, timeout=seconds)
        if not delivery.done() and process_faults.kill(pid):
            self._run.journal.log_fault("kill", occurrence, subject, f"after {seconds:.2f} s")
        return await delivery

    async def _fill_disk(
        self, function: str, request: Request, subject: FaultSubject, occurrence: Occurrence
    ) -> Response:
        """Limit the file size of the process that accepted the connection, for the length of the request."""
        start = asyncio.Event()
        transmission = Transmission(start=start)
        delivery = asyncio.create_task(self._send(function, request, subject, transmission))
        pid = await self._find_process(function, transmission, delivery, MAX_HOLD_SECONDS)
        if pid is not None:
            self._run.journal.log_fault("full-disk", occurrence, subject)
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


def _kind(subject: FaultSubject) -> str:
    """Return the kind of a request: requests for one function and step take a similar time."""
    return f"{subject.name.partition('/')[0]}/{subject.name.rpartition('/')[2].partition('-')[0]}"
