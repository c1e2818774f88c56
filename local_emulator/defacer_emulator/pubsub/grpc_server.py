"""The emulator as a gRPC server."""

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc  # type: ignore[import-untyped, unused-ignore]

from defacer_emulator.pubsub.broker import Broker
from defacer_emulator.pubsub.service import PublisherService, SubscriberService

# A waiting pull occupies a thread.
MAX_CONCURRENT_CALLS = 64
# Above the limit of Pub/Sub, so that the emulator itself can reject a larger request with a clear message.
MAX_REQUEST_BYTES = 64 * 1024 * 1024
STOP_SECONDS = 0.5


class ListenError(Exception):
    """The server can't listen on the address. The message names it."""


class GrpcServer:
    """Listens for the length of a `with` block. At its end, waiting pulls return nothing and pushes are abandoned."""

    def __init__(self, host: str, port: int):
        self.host = host
        self._broker = Broker()
        self._server = grpc.server(
            ThreadPoolExecutor(MAX_CONCURRENT_CALLS, thread_name_prefix="call"),
            handlers=(
                PublisherService(self._broker).handler(),
                SubscriberService(self._broker).handler(),
            ),
            options=[
                (
                    "grpc.so_reuseport",
                    0,
                ),  # otherwise two emulators can share a port, each with half of the calls
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ],
        )
        try:
            self.port: int = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise ListenError(
                f"Can't listen on {host}:{port}: another program listens there, or it is not an address of this "
                "machine. Stop the other program, or choose another port (0 means any free port)."
            ) from error

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broker.close()
        self._server.stop(STOP_SECONDS).wait()
