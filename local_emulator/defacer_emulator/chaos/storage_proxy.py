"""The proxy for Cloud Storage: it fails, delays and cuts the functions' calls.

It also enforces the guarantees that fake-gcs-server lacks (preconditions.py).
"""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

from defacer.pipeline.storage import object_names
from defacer_emulator.chaos import process_faults
from defacer_emulator.chaos.http import HangUpError, Request, Response, Transmission, send, without_headers
from defacer_emulator.chaos.preconditions import PreconditionEnforcer, error_response
from defacer_emulator.chaos.setup import FaultChoice, Run
from defacer_emulator.chaos.subjects import Call, hash_name

ERROR_FAULTS = ("storage-429", "storage-500", "storage-503")
COMMON_FAULTS = (*ERROR_FAULTS, "storage-lost", "storage-cut", "storage-slow", "storage-delay")
MAX_DELAY_SECONDS = 1.0
MAX_BODY_SECONDS = 2.0
EXPIRED_AT = "2000-01-01T00:00:00Z"
CHECKSUM_HEADERS = ("x-goog-hash", "content-md5", "etag")


class StorageProxy:
    """Answers the requests of functions."""

    def __init__(self, run: Run):
        self._run = run
        self._upstream = run.setup.storage_url
        self._output = run.resources.output
        own_url = run.setup.function_environment["STORAGE_EMULATOR_HOST"]
        self._server = PreconditionEnforcer(run.setup.storage_url, own_url, run.classifier)

    async def handle(self, request: Request) -> Response:
        call = self._run.classifier.parse_call(request)
        if call.verb == "other":
            return await send(self._upstream, request)
        subject = self._run.classifier.classify_call(call)
        choice = self._run.choose_fault(subject, _possible_faults(call))
        if choice.fault is None:
            return await self._forward(request, call)
        return await self._inject(choice.fault, choice, request, call)

    async def _inject(self, fault: str, choice: FaultChoice, request: Request, call: Call) -> Response:
        share = choice.share
        if fault == "lease-jump":
            return _expire_lease(await self._forward(request, call), choice)
        if fault == "kill-at-write":
            return await self._kill_at_write(choice, request, call)
        if fault in ERROR_FAULTS:
            choice.log()
            return error_response(int(fault.rpartition("-")[2]), "injected fault")
        if fault == "storage-lost":
            await self._forward(request, call)
            choice.log("503" if share < 0.5 else "cut")
            if share < 0.5:
                return error_response(503, "injected fault: the response is lost")
            raise HangUpError
        if fault == "storage-cut" and request.body and share < 0.5:
            choice.log("the request's body")
            return await send(self._upstream, request, Transmission(sent=0.5))
        if fault == "storage-delay":
            choice.log(f"{share * MAX_DELAY_SECONDS:.2f} s")
            await asyncio.sleep(share * MAX_DELAY_SECONDS)
            return await self._forward(request, call)
        response = await self._forward(request, call)
        if fault == "storage-slow":
            choice.log(f"{share * MAX_BODY_SECONDS:.2f} s")
            return replace(response, seconds=share * MAX_BODY_SECONDS)
        choice.log("the response's body")
        return replace(response, sent=0.5)

    async def _forward(self, request: Request, call: Call) -> Response:
        response = await self._server.forward(request, call)
        if call.is_write:
            self._log_write(call, response)
        return response

    def _log_write(self, call: Call, response: Response) -> None:
        """Log each version that is written to the output bucket."""
        if call.bucket != self._output or call.verb in {"delete", "mark"} or response.status != 200:
            return
        document = json.loads(response.body)
        version = document.get("resource", document)
        self._run.journal.log_write(hash_name(call.name or ""), str(version.get("generation")))

    async def _kill_at_write(self, choice: FaultChoice, request: Request, call: Call) -> Response:
        before = choice.share < 0.5 or self._run.plan.is_permanent("kill-at-write", choice.occurrence)
        if not before:
            response = await self._forward(request, call)
        pid = process_faults.find_owner(self._run.setup.mark, request.port, self._run.setup.storage_port)
        if pid is None or not process_faults.kill(pid):
            return await self._forward(request, call) if before else response
        choice.log("before" if before else "after")
        raise HangUpError


def _expire_lease(response: Response, choice: FaultChoice) -> Response:
    """Return the lease as a reader sees it whose clock is ahead."""
    if response.status != 200:
        return response
    lease = json.loads(response.body)
    if datetime.fromisoformat(lease["expires_at"]) <= datetime.now(UTC):
        return response
    choice.log(f"valid until {lease['expires_at']}")
    body = json.dumps({**lease, "expires_at": EXPIRED_AT}).encode()
    return replace(without_headers(response, *CHECKSUM_HEADERS), body=body)


def _possible_faults(call: Call) -> tuple[str, ...]:
    """Return the faults that are possible for a call."""
    if call.is_write:
        return ("kill-at-write", *COMMON_FAULTS)
    if call.verb == "read" and object_names.is_lease(call.name or ""):
        return ("lease-jump", *COMMON_FAULTS)
    return COMMON_FAULTS
