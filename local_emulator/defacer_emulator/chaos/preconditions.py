"""What Cloud Storage keeps and fake-gcs-server v1.54 does not, for callers whose connections break.

- The preconditions of a delete, a copy, a compose and the end of a resumable upload. All of the functions' writes
  come through here, one at a time for an object, so looking first is as good as a transaction.
- Which bytes of a resumable upload have arrived. A client that lost an answer sends the piece again, and the
  server would take it for the next one (https://cloud.google.com/storage/docs/performing-resumable-uploads).
"""

import asyncio
import json
import re
from collections import defaultdict
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

from defacer_emulator.chaos.http import Answer, Request, send, without
from defacer_emulator.chaos.subjects import Call, CallClassifier

LOOKED_AT_HERE = {"copy", "compose", "delete", "finish"}
MORE = 308
_PIECE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class PreconditionEnforcer:
    """`pass_on` does a call at the server at `upstream`, for callers that know it as `own`."""

    def __init__(self, upstream: str, own: str, things: CallClassifier):
        self._upstream = upstream
        self._own = own
        self._things = things
        self._locks: dict[tuple[str | None, str | None], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._arrived: dict[str, int] = {}
        self._finished: dict[str, Answer] = {}

    async def pass_on(self, request: Request, call: Call) -> Answer:
        """The server's answer, or what Cloud Storage would say where the server would not."""
        if not call.writes:
            return (
                await send(self._upstream, request)
                if call.verb != "start"
                else await self._start(request, call)
            )
        async with self._locks[call.bucket, call.name]:
            known = self._again(request) or await self._refused(request, call)
            return known or self._noted(request, await send(self._upstream, request))

    async def _start(self, request: Request, call: Call) -> Answer:
        """A session begins: its pieces shall come here too."""
        answer = await send(self._upstream, request)
        location = next((value for key, value in answer.headers if key.lower() == "location"), "")
        self._things.started(call, location)
        led_here = location.replace(self._upstream, self._own)
        return replace(answer, headers=(*without(answer, "location").headers, ("Location", led_here)))

    async def _refused(self, request: Request, call: Call) -> Answer | None:
        """412 if this call's precondition does not hold, and the server would not look."""
        if call.generation is None or call.verb not in LOOKED_AT_HERE:
            return None
        if call.verb == "finish" and "*" in request.header("content-range"):
            return None
        target = f"/storage/v1/b/{call.bucket}/o/{quote(call.name or '', safe='')}"
        found = await send(self._upstream, Request("GET", target, (("Host", "storage"),), b"", 0))
        there = int(json.loads(found.body)["generation"]) if found.status == 200 else 0
        if there == call.generation or (call.verb == "delete" and not there):
            return None
        return refusal(412, "At least one of the pre-conditions you specified did not hold.")

    def _again(self, request: Request) -> Answer | None:
        """What was said, or would have been, to a piece that has arrived before."""
        session = _session(request)
        if session in self._finished:
            return self._finished[session]
        piece = _PIECE.match(request.header("content-range"))
        arrived = self._arrived.get(session, 0)
        if not piece or int(piece[2]) >= arrived:
            return None
        return Answer(MORE, (("Range", f"bytes=0-{arrived - 1}"), ("X-Http-Status-Code-Override", "308")))

    def _noted(self, request: Request, answer: Answer) -> Answer:
        session, piece = _session(request), _PIECE.match(request.header("content-range"))
        if session and answer.status == 200:
            self._finished[session] = answer
        elif session and piece and answer.status == MORE:
            self._arrived[session] = int(piece[2]) + 1
        return answer


def refusal(status: int, message: str) -> Answer:
    """An error as Cloud Storage words it."""
    document = {"error": {"code": status, "message": message}}
    return Answer(status, (("Content-Type", "application/json"),), json.dumps(document).encode())


def _session(request: Request) -> str:
    return parse_qs(urlsplit(request.target).query).get("upload_id", [""])[0]
