"""A relay between Pub/Sub and the functions that delivers every message twice, at the same time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from defacer_emulator.emulator import Emulator
from defacer_emulator.services import messaging
from tests.servers import wait_until

OUTSTANDING = 4
BUSY_SECONDS = 120


class Relay:
    """Delivers messages twice, and counts the deliveries in progress."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_progress = 0
        self.delivered: dict[str, int] = {}

    def deliver_twice(self, function: str, url: str, body: bytes, headers: dict[str, str]) -> int:
        """Deliver a message twice, and return the worse status."""
        with self._lock:
            self._in_progress += 1
            self.delivered[function] = self.delivered.get(function, 0) + 1
        try:
            with ThreadPoolExecutor(2) as both:
                answers = both.map(
                    lambda _: requests.post(url, data=body, headers=headers, timeout=600), range(2)
                )
                return max(answer.status_code for answer in answers)
        finally:
            with self._lock:
                self._in_progress -= 1

    def wait_until_idle(self) -> None:
        wait_until(lambda: self._in_progress == 0, "all deliveries were answered", BUSY_SECONDS)


@contextmanager
def duplicate_messages(emulator: Emulator) -> Iterator[Relay]:
    """Deliver every message to its function twice within the block."""
    relay = Relay()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            function = self.path.strip("/")
            headers = {"Content-Type": self.headers["Content-Type"]}
            status = relay.deliver_twice(function, emulator.state.function_urls[function], body, headers)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        names = [function.name for function in emulator.resources.functions]
        address = f"http://127.0.0.1:{server.server_port}"
        replace_subscriptions(emulator, {name: f"{address}/{name}" for name in names})
        yield relay
        replace_subscriptions(emulator, dict(emulator.state.function_urls))
    finally:
        server.shutdown()
        server.server_close()


def replace_subscriptions(emulator: Emulator, urls: dict[str, str]) -> None:
    """Replace every subscription by one that pushes to these URLs."""
    host = emulator.state.pubsub_host
    wanted = [
        messaging.subscription_request(emulator.resources, function, urls[function.name], OUTSTANDING)
        for function in emulator.resources.functions
    ]
    with messaging.create_subscriber(host) as client:
        for subscription in wanted:
            client.delete_subscription(subscription=subscription.name)
    messaging.add_subscriptions(host, wanted)
