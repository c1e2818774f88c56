"""The emulator as a gRPC server."""

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc  # type: ignore[import-untyped, unused-ignore]

from defacer_emulator.pubsub.broker import Broker
from defacer_emulator.pubsub.service import PublisherService, SubscriberService

# A pull that waits holds a thread.
CALLS_AT_ONCE = 64
# Above the largest request of Pub/Sub, which is refused with a sentence; beyond this gRPC itself refuses.
MAX_REQUEST_BYTES = 64 * 1024 * 1024
STOP_SECONDS = 0.5


class AddressError(Exception):
    """The address can't be listened on; the message names it."""


class Server:
    """Listens while its block runs. On leaving, waiting pulls end empty and pushes under way are abandoned."""

    def __init__(self, host: str, port: int, max_outstanding: int = 1):
        self.host = host
        self._broker = Broker(max_outstanding)
        self._server = grpc.server(
            ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="call"),
            handlers=(
                PublisherService(self._broker).handler(),
                SubscriberService(self._broker).handler(),
            ),
            options=[
                (
                    "grpc.so_reuseport",
                    0,
                ),  # otherwise two emulators may share a port, each with half the calls
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ],
        )
        try:
            self.port: int = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise AddressError(
                f"Can't listen on {host}:{port}: something listens there already, or it is not an address of this "
                "machine. Stop what runs there, or take another port (0 = a free one)."
            ) from error

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broker.close()
        self._server.stop(STOP_SECONDS).wait()
