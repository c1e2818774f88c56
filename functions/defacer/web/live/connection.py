"""The only connection to a camera's address: it goes to the IP addresses that `url_policy` checked."""

import socket
import ssl
import threading
from contextlib import suppress

from defacer.web.live.url_policy import Address, AddressError

CONNECT_SECONDS = 4.0  # for each IP address
READ_SECONDS = 4.0  # without a byte
# One message for a closed port and for another protocol, so that the service can't be used to scan for open ports.
NO_VIDEO = "No readable video at that address. Check it in a player."


class Connection:
    """A connection that any thread can end at any time, also while it is being opened."""

    def __init__(self, address: Address):
        self._address = address
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._ended = False

    def open(self) -> socket.socket:
        """Connect to the checked IP address, with TLS for https. Raise AddressError if that fails."""
        try:
            plain = self._connect()
            if self._address.scheme != "https":
                return plain
            context, name = ssl.create_default_context(), self._address.host
            encrypted = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
            self._adopt(encrypted)
            encrypted.do_handshake()
            return encrypted
        except (OSError, ValueError) as error:
            raise AddressError(NO_VIDEO) from error

    def end(self) -> None:
        """Shut the connection down. A thread that waits for it stops waiting."""
        with self._lock:
            self._ended = True
            if self._socket is not None:
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection and free the socket. Only the reading thread calls this."""
        self.end()
        if self._socket is not None:
            self._socket.close()

    def _connect(self) -> socket.socket:
        failure = OSError("no IP address")
        for ip in self._address.ips:
            candidate = None
            try:
                candidate = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
                self._adopt(candidate)
                candidate.settimeout(CONNECT_SECONDS)
                candidate.connect((ip, self._address.port))
                candidate.settimeout(READ_SECONDS)
                return self._adopt(candidate)
            except OSError as error:
                if candidate is not None:
                    candidate.close()
                failure = error
                if self._ended:
                    break
        raise failure

    def _adopt(self, candidate: socket.socket) -> socket.socket:
        """Make this the socket that `end` shuts down. Raise OSError if the connection was ended before."""
        with self._lock:
            if self._ended:
                candidate.close()
                raise OSError("the connection was ended")
            self._socket = candidate
        return candidate
