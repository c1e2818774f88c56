"""Addresses that a user gives: which may be read.

A service that reads what it is told to read can be told to read what only it can reach. So an address is taken apart
and checked here, its name is looked up once, every answer is checked, and the connection (line.py) goes to the answer
that was checked. Nothing else connects: FFmpeg is given a stream of bytes, or for RTSP a relay (relay.py).
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

PORTS = {"http": 80, "https": 443, "rtsp": 554}
MAX_CHARACTERS = 2000
MAX_ANSWERS = 3  # that are tried
# What is given out to all (https://www.iana.org/assignments/ipv6-address-space). Outside of it are forms with an IPv4
# address inside, some of which Python calls global: ::7f00:1, ::ffff:7f00:1, 64:ff9b::7f00:1, 64:ff9b:1::7f00:1.
EVERYBODYS = ipaddress.ip_network("2000::/3")
# Within what Python calls global, or some of its versions do.
NOT_EVERYBODYS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # for protocols (RFC 6890)
        "192.88.99.0/24",  # to whoever relays IPv6 nearby (RFC 7526)
        "168.63.129.16/32",  # what Azure tells its machines
        "199.36.153.0/24",  # what Google tells machines of a private network
        "2001::/23",  # for protocols (RFC 2928); with an IPv4 address inside (Teredo, RFC 4380)
        "2002::/16",  # with an IPv4 address inside (RFC 3056)
        "3fff::/20",  # for examples (RFC 9637)
    )
)
# Which of both is not told: names of a private network are nobody's business outside.
NOT_FOUND = "That host is not known, or leads into a private network, which is not read from here."
PRINTABLE = re.compile(r"[!-~]+")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


class AddressError(Exception):
    """An address that is not read, or where nothing can be read. Every message is a sentence for who gave it."""


@dataclass(frozen=True)
class Rules:
    """Which addresses may be read. `hosts`: these and what ends in ".HOST"; none: any public one. `ports`: none: any.

    `loopback`: also this machine itself, for trying it out.
    """

    schemes: tuple[str, ...] = ("https", "http", "rtsp")
    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
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


def resolve(host: str, port: int) -> list[str]:
    """All that the name stands for."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressError(NOT_FOUND) from error
    return [str(answer[4][0]) for answer in found]


def check(text: str, rules: Rules, resolve: Resolve = resolve) -> Address:
    """The address, if it may be read. Raises AddressError."""
    if len(text) > MAX_CHARACTERS or not PRINTABLE.fullmatch(text) or "\\" in text:
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
    if rules.ports and port not in rules.ports:
        raise AddressError(
            f"Port {port} is not among those that are read here: {', '.join(map(str, rules.ports))}."
        )
    answers = resolve(host, port)
    if not answers or not all(_may_be_read(ipaddress.ip_address(answer), rules) for answer in answers):
        raise AddressError(NOT_FOUND)
    credentials = None
    if parts.username is not None:
        credentials = unquote(parts.username), unquote(parts.password or "")
        if any(not text.isprintable() for text in credentials):
            raise AddressError("The name or password in that address can't be sent.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(scheme, host, port, target, credentials, tuple(answers[:MAX_ANSWERS]))


def _may_be_read(address: IpAddress, rules: Rules) -> bool:
    """Only what everybody can reach: no address of a private network, of this machine or of a cloud's metadata."""
    if address.is_loopback:
        return rules.loopback
    if address.version == 6 and address not in EVERYBODYS:
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in NOT_EVERYBODYS)
    )
