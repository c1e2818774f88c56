"""Choose the ports that an emulator listens on."""

import random
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from defacer_emulator.errors import EmulatorError, EmulatorUsageError
from defacer_emulator.processes.supervisor import HOST, is_listening

# Below the range that systems use for outgoing connections (32768 and up on Linux, 49152 and up on macOS), so that
# no outgoing connection uses a port before its server listens on it.
FREE_PORTS = range(20000, 32000)
ANY_FREE = 0


@dataclass(frozen=True)
class ServicePort:
    """A service of the emulator for users and their programs. `default` is the port that `up` prefers."""

    title: str
    default: int


SERVICES: Mapping[str, ServicePort] = {
    "console": ServicePort("the console", 8080),
    "live": ServicePort("the live page", 8081),
    "storage": ServicePort("Cloud Storage", 4443),
    "browser-storage": ServicePort("Cloud Storage for browsers", 4444),
    "pubsub": ServicePort("Pub/Sub", 8085),
}


def choose_ports(chosen: Mapping[str, int], *, use_defaults: bool) -> tuple[dict[str, int], list[str]]:
    """Return a port for each service, and a notice for each default port that is in use.

    `chosen` maps services to the ports that the user chose; 0 is any free port. Without `use_defaults` every
    other service gets a free port, so that several emulators can run on one machine. Raises EmulatorUsageError if a
    chosen port can't be used.
    """
    ports: dict[str, int] = {}
    notices = []
    for name, port in chosen.items():
        if port == ANY_FREE:
            continue
        if port in ports.values():
            raise EmulatorUsageError(
                f"Port {port} is chosen for two services. Choose another --port {name}=PORT."
            )
        if not is_free(port):
            raise EmulatorUsageError(
                f"Port {port} for {SERVICES[name].title} is in use, or this user is not allowed to use it. Stop the "
                f"program that uses it, or choose another one: --port {name}=PORT."
            )
        ports[name] = port
    missing = []
    for name, service in SERVICES.items():
        if use_defaults and name not in chosen:
            if service.default not in ports.values() and is_free(service.default):
                ports[name] = service.default
                continue
            notices.append(name)
        if name not in ports:
            missing.append(name)
    ports |= zip(missing, free_ports(len(missing), ports.values()), strict=True)
    return ports, [
        f"Port {SERVICES[name].default} is in use: {SERVICES[name].title} listens on {ports[name]} this time. "
        f"--port {name}=PORT chooses another port."
        for name in notices
    ]


def is_free(port: int) -> bool:
    """Return whether a server can listen on this port of the loopback interface."""
    if is_listening(port):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        # Servers set it too: closed connections of an earlier run do not block a port.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int, excluded: Collection[int] = ()) -> tuple[int, ...]:
    """Return different free ports of this machine, except those in `excluded`."""
    free: list[int] = []
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        if len(free) == count:
            break
        if port in excluded:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            try:
                candidate.bind((HOST, port))
            except OSError:
                continue
        free.append(port)
    if len(free) < count:
        raise EmulatorError(
            f"Fewer than {count} ports are free between {FREE_PORTS.start} and {FREE_PORTS.stop} on {HOST}. Stop "
            "programs that listen there."
        )
    return tuple(free)
