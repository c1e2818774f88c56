"""HTTP/1.1 as a proxy needs it: whole requests in, whole answers out, and what a bad line does to them.

Bodies are held in memory: what the functions send and read at once is 8 MiB at most.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import urlsplit

from defacer_emulator.processes.supervisor import HOST

HEAD_BYTES = 256 * 1024
PIECES = 8
Headers = tuple[tuple[str, str], ...]
# They are about one connection, not about what is sent over it.
OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


class HangUpError(Exception):
    """The connection ends here, without an answer."""


@dataclass(frozen=True)
class Request:
    """`port` is the caller's end of the connection: it tells which process that is."""

    method: str
    target: str
    headers: Headers
    body: bytes
    port: int

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


@dataclass(frozen=True)
class Answer:
    """`sent` is the share of the body that goes out before the line is cut; `seconds` is how long that takes."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    sent: float = 1.0
    seconds: float = 0.0


@dataclass
class Sending:
    """A request under way to a server. `port` is this end of the connection, 0 before there is one.

    With `may_go` nothing is sent before it is set; the connection stands by then.
    """

    port: int = 0
    sent: float = 1.0
    seconds: float = 0.0
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    may_go: asyncio.Event | None = None


Handler = Callable[[Request], Awaitable[Answer]]


async def serve(handler: Handler, port: int) -> asyncio.Server:
    """Answer every request that comes to this port with what the handler makes of it."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, HangUpError):
            while (request := await _read_request(reader, writer)) is not None:
                await _write_answer(writer, await handler(request))
        writer.close()

    return await asyncio.start_server(connected, HOST, port, limit=HEAD_BYTES)


async def send(address: str, request: Request, sending: Sending | None = None) -> Answer:
    """Pass a request on to the server at this address. Raises HangUpError if no whole answer comes back."""
    sending = sending or Sending()
    server = urlsplit(address)
    try:
        reader, writer = await asyncio.open_connection(server.hostname, server.port, limit=HEAD_BYTES)
    except OSError as error:
        raise HangUpError from error
    try:
        sending.port = writer.get_extra_info("sockname")[1]
        sending.connected.set()
        if sending.may_go:
            await sending.may_go.wait()
        head = f"{request.method} {request.target} HTTP/1.1"
        await _write(writer, head, request.headers, request.body, sending.sent, sending.seconds, "close")
        if sending.sent < 1:
            raise HangUpError
        return await _read_answer(reader, request.method)
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        raise HangUpError from error
    finally:
        writer.close()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    try:
        first, headers = await _read_head(reader)
    except asyncio.IncompleteReadError:
        return None  # the caller has closed its end: no more requests
    method, target, _ = first.split(" ", 2)
    body = await _read_body(reader, headers, until_the_end=False)
    return Request(method, target, headers, body, writer.get_extra_info("peername")[1])


async def _read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    status = HTTPStatus.CONTINUE.value
    while status < HTTPStatus.OK:
        first, headers = await _read_head(reader)
        status = int(first.split(" ", 2)[1])
    bare = method == "HEAD" or status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    body = b"" if bare else await _read_body(reader, headers, until_the_end=True)
    return Answer(status, headers, body)


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, tuple((key.strip(), value.strip()) for key, _, value in pairs)


async def _read_body(reader: asyncio.StreamReader, headers: Headers, *, until_the_end: bool) -> bytes:
    named = {key.lower(): value for key, value in headers}
    if named.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunks(reader)
    if "content-length" in named:
        return await reader.readexactly(int(named["content-length"]))
    return await reader.read() if until_the_end else b""


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():
        pass  # trailers
    return b"".join(chunks)


async def _write_answer(writer: asyncio.StreamWriter, answer: Answer) -> None:
    known = {status.value for status in HTTPStatus}
    phrase = HTTPStatus(answer.status).phrase if answer.status in known else "Unknown"
    if answer.sent < 1 and not answer.body:
        raise HangUpError
    head = f"HTTP/1.1 {answer.status} {phrase}"
    await _write(writer, head, answer.headers, answer.body, answer.sent, answer.seconds, "keep-alive")
    if answer.sent < 1:
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
    kept = [f"{key}: {value}" for key, value in headers if key.lower() not in OF_A_CONNECTION]
    lines = [first, *kept, f"Content-Length: {len(body)}", f"Connection: {connection}", "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    body = body[: int(len(body) * sent)]
    if not seconds:
        writer.write(body)
        await writer.drain()
        return
    size = max(1, -(-len(body) // PIECES))
    for start in range(0, len(body), size):
        await writer.drain()
        await asyncio.sleep(seconds / PIECES)
        writer.write(body[start : start + size])
    await writer.drain()


def without(answer: Answer, *names: str) -> Answer:
    """The answer without these headers, by their names in small letters."""
    return replace(answer, headers=tuple(pair for pair in answer.headers if pair[0].lower() not in names))
