"""Upload a video: the console starts a session, and the bytes go straight to storage."""

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from defacer.web.console import signed_urls
from defacer_emulator.chaos.http import Request, Response
from defacer_emulator.services.storage_browser_proxy import StorageBrowserProxy
from tests.console.visitor import Visitor
from tests.servers import wait_until

pytestmark = pytest.mark.usefixtures("limited")

PAGE = "http://console.example"
SIZE = 700_000
CHUNK = 256 * 1024


def start_upload(
    visitor: Visitor, name: str = "walk.mp4", size: object = SIZE, **more: str
) -> requests.Response:
    return visitor.post(
        visitor.url("street", "uploads"), {"name": name, "size": str(size), "type": "video/mp4", **more}
    )


def put_chunk(address: str, content_range: str, body: bytes = b"") -> requests.Response:
    headers = {"Content-Range": content_range, "Origin": PAGE}
    return requests.put(address, data=body, headers=headers, timeout=60, allow_redirects=False)


def test_chunked_upload_arrives_and_reports_its_progress(visitor: Visitor, storage_proxy: str) -> None:
    address = start_upload(visitor).json()["url"]
    data = bytes(range(256)) * (SIZE // 256 + 1)
    assert address.startswith(f"{storage_proxy}/upload/storage/v1/b/{visitor.buckets.intake}/o")

    empty = put_chunk(address, f"bytes */{SIZE}")
    assert (empty.status_code, empty.headers.get("Range")) == (308, None)
    first = put_chunk(address, f"bytes 0-{CHUNK - 1}/{SIZE}", data[:CHUNK])
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{CHUNK - 1}")
    queried = put_chunk(address, f"bytes */{SIZE}")
    assert (queried.status_code, queried.headers["Range"]) == (308, f"bytes=0-{CHUNK - 1}")
    assert visitor.buckets.names(visitor.buckets.intake) == []

    last = put_chunk(address, f"bytes {CHUNK}-{SIZE - 1}/{SIZE}", data[CHUNK:SIZE])
    assert last.status_code == 200
    assert put_chunk(address, f"bytes */{SIZE}").status_code == 200
    blob = visitor.buckets.blob(visitor.buckets.intake, "channels/street/videos/walk.mp4")
    assert blob.size == SIZE
    assert visitor.buckets.get(visitor.buckets.intake, blob.name) == data[:SIZE]


def test_chunk_that_is_sent_twice_is_stored_once(visitor: Visitor) -> None:
    address = start_upload(visitor).json()["url"]
    data = bytes(1000) * (SIZE // 1000)
    for _ in range(2):
        assert (
            put_chunk(address, f"bytes 0-{CHUNK - 1}/{SIZE}", data[:CHUNK]).headers["Range"]
            == f"bytes=0-{CHUNK - 1}"
        )
    assert put_chunk(address, f"bytes {CHUNK}-{SIZE - 1}/{SIZE}", data[CHUNK:]).status_code == 200
    assert visitor.buckets.blob(visitor.buckets.intake, "channels/street/videos/walk.mp4").size == SIZE


def test_storage_allows_cross_origin_uploads_and_reads_of_range(visitor: Visitor) -> None:
    address = start_upload(visitor).json()["url"]
    preflight = requests.options(
        address, headers={"Origin": PAGE, "Access-Control-Request-Method": "PUT"}, timeout=60
    )
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Content-Range" in preflight.headers["Access-Control-Allow-Headers"]
    assert "Range" in put_chunk(address, f"bytes */{SIZE}").headers["Access-Control-Expose-Headers"]


def test_existing_video_is_replaced_only_on_request(visitor: Visitor) -> None:
    buckets = visitor.buckets
    buckets.put(buckets.intake, "channels/street/videos/walk.mp4", b"the first one")

    assert start_upload(visitor).status_code == 409
    assert start_upload(visitor, on_conflict="replace").json()["name"] == "walk.mp4"
    assert start_upload(visitor, on_conflict="keep-both").json()["name"] == "walk (2).mp4"
    assert buckets.get(buckets.intake, "channels/street/videos/walk.mp4") == b"the first one"


def test_upload_of_invalid_size_is_refused_with_a_message(
    visitor: Visitor, environment: Callable[..., None]
) -> None:
    environment(max_video_bytes=1000)
    for size in ("0", "", "-1", "1e3", "1001", "9" * 5000):
        answer = start_upload(visitor, size=size)
        assert answer.status_code == 422
        assert answer.json()["error"].endswith((".", "!"))
    assert start_upload(visitor, size=1000).status_code == 200


def test_signed_url_expires(visitor: Visitor, storage_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = visitor.buckets.put(visitor.buckets.output, "channels/street/a b?.mp4", bytes(range(100)))
    address = signed_urls.sign_read_url(ref)
    assert address.startswith(f"{storage_proxy}/{visitor.buckets.output}/")
    part = requests.get(address, headers={"Range": "bytes=10-19"}, timeout=60)
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    typed = requests.get(signed_urls.sign_read_url(ref, content_type="video/mp4"), timeout=60)
    assert typed.headers["Content-Type"] == "video/mp4"

    monkeypatch.setattr(signed_urls, "READ_DURATION", timedelta(seconds=1))
    short_lived = signed_urls.sign_read_url(ref)
    wait_until(lambda: requests.get(short_lived, timeout=60).status_code == 400, "the URL has expired")
    assert requests.get(address, timeout=60).status_code == 200


def test_name_taken_during_an_upload_is_not_silently_replaced(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The console sends the precondition. Google refuses the last byte with 412; the emulator ignores it."""
    generations: list[str] = []
    handle = StorageBrowserProxy.handle

    async def record(self: StorageBrowserProxy, request: Request) -> Response:
        if request.method == "POST" and "uploadType=resumable" in request.target:
            generations.append(parse_qs(urlsplit(request.target).query).get("ifGenerationMatch", ["any"])[0])
        return await handle(self, request)

    monkeypatch.setattr(StorageBrowserProxy, "handle", record)
    assert start_upload(visitor).status_code == 200
    visitor.buckets.put(visitor.buckets.intake, "channels/street/videos/walk.mp4", b"the first one")
    assert start_upload(visitor, on_conflict="keep-both").status_code == 200
    assert start_upload(visitor, on_conflict="replace").status_code == 200
    assert generations == ["0", "0", "any"]
