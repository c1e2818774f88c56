"""The proxy for publishing: it rejects or delays requests, and loses responses of successful ones."""

import asyncio
from typing import Any

import grpc
import grpc.aio
from google.pubsub_v1.types import PublishRequest

from defacer_emulator.chaos.setup import Run

PUBLISH = "/google.pubsub.v1.Publisher/Publish"
FAULTS = ("publish-refused", "publish-lost", "publish-delay")
MAX_DELAY_SECONDS = 2.0


class PublishProxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Forwards every unary call as bytes."""

    def __init__(self, run: Run):
        self._run = run
        options = [("grpc.enable_http_proxy", 0)]
        self._upstream = grpc.aio.insecure_channel(run.setup.pubsub_host, options=options)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        forward = self._upstream.unary_unary(method)

        async def handle(request: bytes, context: Any) -> bytes:
            fault = await self._inject_fault(request, context) if method == PUBLISH else None
            try:
                response: bytes = await forward(request, timeout=context.time_remaining())
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details())
            if fault == "publish-lost":
                await context.abort(
                    grpc.StatusCode.UNAVAILABLE, "injected fault: published, but the response is lost"
                )
            return response

        return grpc.unary_unary_rpc_method_handler(handle)

    async def _inject_fault(self, request: bytes, context: Any) -> str | None:
        publish = PublishRequest.deserialize(request)
        subject = self._run.classifier.classify_publish(
            publish.topic, [message.data for message in publish.messages]
        )
        choice = self._run.choose_fault(subject, FAULTS)
        if choice.fault is None:
            return None
        seconds = choice.share * MAX_DELAY_SECONDS
        choice.log(f"{seconds:.2f} s" if choice.fault == "publish-delay" else "")
        if choice.fault == "publish-delay":
            await asyncio.sleep(seconds)
        if choice.fault == "publish-refused":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "injected fault: publishing is rejected")
        return choice.fault


async def serve_publishing(run: Run) -> grpc.aio.Server:
    """Listen on the port that the functions publish to."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((PublishProxy(run),))
    server.add_insecure_port(run.setup.function_environment["PUBSUB_EMULATOR_HOST"])
    await server.start()
    return server
