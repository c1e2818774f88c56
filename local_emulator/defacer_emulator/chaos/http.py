"""HTTP/1.1 for proxies: read whole requests, send whole responses, and cut or slow their transmission.

Bodies are kept in memory: the functions send and read at most 8 MiB at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import urlsplit

from defacer_emulator.processes.supervisor import HOST

MAX_HEAD_BYTES = 256 * 1024
SLOW_CHUNKS = 8
Headers = tuple[tuple[str, str], ...]
# They describe one connection, so a proxy replaces them.
CONNECTION_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


def find_header(headers: Headers, name: str) -> str:
    """Return the first value of a header, or "". The name is lowercase."""
    return next((value for key, value in headers if key.lower() == name), "")


class HangUpError(Exception):
    """The connection is closed without a response."""


@dataclass(frozen=True)
class Request:
    """An HTTP request. `port` is the caller's end of the connection, which identifies the calling process."""

    method: str
    target: str
    headers: Headers
    body: bytes
    port: int

    def header(self, name: str) -> str:
        return find_header(self.headers, name)


@dataclass(frozen=True)
class Response:
    """An HTTP response. `sent` is the share of the body to send before the connection is closed, within `seconds`."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    sent: float = 1.0
    seconds: float = 0.0


@dataclass
class Transmission:
    """How to send a request to a server, and this end's `port` once connected (0 before).

    `sent` and `seconds` are as in `Response`. With `start`, the request is sent after this event is set.
    """

    port: int = 0
    sent: float = 1.0
    seconds: float = 0.0
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    start: asyncio.Event | None = None


Handler = Callable[[Request], Awaitable[Response]]


async def serve_http(handler: Handler, port: int, host: str = HOST) -> asyncio.Server:
    """Listen on this port and answer every request with the handler's response."""

    async def answer_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, HangUpError):
            while (request := await _read_request(reader, writer)) is not None:
                await _write_response(writer, await handler(request))
        writer.close()

    return await asyncio.start_server(answer_requests, host, port, limit=MAX_HEAD_BYTES)


async def send(address: str, request: Request, transmission: Transmission | None = None) -> Response:
    """Forward a request to the server at this address. Raise HangUpError if no complete response arrives."""
    transmission = transmission or Transmission()
    server = urlsplit(address)
    try:
        reader, writer = await asyncio.open_connection(server.hostname, server.port, limit=MAX_HEAD_BYTES)
    except OSError as error:
        raise HangUpError from error
    try:
        transmission.port = writer.get_extra_info("sockname")[1]
        transmission.connected.set()
        if transmission.start:
            await transmission.start.wait()
        head = f"{request.method} {request.target} HTTP/1.1"
        await _write(
            writer, head, request.headers, request.body, transmission.sent, transmission.seconds, "close"
        )
        if transmission.sent < 1:
            raise HangUpError
        return await _read_response(reader, request.method)
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        raise HangUpError from error
    finally:
        writer.close()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    try:
        first, headers = await _read_head(reader)
    except asyncio.IncompleteReadError:
        return None  # the caller has closed its end
    method, target, _ = first.split(" ", 2)
    body = await _read_body(reader, headers, until_close=False)
    return Request(method, target, headers, body, writer.get_extra_info("peername")[1])


async def _read_response(reader: asyncio.StreamReader, method: str) -> Response:
    status = HTTPStatus.CONTINUE.value
    while status < HTTPStatus.OK:
        first, headers = await _read_head(reader)
        status = int(first.split(" ", 2)[1])
    has_no_body = method == "HEAD" or status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    body = b"" if has_no_body else await _read_body(reader, headers, until_close=True)
    return Response(status, headers, body)


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, tuple((key.strip(), value.strip()) for key, _, value in pairs)


async def _read_body(reader: asyncio.StreamReader, headers: Headers, *, until_close: bool) -> bytes:
    if find_header(headers, "transfer-encoding").lower() == "chunked":
        return await _read_chunks(reader)
    if length := find_header(headers, "content-length"):
        return await reader.readexactly(int(length))
    return await reader.read() if until_close else b""


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():
        pass  # trailers
    return b"".join(chunks)


async def _write_response(writer: asyncio.StreamWriter, response: Response) -> None:
    known_statuses = {status.value for status in HTTPStatus}
    phrase = HTTPStatus(response.status).phrase if response.status in known_statuses else "Unknown"
    if response.sent < 1 and not response.body:
        raise HangUpError
    head = f"HTTP/1.1 {response.status} {phrase}"
    await _write(writer, head, response.headers, response.body, response.sent, response.seconds, "keep-alive")
    if response.sent < 1:
        raise HangUpError


async def _write(
    writer: asyncio.StreamWriter,
    first: str,
    headers: Headers,
    body: bytes,
    sent: float,
    seconds: float,
    connection: str,
) -> None:
    forwarded = [f"{key}: {value}" for key, value in headers if key.lower() not in CONNECTION_HEADERS]
    lines = [first, *forwarded, f"Content-Length: {len(body)}", f"Connection: {connection}", "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    body = body[: int(len(body) * sent)]
    if not seconds:
        writer.write(body)
        await writer.drain()
        return
    size = max(1, -(-len(body) // SLOW_CHUNKS))
    for start in range(0, len(body), size):
        await writer.drain()
        await asyncio.sleep(seconds / SLOW_CHUNKS)
        writer.write(body[start : start + size])
    await writer.drain()


def without_headers(response: Response, *names: str) -> Response:
    """Return the response without these headers. The names are lowercase."""
    return replace(response, headers=tuple(pair for pair in response.headers if pair[0].lower() not in names))


def with_header(response: Response, name: str, value: str) -> Response:
    """Return the response with this header in place of one with the same name."""
    return replace(response, headers=(*without_headers(response, name.lower()).headers, (name, value)))
