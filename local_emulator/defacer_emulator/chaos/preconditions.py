"""Guarantees of Cloud Storage that fake-gcs-server v1.54 lacks, for callers whose connections break.

- Preconditions of a delete, a copy, a composition and the end of a resumable upload. All writes of the functions go
  through this proxy, one at a time for an object, so a check before the write is as good as a transaction.
- The received bytes of a resumable upload. A client that lost a response sends the chunk again, and the server would
  treat it as the next one (https://cloud.google.com/storage/docs/performing-resumable-uploads).
"""

import asyncio
import json
import re
from collections import defaultdict
from urllib.parse import parse_qs, quote, urlsplit

from defacer_emulator.chaos.http import Request, Response, find_header, send, with_header
from defacer_emulator.chaos.subjects import Call, CallClassifier

ENFORCED_VERBS = {"copy", "compose", "delete", "finish"}
RESUME_INCOMPLETE = 308
_CHUNK_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class PreconditionEnforcer:
    """Forwards calls to the server at `upstream`, for callers that reach it at `own_url`."""

    def __init__(self, upstream: str, own_url: str, classifier: CallClassifier):
        self._upstream = upstream
        self._own_url = own_url
        self._classifier = classifier
        self._locks: dict[tuple[str | None, str | None], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._received_bytes: dict[str, int] = {}
        self._finished_sessions: dict[str, Response] = {}

    async def forward(self, request: Request, call: Call) -> Response:
        """Return the server's response, or the one of Cloud Storage where the server would ignore a guarantee."""
        if not call.is_write:
            return (
                await send(self._upstream, request)
                if call.verb != "start"
                else await self._start_session(request, call)
            )
        async with self._locks[call.bucket, call.name]:
            own = self._answer_duplicate(request) or await self._check_precondition(request, call)
            return own or self._record_chunk(request, await send(self._upstream, request))

    async def _start_session(self, request: Request, call: Call) -> Response:
        """Start a resumable upload, and point its URL at this proxy instead of the server."""
        response = await send(self._upstream, request)
        location = find_header(response.headers, "location")
        self._classifier.register_session(call, location)
        return with_header(response, "Location", location.replace(self._upstream, self._own_url))

    async def _check_precondition(self, request: Request, call: Call) -> Response | None:
        """Return 412 if the call's precondition does not hold and the server would not check it."""
        if call.generation is None or call.verb not in ENFORCED_VERBS:
            return None
        if call.verb == "finish" and "*" in request.header("content-range"):
            return None
        target = f"/storage/v1/b/{call.bucket}/o/{quote(call.name or '', safe='')}"
        found = await send(self._upstream, Request("GET", target, (("Host", "storage"),), b"", 0))
        generation = int(json.loads(found.body)["generation"]) if found.status == 200 else 0
        if generation == call.generation or (call.verb == "delete" and not generation):
            return None
        return error_response(412, "At least one of the pre-conditions you specified did not hold.")

    def _answer_duplicate(self, request: Request) -> Response | None:
        """Return the earlier response to a chunk that was received before, or None for a new chunk."""
        session = _session_id(request)
        if session in self._finished_sessions:
            return self._finished_sessions[session]
        chunk = _CHUNK_RANGE.match(request.header("content-range"))
        received = self._received_bytes.get(session, 0)
        if not chunk or int(chunk[2]) >= received:
            return None
        return Response(
            RESUME_INCOMPLETE, (("Range", f"bytes=0-{received - 1}"), ("X-Http-Status-Code-Override", "308"))
        )

    def _record_chunk(self, request: Request, response: Response) -> Response:
        session, chunk = _session_id(request), _CHUNK_RANGE.match(request.header("content-range"))
        if session and response.status == 200:
            self._finished_sessions[session] = response
        elif session and chunk and response.status == RESUME_INCOMPLETE:
            self._received_bytes[session] = int(chunk[2]) + 1
        return response


def error_response(status: int, message: str) -> Response:
    """Return an error in the format of Cloud Storage."""
    document = {"error": {"code": status, "message": message}}
    return Response(status, (("Content-Type", "application/json"),), json.dumps(document).encode())


def _session_id(request: Request) -> str:
    return parse_qs(urlsplit(request.target).query).get("upload_id", [""])[0]
