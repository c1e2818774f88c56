"""A push endpoint that records each push and responds as the test decides."""

import json
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.servers import wait_until


@dataclass(frozen=True)
class Received:
    """A push that the endpoint received. `arrived` is in seconds of time.monotonic()."""

    arrived: float
    path: str
    content_type: str
    body: dict[str, Any]
    connection: socket.socket = field(repr=False)

    @property
    def message_id(self) -> str:
        return str(self.body["message"]["messageId"])

    def is_abandoned(self) -> bool:
        """Return whether the sender closed the connection and no longer waits for a response."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""


DISCONNECT = 0
Answer = Callable[[Received], int]  # an HTTP status, or DISCONNECT to close the connection without a response


class PushEndpoint:
    """Receive each push in its own thread, record it, and respond with `answer`'s status, within a `with` block."""

    def __init__(self, answer: Answer = lambda _: 204, *, listening: bool = True):
        self.answer = answer
        self.max_concurrent = 0
        self._concurrent = 0
        self._listening = listening
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self), bind_and_activate=False)
        self._server.server_bind()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        if self._listening:
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        if self._listening:
            self._server.shutdown()
        self._server.server_close()

    def listen(self) -> None:
        """Accept connections. An endpoint with `listening=False` refuses them until this call."""
        self._listening = True
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def received(self, path: str | None = None) -> list[Received]:
        with self._lock:
            return [received for received in self._received if path in (None, received.path)]

    def wait_for(self, count: int, path: str | None = None, seconds: float = 30) -> list[Received]:
        wait_until(
            lambda: len(self.received(path)) >= count, f"{count} pushes arrived at {path or '/'}", seconds
        )
        return self.received(path)

    def handle(self, received: Received) -> int:
        with self._lock:
            self._received.append(received)
            self._concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self._concurrent)
        try:
            return self.answer(received)
        finally:
            with self._lock:
                self._concurrent -= 1

    @property
    def concurrent(self) -> int:
        return self._concurrent


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Print no traceback when an emulator closes its connection."""


def _handler(endpoint: PushEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            arrived = time.monotonic()
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content_type = self.headers["Content-Type"]
            status = endpoint.handle(Received(arrived, self.path, content_type, body, self.connection))
            if status == DISCONNECT:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
