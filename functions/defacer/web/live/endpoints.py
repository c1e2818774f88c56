"""The endpoints that are open for as long as a stream runs: frames in from a camera's page, redacted frames out.

The first message of a page is JSON with the stream's id, and for a camera with its key. Cloud Run logs the URL of each
request, so no URL of a page has them. A message of a camera's page is a double that the page chooses, and a JPEG. A
message to a watching page is that double, the frame's age in seconds as a double, and the redacted JPEG. Text messages
in between are the stream's status as JSON.
"""

import asyncio
import json
import struct
import time
from dataclasses import asdict

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from defacer.engine.errors import EngineError
from defacer.web.common.security import POLICY_VIOLATION
from defacer.web.live.jpeg import Decoder
from defacer.web.live.sessions import (
    CAMERA_GONE,
    CAMERA_TIMEOUT_SECONDS,
    NO_FRAMES,
    SEND_TIMEOUT_SECONDS,
    Session,
    SessionRegistry,
    Viewer,
)
from defacer.web.live.stream import TooManyViewersError
from defacer.web.live.stream_request import StreamAccess

MARK = struct.Struct(">d")
MARK_AND_AGE = struct.Struct(">dd")
STATUS_SECONDS = 0.5
ACCESS_SECONDS = 5.0
BOUNDARY = "defacer"
TOO_MANY_VIEWERS = "This stream has the largest number of viewers. Try again later."
NO_STREAM = "No such stream, or it has ended. Start a new one."
NORMAL_CLOSURE = 1000  # of a WebSocket (RFC 6455)


def require_session(sessions: SessionRegistry, stream: str) -> Session:
    """Return the session of this id. Raise 404 if it does not exist."""
    session = sessions.find(stream)
    if session is None:
        raise HTTPException(404, NO_STREAM)
    return session


async def _accept(socket: WebSocket) -> tuple[Session, str] | None:
    """Accept the socket and return its session and key. Close the socket and return None without a session."""
    await socket.accept()
    try:
        text = await asyncio.wait_for(socket.receive_text(), ACCESS_SECONDS)
        access = StreamAccess.model_validate_json(text)
        return require_session(socket.app.state.sessions, access.stream), access.key
    except WebSocketDisconnect:
        return None
    except (TimeoutError, KeyError, ValidationError, HTTPException):
        await socket.close(POLICY_VIOLATION, NO_STREAM)
        return None


async def camera(socket: WebSocket) -> None:
    """Receive frames from the page that started the stream. The stream ends with it."""
    accepted = await _accept(socket)
    if accepted is None:
        return
    session, key = accepted
    if not session.is_owner(key) or session.has_camera or session.reader is not None:
        await socket.close(POLICY_VIOLATION, "This stream accepts no frames from this page.")
        return
    session.has_camera = True
    decoder, reason = Decoder(), CAMERA_GONE
    try:
        while session.stream.ended is None:
            message = await asyncio.wait_for(socket.receive(), CAMERA_TIMEOUT_SECONDS)
            if message["type"] == "websocket.disconnect":
                break
            data = message.get("bytes") or b""
            if len(data) > MARK.size:
                frame = await run_in_threadpool(decoder.decode, data[MARK.size :])
                await run_in_threadpool(session.stream.add_frame, frame, MARK.unpack_from(data)[0])
    except EngineError as error:
        reason = str(error)
    except TimeoutError:
        reason = NO_FRAMES
    finally:
        session.end(reason)


async def watch(socket: WebSocket) -> None:
    """Send redacted frames and the stream's status to a page."""
    accepted = await _accept(socket)
    if accepted is None:
        return
    session, _ = accepted
    disconnected = asyncio.create_task(_wait_for_disconnect(socket.receive))
    status_sent = 0.0
    try:
        with Viewer(session.stream) as viewer:
            while not disconnected.done():
                frame = await viewer.next_frame(STATUS_SECONDS)
                if frame is not None:
                    head = MARK_AND_AGE.pack(frame.mark, frame.delay_seconds)
                    await asyncio.wait_for(socket.send_bytes(head + frame.jpeg), SEND_TIMEOUT_SECONDS)
                if time.monotonic() - status_sent > STATUS_SECONDS:
                    status_sent = time.monotonic()
                    await asyncio.wait_for(socket.send_text(_status_json(session)), SEND_TIMEOUT_SECONDS)
                if frame is None and session.stream.ended is not None:
                    await socket.send_text(_status_json(session))
                    await socket.close(NORMAL_CLOSURE)
                    return
    except TooManyViewersError:
        await socket.close(POLICY_VIOLATION, TOO_MANY_VIEWERS)
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        pass  # the viewer is gone
    finally:
        disconnected.cancel()


def _status_json(session: Session) -> str:
    stream = session.stream
    return json.dumps({**asdict(stream.status), "watching": stream.viewer_count, "ended": stream.ended})


async def mjpeg(request: Request) -> Response:
    """Return the stream as MJPEG, for OBS or a player. They only know a URL, so it has the id."""
    return _MjpegResponse(require_session(request.app.state.sessions, request.path_params["stream"]))


class _MjpegResponse(Response):
    """Frames as multipart/x-mixed-replace, until the stream or the connection ends."""

    def __init__(self, session: Session):
        super().__init__(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"})
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames."""
        try:
            with Viewer(self._session.stream) as viewer:
                await self._send_frames(viewer, receive, send)
        except TooManyViewersError:
            await JSONResponse({"error": TOO_MANY_VIEWERS}, 429)(scope, receive, send)

    async def _send_frames(self, viewer: Viewer, receive: Receive, send: Send) -> None:
        raw = [header for header in self.raw_headers if header[0] != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        disconnected = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            while not disconnected.done():
                frame = await viewer.next_frame(STATUS_SECONDS)
                if frame is not None:
                    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame.jpeg)}\r\n\r\n"
                    body = head.encode() + frame.jpeg + b"\r\n"
                    message = {"type": "http.response.body", "body": body, "more_body": True}
                    await asyncio.wait_for(send(message), SEND_TIMEOUT_SECONDS)
                elif self._session.stream.ended is not None:
                    await send({"type": "http.response.body", "body": f"--{BOUNDARY}--\r\n".encode()})
                    return
        except (TimeoutError, OSError):
            pass
        finally:
            disconnected.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while not (await receive())["type"].endswith(".disconnect"):
        pass
