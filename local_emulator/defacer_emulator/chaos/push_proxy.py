"""Between Pub/Sub and the functions: messages that come twice, late, in another order, or not at all, and functions
that die, or find the disk full, while they are at it."""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from defacer_emulator.chaos import process_faults
from defacer_emulator.chaos.http import Answer, HangUpError, Request, Sending, send
from defacer_emulator.chaos.plan import Moment
from defacer_emulator.chaos.setup import Run
from defacer_emulator.chaos.subjects import Subject

REFUSED = ("push-429", "push-500", "push-503")
FAULTS = (
    *("kill", *REFUSED, "push-lost", "push-cut", "push-slow"),
    *("push-twice", "push-delay", "push-reorder", "full-disk"),
)
LONGEST_DELAY_SECONDS = 3.0
LONGEST_BODY_SECONDS = 2.0
LATER_ONES = 2
LONGEST_HELD_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 0.05
# A request's length before any was seen, and how much the newest one counts.
FIRST_GUESS_SECONDS = 0.4
NEWEST = 0.3


class PushProxy:
    """`handle` answers one push. The path names the function."""

    def __init__(self, run: Run):
        self._run = run
        self._passed: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = defaultdict(lambda: FIRST_GUESS_SECONDS)
        self._later: set[asyncio.Task[None]] = set()
        self._full_disks = Counter[int]()

    async def handle(self, request: Request) -> Answer:
        function = request.target.strip("/")
        about = self._run.things.of_push(function, request.body)
        moment = self._run.comings.next(about.thing)
        request = replace(request, target="/")
        fault = self._run.plan.first(FAULTS, moment)
        try:
            answer = await self._deliver(fault, function, request, about, moment)
        except HangUpError:
            self._run.journal.retry(moment, about, None)
            raise
        if answer.status >= 300:
            self._run.journal.retry(moment, about, answer.status)
        return answer

    async def _deliver(
        self, fault: str | None, function: str, request: Request, about: Subject, moment: Moment
    ) -> Answer:
        if fault is None:
            return await self._send(function, request, about)
        share = self._run.plan.share(fault, moment, "how")

        def tell(how: str = "") -> None:
            self._run.journal.fault(str(fault), moment, about, how)

        if fault == "kill":
            return await self._kill(function, request, about, moment)
        if fault == "full-disk":
            return await self._fill_disk(function, request, about, moment)
        if fault in REFUSED:
            tell()
            return Answer(int(fault.rpartition("-")[2]))
        if fault == "push-lost":
            await self._send(function, request, about)
            tell("503" if share < 0.5 else "cut")
            if share < 0.5:
                return Answer(503)
            raise HangUpError
        if fault in {"push-cut", "push-slow"}:
            seconds = share * LONGEST_BODY_SECONDS
            tell("half a message" if fault == "push-cut" else f"{seconds:.2f} s")
            sending = Sending(sent=0.5) if fault == "push-cut" else Sending(seconds=seconds)
            return await self._send(function, request, about, sending)
        if fault == "push-twice":
            tell("at the same time" if share < 0.5 else "again later")
            if share < 0.5:
                return await self._both(function, request, about)
            answer = await self._send(function, request, about)
            self._soon(self._again(function, request, about, share * LONGEST_DELAY_SECONDS))
            return answer
        if fault == "push-delay":
            tell(f"{share * LONGEST_DELAY_SECONDS:.2f} s")
            await asyncio.sleep(share * LONGEST_DELAY_SECONDS)
        if fault == "push-reorder":
            tell(f"behind {await self._hold_back(function)} later ones")
        return await self._send(function, request, about)

    async def _send(
        self, function: str, request: Request, about: Subject, sending: Sending | None = None
    ) -> Answer:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            answer = await send(self._run.setup.function_urls[function], request, sending)
        finally:
            self._passed[function] += 1
        kind = _kind(about)
        self._seconds[kind] += NEWEST * (loop.time() - started - self._seconds[kind])
        return answer

    async def _both(self, function: str, request: Request, about: Subject) -> Answer:
        """The worse of two answers: Pub/Sub hears of one delivery only."""
        both = (self._send(function, request, about) for _ in range(2))
        answers = await asyncio.gather(*both, return_exceptions=True)
        statuses = [answer.status for answer in answers if isinstance(answer, Answer)]
        if len(statuses) < len(answers):
            raise HangUpError
        return Answer(max(statuses))

    async def _again(self, function: str, request: Request, about: Subject, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            await self._send(function, request, about)
        except HangUpError:
            return  # it was one too many anyway

    async def _hold_back(self, function: str) -> int:
        """Wait until later messages have gone by; gives how many did."""
        before = self._passed[function]
        for _ in range(int(LONGEST_HELD_SECONDS / LOOK_AGAIN_SECONDS)):
            if self._passed[function] - before >= LATER_ONES:
                break
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return self._passed[function] - before

    async def _kill(self, function: str, request: Request, about: Subject, moment: Moment) -> Answer:
        """End the process that the request is in, somewhere in its time."""
        sending = Sending()
        # Before the request is sent: it counts as one of those that take their time.
        seconds = self._seconds[_kind(about)] * self._run.plan.share("kill", moment, "how")
        delivery = asyncio.create_task(self._send(function, request, about, sending))
        pid = await self._process(function, sending, delivery)
        if pid is None:
            return await delivery
        await asyncio.wait({delivery}, timeout=seconds)
        if not delivery.done() and process_faults.kill(pid):
            self._run.journal.fault("kill", moment, about, f"after {seconds:.2f} s")
        return await delivery

    async def _fill_disk(self, function: str, request: Request, about: Subject, moment: Moment) -> Answer:
        """Let the process that has taken the connection find the disk full from the request's beginning to its end."""
        may_go = asyncio.Event()
        sending = Sending(may_go=may_go)
        delivery = asyncio.create_task(self._send(function, request, about, sending))
        pid = await self._process(function, sending, delivery, LONGEST_HELD_SECONDS)
        if pid is not None:
            self._run.journal.fault("full-disk", moment, about)
            self._full_disks[pid] += 1
            process_faults.fill_disk(pid)
        try:
            may_go.set()
            return await delivery
        finally:
            if pid is not None:
                self._full_disks[pid] -= 1
                if not self._full_disks[pid]:  # it may have several requests
                    process_faults.free_disk(pid)

    async def _process(
        self, function: str, sending: Sending, delivery: "asyncio.Task[Answer]", seconds: float = math.inf
    ) -> int | None:
        """Who has taken the connection; None if the delivery ended, or the time, before anybody was seen to have it."""
        port = int(self._run.setup.function_urls[function].rpartition(":")[2])
        give_up = asyncio.get_running_loop().time() + seconds
        while not delivery.done() and asyncio.get_running_loop().time() < give_up:
            if sending.port and (pid := process_faults.owner(self._run.setup.mark, port, sending.port)):
                return pid
            await asyncio.wait({delivery}, timeout=LOOK_AGAIN_SECONDS)
        return None

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)


def _kind(about: Subject) -> str:
    """The requests that take about as long: a function's, of one step."""
    return f"{about.thing.partition('/')[0]}/{about.thing.rpartition('/')[2].partition('-')[0]}"
