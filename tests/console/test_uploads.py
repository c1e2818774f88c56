"""A video's way into the bucket: an address from the console, the bytes straight to storage."""

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
PIECE = 256 * 1024


def begin(visitor: Visitor, name: str = "walk.mp4", size: object = SIZE, **more: str) -> requests.Response:
    return visitor.post(
        visitor.at("street", "uploads"), {"name": name, "size": str(size), "type": "video/mp4", **more}
    )


def put(address: str, content_range: str, body: bytes = b"") -> requests.Response:
    headers = {"Content-Range": content_range, "Origin": PAGE}
    return requests.put(address, data=body, headers=headers, timeout=60, allow_redirects=False)


def test_an_upload_goes_to_storage_in_pieces_and_says_how_far_it_is(visitor: Visitor, browsing: str) -> None:
    address = begin(visitor).json()["address"]
    data = bytes(range(256)) * (SIZE // 256 + 1)
    assert address.startswith(f"{browsing}/upload/storage/v1/b/{visitor.buckets.intake}/o")

    nothing = put(address, f"bytes */{SIZE}")
    assert (nothing.status_code, nothing.headers.get("Range")) == (308, None)
    first = put(address, f"bytes 0-{PIECE - 1}/{SIZE}", data[:PIECE])
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{PIECE - 1}")
    asked = put(address, f"bytes */{SIZE}")
    assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{PIECE - 1}")
    assert visitor.buckets.names(visitor.buckets.intake) == []

    last = put(address, f"bytes {PIECE}-{SIZE - 1}/{SIZE}", data[PIECE:SIZE])
    assert last.status_code == 200
    assert put(address, f"bytes */{SIZE}").status_code == 200
    blob = visitor.buckets.blob(visitor.buckets.intake, "channels/street/videos/walk.mp4")
    assert blob.size == SIZE
    assert visitor.buckets.get(visitor.buckets.intake, blob.name) == data[:SIZE]


def test_a_piece_that_is_sent_twice_is_there_once(visitor: Visitor) -> None:
    address = begin(visitor).json()["address"]
    data = bytes(1000) * (SIZE // 1000)
    for _ in range(2):
        assert (
            put(address, f"bytes 0-{PIECE - 1}/{SIZE}", data[:PIECE]).headers["Range"]
            == f"bytes=0-{PIECE - 1}"
        )
    assert put(address, f"bytes {PIECE}-{SIZE - 1}/{SIZE}", data[PIECE:]).status_code == 200
    assert visitor.buckets.blob(visitor.buckets.intake, "channels/street/videos/walk.mp4").size == SIZE


def test_a_page_may_send_there_and_read_how_far_it_is(visitor: Visitor) -> None:
    address = begin(visitor).json()["address"]
    ahead = requests.options(
        address, headers={"Origin": PAGE, "Access-Control-Request-Method": "PUT"}, timeout=60
    )
    assert ahead.headers["Access-Control-Allow-Origin"] == "*"
    assert "PUT" in ahead.headers["Access-Control-Allow-Methods"]
    assert "Content-Range" in ahead.headers["Access-Control-Allow-Headers"]
    assert "Range" in put(address, f"bytes */{SIZE}").headers["Access-Control-Expose-Headers"]


def test_a_video_of_the_same_name_is_replaced_only_when_that_is_said(visitor: Visitor) -> None:
    buckets = visitor.buckets
    buckets.put(buckets.intake, "channels/street/videos/walk.mp4", b"the first one")

    assert begin(visitor).status_code == 409
    assert begin(visitor, there="replace").json()["name"] == "walk.mp4"
    assert begin(visitor, there="beside").json()["name"] == "walk (2).mp4"
    assert buckets.get(buckets.intake, "channels/street/videos/walk.mp4") == b"the first one"


def test_what_can_t_be_a_video_gets_a_sentence_and_no_address(
    visitor: Visitor, environment: Callable[..., None]
) -> None:
    environment(max_video_bytes=1000)
    for size in ("0", "", "-1", "1e3", "1001", "9" * 5000):
        answer = begin(visitor, size=size)
        assert answer.status_code == 422
        assert answer.json()["error"].endswith((".", "!"))
    assert begin(visitor, size=1000).status_code == 200


def test_an_address_of_media_ends(visitor: Visitor, browsing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = visitor.buckets.put(visitor.buckets.output, "channels/street/a b?.mp4", bytes(range(100)))
    address = signed_urls.readable(ref)
    assert address.startswith(f"{browsing}/{visitor.buckets.output}/")
    part = requests.get(address, headers={"Range": "bytes=10-19"}, timeout=60)
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    typed = requests.get(signed_urls.readable(ref, kind="video/mp4"), timeout=60)
    assert typed.headers["Content-Type"] == "video/mp4"

    monkeypatch.setattr(signed_urls, "READ_FOR", timedelta(seconds=1))
    short = signed_urls.readable(ref)
    wait_until(lambda: requests.get(short, timeout=60).status_code == 400, "the address has ended")
    assert requests.get(address, timeout=60).status_code == 200


def test_a_name_that_somebody_takes_meanwhile_is_not_replaced_without_a_word(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What storage is asked for; the emulator's does not look at it, Google's answers the last byte with 412."""
    asked: list[str] = []
    handle = StorageBrowserProxy.handle

    async def noting(self: StorageBrowserProxy, request: Request) -> Response:
        if request.method == "POST" and "uploadType=resumable" in request.target:
            asked.append(parse_qs(urlsplit(request.target).query).get("ifGenerationMatch", ["any"])[0])
        return await handle(self, request)

    monkeypatch.setattr(StorageBrowserProxy, "handle", noting)
    assert begin(visitor).status_code == 200
    visitor.buckets.put(visitor.buckets.intake, "channels/street/videos/walk.mp4", b"the first one")
    assert begin(visitor, there="beside").status_code == 200
    assert begin(visitor, there="replace").status_code == 200
    assert asked == ["0", "0", "any"]
