"""Cloud Storage and Pub/Sub for one service account each: a guard refuses what the account's grants do not allow."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import grpc
from google.pubsub_v1 import types

from defacer_emulator.chaos.http import Request, Response, send
from tests.permissions import Grant, Need, list_needs
from tests.proxy import serving

PUBLISHER = "google.pubsub.v1.Publisher"
# Google's client asks for the location of a bucket in the background. It works without the answer.
OPTIONAL = {"storage.buckets.get"}


@dataclass
class Access:
    """The grants of a project, and what the accounts did with them.

    `denied` lists the refused requests. `used` has a set for each allowed request: the grants that allow it. A grant
    that is alone in a set is necessary.
    """

    grants: list[Grant]
    denied: list[tuple[str, Need]] = field(default_factory=list)
    used: set[frozenset[Grant]] = field(default_factory=set)

    def allows(self, member: str, need: Need) -> bool:
        """Return whether a grant allows it, and record the answer."""
        allowing = frozenset(grant for grant in self.grants if grant.allows(member, need))
        if allowing:
            self.used.add(allowing)
        elif need.permission not in OPTIONAL:
            self.denied.append((member, need))
        return bool(allowing)

    @contextmanager
    def without(self, *grants: Grant) -> Iterator[None]:
        """Remove these grants within the block."""
        before = self.grants
        self.grants = [grant for grant in before if grant not in grants]
        assert len(self.grants) == len(before) - len(grants)
        try:
            yield
        finally:
            self.grants = before

    def necessary(self) -> set[Grant]:
        """Return the grants without which at least one request would have been refused."""
        return {grant for allowing in self.used if len(allowing) == 1 for grant in allowing}


@contextmanager
def guard_storage(upstream: str, member: str, access: Access) -> Iterator[str]:
    """Serve Cloud Storage as this member sees it, and yield the address."""

    async def handle(request: Request) -> Response:
        for need in list_needs(request):
            allowed = access.allows(member, need)
            if allowed and need.permission == "storage.objects.create" and await exists(need.resource):
                allowed = access.allows(member, Need("storage.objects.delete", need.resource))
            if not allowed:
                return Response(403, (("Content-Type", "text/plain"),), f"needs {need}".encode())
        return await send(upstream, request)

    async def exists(resource: str) -> bool:
        bucket, _, name = resource.removeprefix("projects/_/buckets/").partition("/objects/")
        target = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        return (await send(upstream, Request("GET", target, (("Host", "storage"),), b"", 0))).status == 200

    with serving(handle) as address:
        yield address


@contextmanager
def guard_publisher(upstream: str, member: str, access: Access) -> Iterator[str]:
    """Serve Pub/Sub as this member sees it, and yield the host and port. It can publish, and nothing else."""
    with grpc.insecure_channel(upstream) as channel:
        publish = channel.unary_unary(f"/{PUBLISHER}/Publish")

        def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
            topic = types.PublishRequest.deserialize(request).topic
            if not access.allows(member, Need("pubsub.topics.publish", topic)):
                context.abort(
                    grpc.StatusCode.PERMISSION_DENIED, f"{member} is not allowed to publish to {topic}"
                )
            try:
                return publish(request, timeout=context.time_remaining())
            except grpc.RpcError as error:
                return context.abort(error.code(), error.details())

        server = grpc.server(ThreadPoolExecutor(8))
        handler: Callable = grpc.unary_unary_rpc_method_handler(handle)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(PUBLISHER, {"Publish": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None)
