"""A webhook receiver that responds with the given statuses and records its calls."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers import wait_until


@dataclass(frozen=True)
class Call:
    """A request: its path, headers with lowercase names, and body."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """The calls so far. `answers` are the statuses of the next calls. The last status is used repeatedly."""

    def __init__(self, address: str):
        self.address = address
        self.answers = [204]
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def handle(self, call: Call) -> int:
        with self._lock:
            self.calls.append(call)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def wait_for(self, count: int, seconds: float = 60) -> list[Call]:
        wait_until(lambda: len(self.calls) >= count, f"{count} calls arrived", seconds)
        return list(self.calls)


@contextmanager
def open_receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.handle(Call(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{receiver.address}/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
