"""Cloud Storage as a browser needs it, before fake-gcs-server, which is made for clients (v1.54.0, measured).

| a browser wants | fake-gcs-server | here |
|---|---|---|
| to ask an upload how far it is (`bytes */N`) | ends the upload | answers 308 and how far, from what went through |
| to read that answer's `Range` | does not let a page of elsewhere | does |
| a 404 for an upload that has ended | hangs up in the middle of a piece | reads the piece, then answers 404 |
| `/BUCKET/OBJECT` at an address that was signed | 404 | reads the object, until the address's time is over |
| an open range of a long video | sends all of it | sends a piece: browsers ask for the next one |

Everything else goes through as it is. Who signed an address is not checked: the emulator has no passwords.
"""

import argparse
import asyncio
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, unquote, urlsplit

from defacer_emulator.chaos.http import Answer, Request, send, serve, without
from defacer_emulator.processes.supervisor import HOST

PIECE_BYTES = 8 * 1024 * 1024
UPLOADS = "/upload/"
API = ("/storage/", "/upload/", "/download/", "/resumable/", "/batch/", "/_internal/", "/b/")
CORS = ("access-control-allow-origin", "access-control-expose-headers", "access-control-allow-credentials")
ANYBODY = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Range, Content-Range, Location"),
)
ALLOWED = (
    ("Access-Control-Allow-Methods", "GET, HEAD, PUT, POST"),
    ("Access-Control-Allow-Headers", "Content-Range, Content-Type, Range"),
)
SENT = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
ASKED = re.compile(r"bytes \*/(\d+)")
OPEN_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Session:
    """An upload under way: how many bytes are there, and the answer to the last of them."""

    arrived: int = 0
    done: Answer | None = None


class StorageBrowserProxy:
    """`handle` answers one request."""

    def __init__(self, upstream: str, own: str):
        self._upstream = upstream
        self._own = own
        self._sessions: dict[str, Session] = {}

    async def handle(self, request: Request) -> Answer:
        path = urlsplit(request.target).path
        if request.method == "OPTIONS":
            return Answer(204, (*ANYBODY, *ALLOWED))
        if path.startswith(UPLOADS):
            answer = await self._upload(request)
        elif request.method in {"GET", "HEAD"} and not path.startswith(API) and path.count("/") > 1:
            answer = await self._read(request)
        else:
            answer = await send(self._upstream, request)
        answer = without(answer, *CORS)
        return replace(answer, headers=(*answer.headers, *ANYBODY))

    async def _upload(self, request: Request) -> Answer:
        session_id = parse_qs(urlsplit(request.target).query).get("upload_id", [""])[0]
        asked, sent = (form.fullmatch(request.header("content-range")) for form in (ASKED, SENT))
        if request.method != "PUT" or not session_id:
            return self._begun(await send(self._upstream, request))
        session = self._sessions.get(session_id)
        if session is None:  # it ended with an earlier emulator
            return Answer(404, (("Content-Type", "text/plain"),), b"There is no such upload.")
        if session.done is not None:
            return session.done
        if asked:
            return _so_far(session)
        if sent and int(sent[1]) != session.arrived:  # sent twice, or too early: only the next bytes count
            return _so_far(session)
        answer = await send(self._upstream, request)
        if sent and answer.status < 400:
            session.arrived = int(sent[2]) + 1
            if session.arrived == int(sent[3]):
                session.done = answer
            else:
                return _so_far(session)
        return answer

    def _begun(self, answer: Answer) -> Answer:
        """Remember a new session. Its address names the server behind, and has to name this one."""
        location = next((value for key, value in answer.headers if key.lower() == "location"), "")
        for session_id in parse_qs(urlsplit(location).query).get("upload_id", []):
            self._sessions[session_id] = Session()
        if not location:
            return answer
        answer = without(answer, "location")
        own = location.replace(self._upstream, self._own)
        return replace(answer, headers=(*answer.headers, ("Location", own)))

    async def _read(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        words = parse_qs(parts.query)
        if _is_over(words):
            return Answer(400, (("Content-Type", "text/plain"),), b"ExpiredToken")
        _, bucket, name = parts.path.split("/", 2)
        generation = "".join(f"&generation={value}" for value in words.get("generation", []))
        target = f"/storage/v1/b/{bucket}/o/{quote(unquote(name), safe='')}?alt=media{generation}"
        start = OPEN_RANGE.fullmatch(request.header("range"))
        headers = tuple(pair for pair in request.headers if not (start and pair[0].lower() == "range"))
        if start:
            headers += (("Range", f"bytes={start[1]}-{int(start[1]) + PIECE_BYTES - 1}"),)
        answer = await send(self._upstream, replace(request, target=target, headers=headers))
        for name in ("content-disposition", "content-type"):
            for word in words.get(f"response-{name}", []):
                answer = without(answer, name)
                answer = replace(answer, headers=(*answer.headers, (name, word)))
        return answer


def _so_far(session: Session) -> Answer:
    return Answer(308, (("Range", f"bytes=0-{session.arrived - 1}"),) if session.arrived else ())


def _is_over(words: dict[str, list[str]]) -> bool:
    """Whether an address was signed, and for a time that is over."""
    if "X-Goog-Date" not in words:
        return False
    since = datetime.strptime(words["X-Goog-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return datetime.now(UTC) > since + timedelta(seconds=int(words["X-Goog-Expires"][0]))


async def _main(upstream: str, port: int) -> None:
    browsing = StorageBrowserProxy(upstream, f"http://{HOST}:{port}")
    server = await serve(browsing.handle, port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("upstream")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(_main(options.upstream, options.port))
