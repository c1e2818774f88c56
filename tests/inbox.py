"""A push endpoint that records every message of its subscriptions."""

import base64
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers import wait_until

Push = dict[str, Any]


class Inbox:
    """The push bodies that have arrived, by topic."""

    def __init__(self, address: str):
        self.address = address
        self._lock = threading.Lock()
        self._pushes: dict[str, list[Push]] = defaultdict(list)

    def add(self, topic: str, push: Push) -> None:
        with self._lock:
            self._pushes[topic].append(push)

    def pushes(self, topic: str) -> list[Push]:
        with self._lock:
            return list(self._pushes[topic])

    def wait_for(self, topic: str, count: int) -> list[Push]:
        """Wait until a topic has at least `count` pushes, and return all of them."""
        wait_until(lambda: len(self.pushes(topic)) >= count, f"{count} messages arrived on {topic}")
        return self.pushes(topic)


def document(push: Push) -> Any:
    """Return the JSON document in a pushed message."""
    return json.loads(base64.b64decode(push["message"]["data"]))


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.add(self.path.strip("/"), json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print nothing when a stopped client closes its connection."""

    server = Server(("127.0.0.1", 0), Handler)
    inbox = Inbox(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
