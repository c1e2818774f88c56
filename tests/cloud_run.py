"""Run a proxy and Cloud Run's own front end in one process, between a browser and a page."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.proxy import running

HOST = "page-abc123-ew.a.run.app"
# Cloud Run states the scheme of its own side and the caller, and the proxy on the member's machine adds a token.
ADDED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7", "Authorization": "Bearer a-token"}
REPLACED = {"host", *map(str.lower, ADDED)}


@contextmanager
def cloud_run_proxy(upstream: str, port: int, added: Iterable[tuple[str, str]] = ()) -> Iterator[list[str]]:
    """Serve a page as `gcloud run services proxy` does. Yield the request URLs and referers, as Cloud Run logs them.

    `Host` becomes that of Cloud Run and `Origin` stays, as in GoogleCloudPlatform/cloud-run-proxy (main.go). `added`
    are more headers, such as those of Identity-Aware Proxy.
    """
    urls: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:  # a connection that the browser opened ahead
            writer.close()
            return
        start, *lines = head.rstrip("\r\n").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        urls.append(start.split(" ")[1])
        urls.extend(value for name, value in headers if name.lower() == "referer")
        is_socket = any(name.lower() == "upgrade" for name, _ in headers)
        replaced = REPLACED if is_socket else {*REPLACED, "connection"}
        kept = [(name, value) for name, value in headers if name.lower() not in replaced]
        # One request for each connection, so that everything after its head can be copied.
        closing = [] if is_socket else [("Connection", "close")]
        sent = [*kept, ("Host", HOST), *ADDED.items(), *added, *closing]
        parts = urlsplit(upstream)
        up_reader, up_writer = await asyncio.open_connection(parts.hostname, parts.port)
        up_writer.write(
            "\r\n".join([start, *(": ".join(header) for header in sent), "", ""]).encode("latin-1")
        )
        await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))

    with running(lambda: asyncio.start_server(handle, "127.0.0.1", port)):
        yield urls


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
