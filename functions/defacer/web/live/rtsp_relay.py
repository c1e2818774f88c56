"""Between FFmpeg and an RTSP server (RFC 2326): the only way out that FFmpeg is given for it.

FFmpeg follows an RTSP server that says the stream is elsewhere. Here such an answer ends the connection. All goes
through this one, pictures too ("interleaved", 10.12), so nothing is opened beside it.
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


class Relay:
    """Listens on this machine for one connection, and passes it on to the address. A context manager."""

    def __init__(self, address: Address):
        self._line = Connection(address)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(READ_SECONDS)
        self._sockets = [self._listener]
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both connections. May be called by any thread, and more than once."""
        self._line.end()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def open(self) -> None:
        """Wait for the connection, in a thread."""
        threading.Thread(target=self._run, name="live-relay", daemon=True).start()

    def _run(self) -> None:
        try:
            with suppress(Exception):
                inner, _ = self._listener.accept()
                self._sockets.append(inner)
                outer = self._line.open()
                back = threading.Thread(target=self._requests, args=(inner, outer), daemon=True)
                back.start()
                answers = outer.makefile("rb")
                while piece := checked(answers):
                    inner.sendall(piece)
        finally:
            self.close()
            self._line.close()

    def _requests(self, inner: socket.socket, outer: socket.socket) -> None:
        with suppress(OSError):
            while piece := inner.recv(65536):
                outer.sendall(piece)
        self.close()


def checked(answers: BinaryIO) -> bytes:
    """The next message of an RTSP server, whole; nothing at the end. Raises ValueError for one not to be passed on."""
    first = answers.read(1)
    if not first:
        return b""
    if first == INTERLEAVED:
        head = answers.read(3)
        return first + head + answers.read(int.from_bytes(head[1:], "big"))
    header = first
    while not header.endswith(b"\r\n\r\n"):
        line = answers.readline(MAX_HEADER_BYTES)
        if not line or len(header) > MAX_HEADER_BYTES:
            raise ValueError("an answer without an end")
        header += line if line.endswith(b"\r\n") else line.rstrip(b"\n") + b"\r\n"
    status = STATUS.match(header)
    if status is None or status[1] == b"3":
        raise ValueError("no answer, or one that leads elsewhere")
    length = LENGTH.search(header)
    size = int(length[1]) if length else 0
    if size > MAX_BODY_BYTES:
        raise ValueError("an answer of no likely size")
    return header + answers.read(size)
