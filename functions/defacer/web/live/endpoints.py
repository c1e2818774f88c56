"""What runs as long as a stream does: frames in from a camera's page, frames out to whoever watches.

A message of a camera is a number of its own, a double, and a JPEG. One to a watching page is that number, how old the
frame is in seconds, a double too, and the de-faced JPEG; in between come texts: JSON of how it goes.
"""

import asyncio
import json
import struct
import time
from dataclasses import asdict

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from defacer.engine.errors import EngineError
from defacer.web.live.jpeg import Decoder
from defacer.web.live.sessions import (
    CLIENT_GONE,
    LOST_SECONDS,
    SILENT,
    SILENT_SECONDS,
    Session,
    Streams,
    Viewer,
)
from defacer.web.live.stream import FullError

MARK = struct.Struct(">d")
MARK_AND_AGE = struct.Struct(">dd")
STATUS_SECONDS = 0.5
KEY_SECONDS = 5.0
BOUNDARY = "defacer"
FULL = "As many watch this stream as may."
NO_STREAM = "There is no such stream, or it has ended."
REFUSED, OVER = 1008, 1000


def session_of(request: Request) -> Session:
    """The session that the address names. Raises HTTPException."""
    session = _found(request)
    if session is None:
        raise HTTPException(404, NO_STREAM)
    return session


def _found(connection: HTTPConnection) -> Session | None:
    streams: Streams = connection.app.state.streams
    return streams.find(connection.path_params["stream"])


async def _welcomed(socket: WebSocket) -> Session | None:
    """The session, its socket accepted; None if there is none: then the socket is closed."""
    session = _found(socket)
    await (socket.accept() if session else socket.close(REFUSED, NO_STREAM))
    return session


async def camera(socket: WebSocket) -> None:
    """Frames from the page that began the stream; the first message is the key. The stream ends with it."""
    session = await _welcomed(socket)
    if session is None:
        return
    try:
        key = await asyncio.wait_for(socket.receive_text(), KEY_SECONDS)
    except (TimeoutError, KeyError, WebSocketDisconnect):
        key = ""
    if not session.is_owner(key) or session.has_camera or session.reader is not None:
        await socket.close(REFUSED, "This stream takes no frames from here.")
        return
    session.has_camera = True
    decoder, why = Decoder(), CLIENT_GONE
    try:
        while session.stream.ended is None:
            message = await asyncio.wait_for(socket.receive(), SILENT_SECONDS)
            if message["type"] == "websocket.disconnect":
                break
            data = message.get("bytes") or b""
            if len(data) > MARK.size:
                frame = await run_in_threadpool(decoder.decode, data[MARK.size :])
                await run_in_threadpool(session.stream.take, frame, MARK.unpack_from(data)[0])
    except EngineError as error:
        why = str(error)
    except TimeoutError:
        why = SILENT
    finally:
        session.end(why)


async def watch(socket: WebSocket) -> None:
    """Frames and how it goes, to a page."""
    session = await _welcomed(socket)
    if session is None:
        return
    leaving = asyncio.create_task(_gone(socket))
    told = 0.0
    try:
        with Viewer(session.stream) as viewer:
            while not leaving.done():
                shown = await viewer.next(STATUS_SECONDS)
                if shown is not None:
                    head = MARK_AND_AGE.pack(shown.mark, shown.delay_seconds)
                    await asyncio.wait_for(socket.send_bytes(head + shown.jpeg), LOST_SECONDS)
                if time.monotonic() - told > STATUS_SECONDS:
                    told = time.monotonic()
                    await asyncio.wait_for(socket.send_text(_status(session)), LOST_SECONDS)
                if shown is None and session.stream.ended is not None:
                    await socket.send_text(_status(session))
                    await socket.close(OVER)
                    return
    except FullError:
        await socket.close(REFUSED, FULL)
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        pass  # whoever watched is gone
    finally:
        leaving.cancel()


def _status(session: Session) -> str:
    stream = session.stream
    return json.dumps({**asdict(stream.status), "watching": stream.watchers, "ended": stream.ended})


async def _gone(socket: WebSocket) -> None:
    """Returns when the other side is gone."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def mjpeg(request: Request) -> Response:
    """An address that OBS or a player can open."""
    return _Mjpeg(session_of(request))


class _Mjpeg(Response):
    """Frames as multipart/x-mixed-replace, until the stream or the connection ends."""

    def __init__(self, session: Session):
        super().__init__(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"})
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with Viewer(self._session.stream) as viewer:
                await self._show(viewer, receive, send)
        except FullError:
            await JSONResponse({"error": FULL}, 429)(scope, receive, send)

    async def _show(self, viewer: Viewer, receive: Receive, send: Send) -> None:
        raw = [header for header in self.raw_headers if header[0] != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        leaving = asyncio.create_task(_hung_up(receive))
        try:
            while not leaving.done():
                shown = await viewer.next(STATUS_SECONDS)
                if shown is not None:
                    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(shown.jpeg)}\r\n\r\n"
                    body = head.encode() + shown.jpeg + b"\r\n"
                    message = {"type": "http.response.body", "body": body, "more_body": True}
                    await asyncio.wait_for(send(message), LOST_SECONDS)
                elif self._session.stream.ended is not None:
                    await send({"type": "http.response.body", "body": f"--{BOUNDARY}--\r\n".encode()})
                    return
        except (TimeoutError, OSError):
            pass
        finally:
            leaving.cancel()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
