"""Between the functions and Cloud Storage: calls that fail, take long, or end in the middle.

What fake-gcs-server does not keep is kept here (keeping.py).
"""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

from defacer_emulator.chaos import process_faults
from defacer_emulator.chaos.http import Answer, HangUpError, Request, Sending, send, without
from defacer_emulator.chaos.plan import Moment
from defacer_emulator.chaos.preconditions import PreconditionEnforcer, refusal
from defacer_emulator.chaos.setup import Run
from defacer_emulator.chaos.subjects import Call, Subject, hash_name

REFUSED = ("storage-429", "storage-500", "storage-503")
ANYWHERE = (*REFUSED, "storage-lost", "storage-cut", "storage-slow", "storage-delay")
LONGEST_DELAY_SECONDS = 1.0
LONGEST_BODY_SECONDS = 2.0
LONG_AGO = "2000-01-01T00:00:00Z"
CHECKSUMS = ("x-goog-hash", "content-md5", "etag")


class StorageProxy:
    """`handle` answers one request of a function."""

    def __init__(self, run: Run):
        self._run = run
        self._upstream = run.setup.storage_url
        self._output = run.resources.output
        own = run.setup.for_functions["STORAGE_EMULATOR_HOST"]
        self._keeping = PreconditionEnforcer(run.setup.storage_url, own, run.things)

    async def handle(self, request: Request) -> Answer:
        call = self._run.things.call(request)
        if call.verb == "other":
            return await send(self._upstream, request)
        about = self._run.things.of_call(call)
        moment = self._run.comings.next(about.thing)
        fault = self._run.plan.first(_possible(call), moment)
        if fault is None:
            return await self._pass_on(request, call)
        return await self._strike(fault, request, call, about, moment)

    async def _strike(
        self, fault: str, request: Request, call: Call, about: Subject, moment: Moment
    ) -> Answer:
        share = self._run.plan.share(fault, moment, "how")
        tell = self._run.journal.fault
        if fault == "lease-jump":
            return self._expired(await self._pass_on(request, call), about, moment)
        if fault == "kill-at-write":
            before = share < 0.5 or self._run.plan.always_strikes(fault, moment)
            return await self._kill(request, call, about, moment, before=before)
        if fault in REFUSED:
            tell(fault, moment, about)
            return refusal(int(fault.rpartition("-")[2]), "out of order, on purpose")
        if fault == "storage-lost":
            await self._pass_on(request, call)
            tell(fault, moment, about, "503" if share < 0.5 else "cut")
            if share < 0.5:
                return refusal(503, "the answer was lost, on purpose")
            raise HangUpError
        if fault == "storage-cut" and request.body and share < 0.5:
            tell(fault, moment, about, "the caller's body")
            return await send(self._upstream, request, Sending(sent=0.5))
        if fault == "storage-delay":
            tell(fault, moment, about, f"{share * LONGEST_DELAY_SECONDS:.2f} s")
            await asyncio.sleep(share * LONGEST_DELAY_SECONDS)
            return await self._pass_on(request, call)
        answer = await self._pass_on(request, call)
        if fault == "storage-slow":
            tell(fault, moment, about, f"{share * LONGEST_BODY_SECONDS:.2f} s")
            return replace(answer, seconds=share * LONGEST_BODY_SECONDS)
        tell(fault, moment, about, "the answer's body")
        return replace(answer, sent=0.5)

    async def _pass_on(self, request: Request, call: Call) -> Answer:
        answer = await self._keeping.pass_on(request, call)
        if call.writes:
            self._note(call, answer)
        return answer

    def _note(self, call: Call, answer: Answer) -> None:
        """Tell of each version that comes into being in the output bucket."""
        if call.bucket != self._output or call.verb in {"delete", "mark"} or answer.status != 200:
            return
        document = json.loads(answer.body)
        made = document.get("resource", document)
        self._run.journal.write(hash_name(call.name or ""), str(made.get("generation")))

    def _expired(self, answer: Answer, about: Subject, moment: Moment) -> Answer:
        """A claim as somebody reads it whose clock is ahead."""
        if answer.status != 200:
            return answer
        claim = json.loads(answer.body)
        if datetime.fromisoformat(claim["expires_at"]) <= datetime.now(UTC):
            return answer
        self._run.journal.fault("lease-jump", moment, about, f"it held until {claim['expires_at']}")
        body = json.dumps({**claim, "expires_at": LONG_AGO}).encode()
        return replace(without(answer, *CHECKSUMS), body=body)

    async def _kill(
        self, request: Request, call: Call, about: Subject, moment: Moment, *, before: bool
    ) -> Answer:
        if not before:
            answer = await self._pass_on(request, call)
        pid = process_faults.owner(self._run.setup.mark, request.port, self._run.setup.storage_port)
        if pid is None or not process_faults.kill(pid):
            return await self._pass_on(request, call) if before else answer
        self._run.journal.fault("kill-at-write", moment, about, "before" if before else "after")
        raise HangUpError


def _possible(call: Call) -> tuple[str, ...]:
    """The faults that a call can meet."""
    if call.writes:
        return ("kill-at-write", *ANYWHERE)
    if call.verb == "read" and "/leases/" in (call.name or ""):
        return ("lease-jump", *ANYWHERE)
    return ANYWHERE
