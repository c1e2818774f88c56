"""Relay between FFmpeg and an RTSP server (RFC 2326), so that FFmpeg opens no connection of its own.

FFmpeg follows redirects of an RTSP server. This relay ends the connection instead. Video uses the same connection
("interleaved", section 10.12), so no other port is opened.
"""

import re
import socket
import threading
from contextlib import suppress
from typing import BinaryIO

from defacer.web.live.connection import READ_SECONDS, Connection
from defacer.web.live.url_policy import Address

INTERLEAVED = b"$"
MAX_HEADER_BYTES, MAX_BODY_BYTES = 64 * 1024, 256 * 1024
STATUS = re.compile(rb"RTSP/1\.\d (\d)\d\d ")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,7}) *\r\n", re.IGNORECASE)


class RtspRelay:
    """Accepts one connection on this machine and relays it to the address. A context manager."""

    def __init__(self, address: Address):
        self._connection = Connection(address)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(READ_SECONDS)
        self._sockets = [self._listener]
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "RtspRelay":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both connections. Any thread can call this, more than once."""
        self._connection.end()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def open(self) -> None:
        """Start the thread that waits for FFmpeg's connection."""
        threading.Thread(target=self._run, name="live-relay", daemon=True).start()

    def _run(self) -> None:
        try:
            with suppress(Exception):
                inner, _ = self._listener.accept()
                self._sockets.append(inner)
                outer = self._connection.open()
                threading.Thread(target=self._forward_requests, args=(inner, outer), daemon=True).start()
                responses = outer.makefile("rb")
                while message := read_message(responses):
                    inner.sendall(message)
        finally:
            self.close()
            self._connection.close()

    def _forward_requests(self, inner: socket.socket, outer: socket.socket) -> None:
        with suppress(OSError):
            while chunk := inner.recv(65536):
                outer.sendall(chunk)
        self.close()


def read_message(responses: BinaryIO) -> bytes:
    """Return the server's next message, or b"" at the end. Raise ValueError if it must not be relayed."""
    first = responses.read(1)
    if not first:
        return b""
    if first == INTERLEAVED:
        head = responses.read(3)
        return first + head + responses.read(int.from_bytes(head[1:], "big"))
    header = first
    while not header.endswith(b"\r\n\r\n"):
        line = responses.readline(MAX_HEADER_BYTES)
        if not line or len(header) > MAX_HEADER_BYTES:
            raise ValueError("the header of a response has no end")
        header += line if line.endswith(b"\r\n") else line.rstrip(b"\n") + b"\r\n"
    status = STATUS.match(header)
    if status is None or status[1] == b"3":
        raise ValueError("not an RTSP response, or a redirect")
    length = LENGTH.search(header)
    size = int(length[1]) if length else 0
    if size > MAX_BODY_BYTES:
        raise ValueError(f"the response has {size} bytes, at most {MAX_BODY_BYTES} are allowed")
    return header + responses.read(size)
