"""Addresses that a user gives: which may be read, and the one connection to each.

A service that reads what it is told to read can be told to read what only it can reach. So an address is taken apart
and checked here, its name is looked up once, every answer is checked, and the connection goes to the answer that was
checked. Nothing else connects: FFmpeg is given a stream of bytes, or for RTSP a relay (relay.py).
"""

import ipaddress
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

PORTS = {"http": 80, "https": 443, "rtsp": 554}
MOST_CHARACTERS = 2000
MOST_ANSWERS = 3  # that are tried
CONNECT_SECONDS, READ_SECONDS = 4.0, 4.0
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# All that is given out (RFC 4291, 2.4). Outside are old forms that Python calls global: ::7f00:1, 64:ff9b:1::, fec0::.
GIVEN_OUT = ipaddress.ip_network("2000::/3")
# Not every Python knows of the first two; the last one is a cloud's metadata at an address that everybody could have.
NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("3fff::/20", "192.88.99.0/24", "168.63.129.16/32")))
PRINTABLE = re.compile(r"[!-~]+")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


class AddressError(Exception):
    """An address that is not read, or where nothing can be read. Every message is a sentence for who gave it."""


@dataclass(frozen=True)
class Rules:
    """Which addresses may be read. `hosts`: these and what ends in ".HOST"; none: any public one.

    `loopback`: also this machine itself, for trying it out.
    """

    schemes: tuple[str, ...] = ("https", "http", "rtsp")
    hosts: tuple[str, ...] = ()
    loopback: bool = False


@dataclass(frozen=True)
class Address:
    """An address that may be read. `ips` are what its name was found to be, and what is connected to."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)  # path and query
    credentials: tuple[str, str] | None = field(repr=False)
    ips: tuple[str, ...]

    def connect(self, hold: Callable[[socket.socket], None] = lambda _: None) -> socket.socket:
        """A connection to the address that was checked, with TLS for the name where it is https.

        `hold` is given it as soon as there is one: whoever shuts it down from another thread ends what this waits for.
        """
        try:
            made = self._connect()
            made.settimeout(READ_SECONDS)
            if self.scheme != "https":
                hold(made)
                return made
            context = ssl.create_default_context()
            secure = context.wrap_socket(made, server_hostname=self.host, do_handshake_on_connect=False)
            hold(secure)
            secure.do_handshake()
            return secure
        except OSError as error:
            raise AddressError("Nothing answers at that address.") from error

    def _connect(self) -> socket.socket:
        for ip in self.ips[:-1]:
            with suppress(OSError):
                return socket.create_connection((ip, self.port), CONNECT_SECONDS)
        return socket.create_connection((self.ips[-1], self.port), CONNECT_SECONDS)


def resolve(host: str, port: int) -> list[str]:
    """All that the name stands for."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressError("That host is not known.") from error
    return [str(answer[4][0]) for answer in found]


def check(text: str, rules: Rules, resolve: Resolve = resolve) -> Address:
    """The address, if it may be read. Raises AddressError."""
    if len(text) > MOST_CHARACTERS or not PRINTABLE.fullmatch(text) or "\\" in text:
        raise AddressError("That is no address: expected something like rtsp://camera.example/stream.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise AddressError("That is no address: its host or port can't be read.") from error
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".").lower()
    if scheme not in rules.schemes or scheme not in PORTS:
        raise AddressError(f"Addresses may begin with {', '.join(f'{name}://' for name in rules.schemes)}.")
    if not host or port == 0:
        raise AddressError("That address names no host.")
    if rules.hosts and not any(host == name or host.endswith("." + name) for name in rules.hosts):
        raise AddressError("That host is not among those that may be read here.")
    port = port or PORTS[scheme]
    answers = resolve(host, port)
    if not answers or not all(_may_be_read(ipaddress.ip_address(answer), rules) for answer in answers):
        raise AddressError("That address leads into a private network, which is not read from here.")
    credentials = None
    if parts.username is not None:
        credentials = unquote(parts.username), unquote(parts.password or "")
        if any(not text.isprintable() for text in credentials):
            raise AddressError("The name or password in that address can't be sent.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(scheme, host, port, target, credentials, tuple(answers[:MOST_ANSWERS]))


def _may_be_read(address: IpAddress, rules: Rules) -> bool:
    """Only what everybody can reach: no address of a private network, of this machine or of a cloud's metadata."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner:
            return _may_be_read(inner, rules)
        if not address.is_loopback and address not in GIVEN_OUT:
            return False
    if any(address in network for network in NOT_PUBLIC):
        return False
    if address.is_loopback:
        return rules.loopback
    return address.is_global and not address.is_multicast
