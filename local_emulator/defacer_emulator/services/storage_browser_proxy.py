"""A proxy that adds the features of Cloud Storage that browsers need and fake-gcs-server lacks (v1.54.0, measured).

| a browser sends | fake-gcs-server | this proxy |
|---|---|---|
| a progress query of an upload (`bytes */N`) | ends the upload | answers 308 with the range that it forwarded |
| a cross-origin read of that answer's `Range` | forbids it | allows it |
| a chunk of an upload that has ended | closes the connection within the chunk | reads the chunk, then answers 404 |
| a signed URL, `/BUCKET/OBJECT` | answers 404 | returns the object until the URL expires |
| an open range of a long video | sends all of it | sends one chunk: browsers request the next one |

Other requests are forwarded unchanged. Signatures are not verified, because the emulator has no passwords.
"""

import argparse
import asyncio
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, unquote, urlsplit

from defacer_emulator.chaos.http import (
    Request,
    Response,
    find_header,
    send,
    serve_http,
    with_header,
    without_headers,
)
from defacer_emulator.processes.supervisor import HOST

CHUNK_BYTES = 8 * 1024 * 1024
UPLOADS = "/upload/"
API = ("/storage/", "/upload/", "/download/", "/resumable/", "/batch/", "/_internal/", "/b/")
REPLACED_HEADERS = (
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-allow-credentials",
)
CORS_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "Range, Content-Range, Location"),
)
PREFLIGHT_HEADERS = (
    ("Access-Control-Allow-Methods", "GET, HEAD, PUT, POST"),
    ("Access-Control-Allow-Headers", "Content-Range, Content-Type, Range"),
)
CHUNK_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
PROGRESS_QUERY = re.compile(r"bytes \*/(\d+)")
OPEN_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class UploadSession:
    """An upload in progress: the number of received bytes, and the response to the last chunk."""

    received: int = 0
    response: Response | None = None


class StorageBrowserProxy:
    """Answers the requests of browsers with the server at `upstream`. Browsers reach it at `own_url`."""

    def __init__(self, upstream: str, own_url: str):
        self._upstream = upstream
        self._own_url = own_url
        self._sessions: dict[str, UploadSession] = {}

    async def handle(self, request: Request) -> Response:
        path = urlsplit(request.target).path
        if request.method == "OPTIONS":
            return Response(204, (*CORS_HEADERS, *PREFLIGHT_HEADERS))
        if path.startswith(UPLOADS):
            response = await self._answer_upload(request)
        elif request.method in {"GET", "HEAD"} and not path.startswith(API) and path.count("/") > 1:
            response = await self._answer_read(request)
        else:
            response = await send(self._upstream, request)
        response = without_headers(response, *REPLACED_HEADERS)
        return replace(response, headers=(*response.headers, *CORS_HEADERS))

    async def _answer_upload(self, request: Request) -> Response:
        session_id = parse_qs(urlsplit(request.target).query).get("upload_id", [""])[0]
        query, chunk = (
            form.fullmatch(request.header("content-range")) for form in (PROGRESS_QUERY, CHUNK_RANGE)
        )
        if request.method != "PUT" or not session_id:
            return self._register_session(await send(self._upstream, request))
        session = self._sessions.get(session_id)
        if session is None:  # of an earlier emulator
            return Response(
                404, (("Content-Type", "text/plain"),), b"This upload does not exist. Start it again."
            )
        if session.response is not None:
            return session.response
        if query:
            return _progress_of(session)
        if chunk and int(chunk[1]) != session.received:  # a duplicate, or out of order
            return _progress_of(session)
        response = await send(self._upstream, request)
        if chunk and response.status < 400:
            session.received = int(chunk[2]) + 1
            if session.received == int(chunk[3]):
                session.response = response
            else:
                return _progress_of(session)
        return response

    def _register_session(self, response: Response) -> Response:
        """Register a new session, and point its URL at this proxy instead of the server."""
        location = find_header(response.headers, "location")
        for session_id in parse_qs(urlsplit(location).query).get("upload_id", []):
            self._sessions[session_id] = UploadSession()
        if not location:
            return response
        return with_header(response, "Location", location.replace(self._upstream, self._own_url))

    async def _answer_read(self, request: Request) -> Response:
        parts = urlsplit(request.target)
        query = parse_qs(parts.query)
        if _is_expired(query):
            return Response(400, (("Content-Type", "text/plain"),), b"ExpiredToken")
        _, bucket, name = parts.path.split("/", 2)
        generation = "".join(f"&generation={value}" for value in query.get("generation", []))
        target = f"/storage/v1/b/{bucket}/o/{quote(unquote(name), safe='')}?alt=media{generation}"
        start = OPEN_RANGE.fullmatch(request.header("range"))
        headers = tuple(pair for pair in request.headers if not (start and pair[0].lower() == "range"))
        if start:
            headers += (("Range", f"bytes={start[1]}-{int(start[1]) + CHUNK_BYTES - 1}"),)
        response = await send(self._upstream, replace(request, target=target, headers=headers))
        for name in ("content-disposition", "content-type"):
            for value in query.get(f"response-{name}", []):
                response = with_header(response, name, value)
        return response


def _progress_of(session: UploadSession) -> Response:
    return Response(308, (("Range", f"bytes=0-{session.received - 1}"),) if session.received else ())


def _is_expired(query: dict[str, list[str]]) -> bool:
    """Return whether this is the query of a signed URL that has expired."""
    if "X-Goog-Date" not in query:
        return False
    signed_at = datetime.strptime(query["X-Goog-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return datetime.now(UTC) > signed_at + timedelta(seconds=int(query["X-Goog-Expires"][0]))


async def _main(upstream: str, port: int, host: str) -> None:
    proxy = StorageBrowserProxy(upstream, f"http://{HOST}:{port}")
    server = await serve_http(proxy.handle, port, host)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=HOST)
    options = parser.parse_args()
    asyncio.run(_main(options.upstream, options.port, options.host))
