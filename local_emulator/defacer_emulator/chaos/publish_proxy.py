"""Between the functions and Pub/Sub's API: publishing that fails, takes long, or works and says that it did not."""

import asyncio
from typing import Any

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
from google.pubsub_v1.types import PublishRequest

from defacer_emulator.chaos.setup import Run

PUBLISH = "/google.pubsub.v1.Publisher/Publish"
FAULTS = ("publish-refused", "publish-lost", "publish-delay")
LONGEST_DELAY_SECONDS = 2.0


class PublishProxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Passes every unary call on as bytes."""

    def __init__(self, run: Run):
        self._run = run
        options = [("grpc.enable_http_proxy", 0)]
        self._upstream = grpc.aio.insecure_channel(run.setup.pubsub_host, options=options)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        pass_on = self._upstream.unary_unary(method)

        async def answer(request: bytes, context: Any) -> bytes:
            fault = await self._before(request, context) if method == PUBLISH else None
            try:
                answered: bytes = await pass_on(request, timeout=context.time_remaining())
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details())
            if fault == "publish-lost":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "published, on purpose without an answer")
            return answered

        return grpc.unary_unary_rpc_method_handler(answer)

    async def _before(self, request: bytes, context: Any) -> str | None:
        asked = PublishRequest.deserialize(request)
        about = self._run.things.of_messages(asked.topic, [message.data for message in asked.messages])
        moment = self._run.comings.next(about.thing)
        fault = self._run.plan.first(FAULTS, moment)
        if fault is None:
            return None
        seconds = self._run.plan.share(fault, moment, "how") * LONGEST_DELAY_SECONDS
        self._run.journal.fault(fault, moment, about, f"{seconds:.2f} s" if fault == "publish-delay" else "")
        if fault == "publish-delay":
            await asyncio.sleep(seconds)
        if fault == "publish-refused":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "out of order, on purpose")
        return fault


async def serve(run: Run) -> grpc.aio.Server:
    """Listen on the port that the functions are led to."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((PublishProxy(run),))
    server.add_insecure_port(run.setup.for_functions["PUBSUB_EMULATOR_HOST"])
    await server.start()
    return server
