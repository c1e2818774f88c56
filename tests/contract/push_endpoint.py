"""A push endpoint that records what comes and answers as a test wants."""

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
    """A push as the endpoint got it; `arrived` in seconds of time.monotonic()."""

    arrived: float
    path: str
    content_type: str
    body: dict[str, Any]
    connection: socket.socket = field(repr=False)

    @property
    def message_id(self) -> str:
        return str(self.body["message"]["messageId"])

    def is_abandoned(self) -> bool:
        """Whether the sender has closed the connection and so waits for no answer."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""


HANG_UP = 0
Answer = Callable[[Received], int]  # an HTTP status, or HANG_UP to close the connection without an answer


class PushEndpoint:
    """Takes pushes in as many threads as come, keeps them, and answers as it is told. Listens within its block."""

    def __init__(self, answer: Answer = lambda _: 204, *, listening: bool = True):
        self.answer = answer
        self.most_at_once = 0
        self._at_once = 0
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
        """Until this is called for an endpoint with `listening=False`, connections are refused."""
        self._listening = True
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def received(self, path: str | None = None) -> list[Received]:
        with self._lock:
            return [received for received in self._received if path in (None, received.path)]

    def wait_for(self, count: int, path: str | None = None, seconds: float = 30) -> list[Received]:
        wait_until(
            lambda: len(self.received(path)) >= count, f"{count} pushes came to {path or '/'}", seconds
        )
        return self.received(path)

    def take(self, received: Received) -> int:
        with self._lock:
            self._received.append(received)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return self.answer(received)
        finally:
            with self._lock:
                self._at_once -= 1

    @property
    def at_once(self) -> int:
        return self._at_once


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """An emulator that has hung up is not worth a traceback."""


def _handler(endpoint: PushEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            arrived = time.monotonic()
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content_type = self.headers["Content-Type"]
            status = endpoint.take(Received(arrived, self.path, content_type, body, self.connection))
            if status == HANG_UP:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
