"""The one connection to an address that was checked."""

import socket
import ssl
import threading
from contextlib import suppress

from defacer.web.live.url_policy import Address, AddressError

CONNECT_SECONDS = 4.0  # for each IP of the address
READ_SECONDS = 4.0  # without a byte
# Whether nothing answers there, or what answers is something else, is not told: nobody looks for open ports from here.
NO_VIDEO = "There is no video at that address that can be read."


class Connection:
    """Any thread may end it at any moment, while it is being made, too: whoever waits for it then waits no longer."""

    def __init__(self, address: Address):
        self._address = address
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._ended = False

    def open(self) -> socket.socket:
        """A connection to the IP that was checked, with TLS for the name where it is https. Raises AddressError."""
        try:
            made = self._connect()
            if self._address.scheme != "https":
                return made
            context, name = ssl.create_default_context(), self._address.host
            safe = context.wrap_socket(made, server_hostname=name, do_handshake_on_connect=False)
            self._keep(safe)
            safe.do_handshake()
            return safe
        except (OSError, ValueError) as error:
            raise AddressError(NO_VIDEO) from error

    def end(self) -> None:
        """Nothing comes or goes any more."""
        with self._lock:
            self._ended = True
            if self._socket is not None:
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """End it, and free what it took. For the thread that reads."""
        self.end()
        if self._socket is not None:
            self._socket.close()

    def _connect(self) -> socket.socket:
        failure = OSError("no IP")
        for ip in self._address.ips:
            made = None
            try:
                made = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
                self._keep(made)
                made.settimeout(CONNECT_SECONDS)
                made.connect((ip, self._address.port))
                made.settimeout(READ_SECONDS)
                return self._keep(made)
            except OSError as error:
                if made is not None:
                    made.close()
                failure = error
                if self._ended:
                    break
        raise failure

    def _keep(self, made: socket.socket) -> socket.socket:
        """It is what `end` ends from now on. Raises OSError if that was before."""
        with self._lock:
            if self._ended:
                made.close()
                raise OSError("it was ended")
            self._socket = made
        return made
