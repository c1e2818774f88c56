"""Decide which camera addresses the service reads, against server-side request forgery (SSRF).

A service that reads any URL can be made to read internal services. So an address is parsed and checked here, its host
is resolved once, and every IP address is checked. The connection (`connection.py`) goes to a checked IP address.
FFmpeg never connects: it gets a stream of bytes, or for RTSP a relay (`rtsp_relay.py`).
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from defacer.pipeline.settings import IpNetwork

PORTS = {"http": 80, "https": 443, "rtsp": 554}
MAX_CHARACTERS = 2000
MAX_IPS = 3  # that the connection tries
# Global unicast (https://www.iana.org/assignments/ipv6-address-space). Some forms outside of it embed an IPv4 address,
# although Python calls them global: ::7f00:1, ::ffff:7f00:1, 64:ff9b::7f00:1, 64:ff9b:1::7f00:1.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Special networks that Python, or some of its versions, call global.
SPECIAL_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "168.63.129.16/32",  # Azure's service for its virtual machines
        "199.36.153.0/24",  # Google APIs for private networks
        "2001::/23",  # protocol assignments (RFC 2928), among them Teredo with an embedded IPv4 address (RFC 4380)
        "2002::/16",  # 6to4, with an embedded IPv4 address (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
# One message for both cases, so that the service does not reveal the names of a private network.
NOT_FOUND = (
    "That host is unknown, or it is in a private network that this service does not read. Check the address. For a "
    "camera in your own network, ask the operator of this service to allow its network (DEFACER_LIVE_PRIVATE_HOSTS)."
)
PRINTABLE = re.compile(r"[!-~]+")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


class AddressError(Exception):
    """An address that is not allowed or not readable. The message is a sentence for the user."""


@dataclass(frozen=True)
class Rules:
    """The allowed addresses.

    `hosts` are the allowed hosts, with their subdomains; empty: any public host. `ports` are the allowed ports; empty:
    any. `loopback` also allows addresses of this machine, and `private` the addresses in these private networks.
    """

    schemes: tuple[str, ...] = ("https", "http", "rtsp")
    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    loopback: bool = False
    private: tuple[IpNetwork, ...] = ()


@dataclass(frozen=True)
class Address:
    """An allowed address. `ips` are the checked IP addresses of its host; the connection goes to one of them."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)  # path and query
    credentials: tuple[str, str] | None = field(repr=False)
    ips: tuple[str, ...]


def resolve_host(host: str, port: int) -> list[str]:
    """Return all IP addresses of the host."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressError(NOT_FOUND) from error
    return [str(answer[4][0]) for answer in answers]


def check_address(text: str, rules: Rules, resolve: Resolve = resolve_host) -> Address:
    """Return the parsed address. Raise AddressError if it is not allowed."""
    if len(text) > MAX_CHARACTERS or not PRINTABLE.fullmatch(text) or "\\" in text:
        raise AddressError("That is not an address. Enter one like rtsp://camera.example/stream.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise AddressError(
            "That is not an address: its host or port is not readable. Enter one like rtsp://camera.example/stream."
        ) from error
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".").lower()
    if scheme not in rules.schemes or scheme not in PORTS:
        allowed = ", ".join(f"{name}://" for name in rules.schemes)
        raise AddressError(f"Addresses of this kind are not read. Use one that begins with {allowed}.")
    if not host or port == 0:
        raise AddressError("That address has no host. Enter one like rtsp://camera.example/stream.")
    if rules.hosts and not any(host == name or host.endswith("." + name) for name in rules.hosts):
        raise AddressError(
            "That host is not among the allowed hosts. Ask the operator of this service to allow it."
        )
    port = port or PORTS[scheme]
    if rules.ports and port not in rules.ports:
        allowed = ", ".join(map(str, rules.ports))
        raise AddressError(f"Port {port} is not among the allowed ports. Use one of {allowed}.")
    ips = resolve(host, port)
    if not ips or not all(_is_allowed(ipaddress.ip_address(ip), rules) for ip in ips):
        raise AddressError(NOT_FOUND)
    credentials = None
    if parts.username is not None:
        credentials = unquote(parts.username), unquote(parts.password or "")
        if any(not text.isprintable() for text in credentials):
            raise AddressError(
                "The user name or password has unprintable characters. Change it on the camera."
            )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(scheme, host, port, target, credentials, tuple(ips[:MAX_IPS]))


def _is_allowed(ip: IpAddress, rules: Rules) -> bool:
    """Return whether the address is allowed: a public one, or one that the rules name.

    A public address is not in a private network, not this machine and not a metadata service.
    """
    if ip.is_loopback:
        return rules.loopback
    if any(ip in network for network in rules.private):
        return True
    if ip.version == 6 and ip not in GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in SPECIAL_NETWORKS)
