"""A proxy before a real server that lets some requests fail: the passing faults of the cloud."""

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

# The client looks a bucket's location up by itself, in the background: no step of anything.
BUCKET_LOOKUP = re.compile(r"/storage/v1/b/[^/]+")
UNTOLD = {"transfer-encoding", "connection", "content-length"}


class Proxy:
    """`fails` decides by method and path which requests are answered 503.

    `loses` does so for requests that reach the server and are done there, but whose answer gets lost.
    `downloaded_bytes` are those of objects that were read.
    """

    def __init__(self, address: str):
        self.address = address
        self.fails: Callable[[str, str], bool] = lambda method, path: False
        self.loses: Callable[[str, str], bool] = lambda method, path: False
        self.requests: list[tuple[str, str]] = []
        self.downloaded_bytes = 0


@contextmanager
def open_proxy(upstream: str) -> Iterator[Proxy]:
    target = urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            counts = not BUCKET_LOOKUP.fullmatch(urlsplit(self.path).path)
            if counts:
                proxy.requests.append((self.command, self.path))
            if counts and proxy.fails(self.command, self.path):
                self.reply(503, [], b"out of order")
                return
            connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=30)
            headers = {key: value for key, value in self.headers.items() if key.lower() not in UNTOLD}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if self.command == "GET" and "alt=media" in self.path:
                proxy.downloaded_bytes += len(content)
            if proxy.loses(self.command, self.path):
                self.reply(503, [], b"the answer was lost")
            else:
                self.reply(answer.status, answer.getheaders(), content)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = relay  # noqa: N815 - http.server's names

        def reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for key, value in headers:
                if key.lower() not in UNTOLD:
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that is stopped hangs up: nothing to tell about."""

    server = Server(("127.0.0.1", 0), Handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
