"""The live service from outside: frames in by WebSocket, HTTP and RTSP, frames out to viewers, and refusals."""

import base64
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import storage
from websockets.exceptions import ConnectionClosed

from defacer.web.live.sessions import (
    CAMERA_TIMEOUT_SECONDS,
    NO_FRAMES,
    REAP_INTERVAL_SECONDS,
    SEND_TIMEOUT_SECONDS,
    UNWATCHED_TIMEOUT_SECONDS,
)
from tests.live.cameras import (
    Handler,
    WebCamera,
    rtsp_camera,
    serve_body,
    serve_mjpeg,
    serve_redirect,
    web_camera,
)
from tests.live.pictures import FRAMES_PER_SECOND, Clip, VisibilityCount
from tests.live.service import Service, camera, live_service, read_mjpeg, retry_while_full, watch_stream
from tests.servers import wait_until

ENOUGH_HIDDEN = 5


@pytest.fixture(scope="module")
def service(
    storage_address: str, intake: storage.Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with live_service(tmp_path_factory.mktemp("live"), storage_address) as running:
        yield running


@pytest.fixture(autouse=True)
def wait_for_capacity(service: Service) -> None:
    """Wait until the previous test's stream has ended."""
    browser = service.open_page()
    wait_until(
        lambda: browser.post(f"{service.url}/streams", data="not a request", timeout=60).status_code == 422,
        "the previous stream has ended",
        60,
    )


def count_until_hidden(seen: VisibilityCount, messages: Iterator[bytes | dict[str, Any]]) -> dict[str, Any]:
    """Count frames until enough hide a face. Return the stream's status."""
    status: dict[str, Any] = {}
    for message in messages:
        if isinstance(message, bytes):
            seen.add(message)
        else:
            status = message
            assert status["ended"] is None, status["ended"]
        if seen.hidden >= ENOUGH_HIDDEN and status:
            return status
    raise AssertionError(f"the stream ended early: {status}")


def test_all_viewers_get_redacted_frames_of_a_camera(service: Service, clip: Clip, target: bytes) -> None:
    fields = {"targets": [{"person": "me", "data": base64.b64encode(target).decode()}], "mode": "pixelate"}
    started = service.start_stream(**fields)
    page, player = VisibilityCount(clip), VisibilityCount(clip)
    address = f"{service.url}/mjpeg/{started['id']}"
    with camera(service, started, clip), requests.get(address, stream=True, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
        frames = read_mjpeg(answer)
        status = count_until_hidden(page, watch_stream(service, started["id"]))
        while player.hidden < ENOUGH_HIDDEN:
            player.add(next(frames))
    assert status["watching"] == 2
    assert page.leaked == player.leaked == []


def test_stream_keeps_the_targets_of_its_channel(
    service: Service, clip: Clip, target: bytes, intake: storage.Bucket
) -> None:
    intake.blob("channels/street/targets/me.png").upload_from_string(target)
    intake.blob("channels/street/policy.json").upload_from_string(b'{"mode": "solid", "color": "#00ff00"}')
    page = service.open_page().get(service.url, timeout=60).text
    assert 'name="channel"' in page
    assert "street" not in page  # the names of channels are listed only with DEFACER_LIVE_CHANNEL_LIST
    started = service.start_stream(channel="street")
    seen = VisibilityCount(clip)
    with camera(service, started, clip):
        count_until_hidden(seen, watch_stream(service, started["id"]))
    assert seen.leaked == []
    answer = service.open_page().post(
        f"{service.url}/streams", json={"channel": "street/../../x"}, timeout=60
    )
    assert answer.status_code in (422, 429)


def test_page_lists_the_channels_where_everyone_can_open_them(
    storage_address: str, intake: storage.Bucket, tmp_path: Path
) -> None:
    intake.blob("channels/street/policy.json").upload_from_string(b"{}")
    with live_service(tmp_path, storage_address, live_channel_list=True) as listing:
        page = listing.open_page().get(listing.url, timeout=60).text
    assert "<option>street</option>" in page


def test_mjpeg_camera_is_read(service: Service, clip: Clip) -> None:
    seen = VisibilityCount(clip)
    with web_camera(stream=serve_mjpeg(clip)) as (url, _):
        started = service.start_stream(address=f"{url}/stream?password=hunter2")
        messages = watch_stream(service, started["id"])
        count_until_hidden(seen, messages)
        messages.close()  # type: ignore[attr-defined]
    assert (seen.leaked, seen.kept) == ([], 0)
    assert "hunter2" not in service.log.read_text()
    assert started["id"] not in service.log.read_text()


def test_rtsp_camera_is_read(service: Service, clip: Clip) -> None:
    seen = VisibilityCount(clip)
    with rtsp_camera(clip) as url:
        started = service.start_stream(address=url)
        count_until_hidden(seen, watch_stream(service, started["id"]))
    assert (seen.leaked, seen.kept) == ([], 0)


def end_reason(service: Service, **fields: Any) -> str:
    """Return why the stream ended without a frame."""
    started = service.start_stream(**fields)
    for message in watch_stream(service, started["id"]):
        assert isinstance(message, dict), "a frame arrived"
        if message["ended"] is not None:
            return str(message["ended"])
    raise AssertionError("the socket was closed without a reason")


def test_redirects_are_not_followed(service: Service, clip: Clip) -> None:
    with web_camera(secret=serve_mjpeg(clip), away=lambda camera: None) as (inner, requested):
        with web_camera(moved=serve_redirect(f"{inner}/secret")) as (url, _):
            assert "redirects elsewhere" in end_reason(service, address=f"{url}/moved")
        with rtsp_camera(clip, redirect_to=inner.replace("http", "rtsp") + "/secret") as url:
            end_reason(service, address=url)
        assert requested == []


def serve_stalling_mjpeg(clip: Clip) -> Handler:
    """Return a handler that sends MJPEG, and then drips the bytes of a frame that never ends."""

    def handle(camera: WebCamera) -> None:
        camera.send_response(200)
        camera.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        camera.end_headers()
        for jpeg in clip.jpegs[:30]:
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            camera.wfile.write(head.encode() + jpeg + b"\r\n")
            time.sleep(1 / FRAMES_PER_SECOND)
        camera.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n")
        while True:
            camera.wfile.write(b"\0")
            time.sleep(0.5)

    return handle


def test_address_without_new_frames_ends_although_it_has_a_viewer(service: Service, clip: Clip) -> None:
    with web_camera(stream=serve_stalling_mjpeg(clip)) as (url, _):
        started = service.start_stream(address=f"{url}/stream")
        for number, message in enumerate(watch_stream(service, started["id"])):
            if isinstance(message, dict) and message["ended"] is not None:
                assert message["ended"] == NO_FRAMES
                return
            assert number < 300, "the stream did not end"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("application/vnd.apple.mpegurl", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{inner}/secret\n"),
        ("text/plain", "ffconcat version 1.0\nfile {inner}/secret\n"),
        ("video/mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"),
        (
            "application/dash+xml",
            '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{inner}/</BaseURL></MPD>',
        ),
        (
            "application/sdp",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 26\n",
        ),
    ],
)
def test_playlist_is_not_accepted_as_video(service: Service, clip: Clip, kind: str, text: str) -> None:
    with web_camera(secret=serve_mjpeg(clip)) as (inner, requested):
        with web_camera(list=serve_body(kind, text.format(inner=inner).encode())) as (url, _):
            assert "No readable video" in end_reason(service, address=f"{url}/list")
        assert requested == []


@pytest.mark.parametrize(
    "address", ["http://169.254.169.254/latest", "http://10.0.0.1/", "file:///etc/passwd"]
)
def test_forbidden_address_is_refused_at_once(service: Service, address: str) -> None:
    answer = service.open_page().post(f"{service.url}/streams", json={"address": address}, timeout=60)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_unreadable_target_picture_is_refused_with_its_number(service: Service, clip: Clip) -> None:
    picture = base64.b64encode(b"no picture").decode()
    answer = service.open_page().post(
        f"{service.url}/streams", json={"targets": [{"person": "x", "data": picture}]}, timeout=60
    )
    assert answer.status_code == 422
    assert "Picture 1" in answer.json()["error"]


def test_frame_that_is_not_a_jpeg_ends_the_stream(service: Service, clip: Clip) -> None:
    started = service.start_stream()
    with service.open_socket("camera", started) as connection:
        connection.send(b"12345678" + clip.jpegs[0][:3000])
        with pytest.raises(ConnectionClosed):
            connection.recv(60)


def test_streams_beyond_the_limit_are_refused(service: Service) -> None:
    service.start_stream()
    answer = service.open_page().post(f"{service.url}/streams", json={}, timeout=60)
    assert answer.status_code == 429
    assert "Try again later" in answer.json()["error"]


def test_resources_are_freed_when_the_cameras_page_is_lost(service: Service, clip: Clip) -> None:
    started = service.start_stream()
    with camera(service, started, clip) as connection:
        seen = VisibilityCount(clip)
        for message in watch_stream(service, started["id"]):
            if isinstance(message, bytes):
                seen.add(message)
                break
        connection.socket.shutdown(socket.SHUT_RDWR)
    browser = service.open_page()
    answer = retry_while_full(lambda: browser.post(f"{service.url}/streams", json={}, timeout=60))
    assert answer.status_code == 201
    # The longest time that takes on an idle machine.
    assert SEND_TIMEOUT_SECONDS + REAP_INTERVAL_SECONDS < 5
    assert CAMERA_TIMEOUT_SECONDS + REAP_INTERVAL_SECONDS < 5


def test_resources_are_freed_when_an_address_has_no_viewer(service: Service, clip: Clip) -> None:
    with web_camera(stream=serve_mjpeg(clip)) as (url, _):
        started = service.start_stream(address=f"{url}/stream")
        messages = watch_stream(service, started["id"])
        while not isinstance(next(messages), bytes):
            pass
        messages.close()  # type: ignore[attr-defined]
        browser = service.open_page()
        answer = retry_while_full(lambda: browser.post(f"{service.url}/streams", json={}, timeout=60))
        assert answer.status_code == 201
    assert SEND_TIMEOUT_SECONDS + UNWATCHED_TIMEOUT_SECONDS + REAP_INTERVAL_SECONDS < 5


def test_sending_frames_and_ending_a_stream_need_its_key(service: Service, clip: Clip) -> None:
    started = service.start_stream()
    with (
        service.open_socket("camera", {**started, "key": "no key"}) as connection,
        pytest.raises(ConnectionClosed),
    ):
        connection.recv(60)
    browser = service.open_page()
    access = {"stream": started["id"], "key": "no key"}
    for key, status in (("no key", 403), (started["key"], 204)):
        assert (
            browser.post(f"{service.url}/end", json={**access, "key": key}, timeout=60).status_code == status
        )
    assert (
        browser.post(f"{service.url}/end", json={**access, "stream": "unknown"}, timeout=60).status_code
        == 404
    )
    assert browser.post(f"{service.url}/end", data=started["key"], timeout=60).status_code == 422


def test_requests_of_other_sites_are_refused(service: Service) -> None:
    browser = service.open_page()
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": "guessed"},
        {"X-CSRF-Token": ""},
        {"Host": "evil.example"},
    ):
        answer = browser.post(f"{service.url}/streams", json={}, headers=headers, timeout=60)
        assert answer.status_code == 403, headers
    started = service.start_stream()
    for name in ("watch", "camera"):
        with (
            service.open_socket(name, started, origin="https://evil.example") as connection,
            pytest.raises(ConnectionClosed) as refused,
        ):
            connection.recv(60)
        assert refused.value.rcvd is not None
        reason = f"This page is not at an address of the live page. Open {service.url} instead."
        assert (refused.value.rcvd.code, refused.value.rcvd.reason) == (1008, reason)


def test_ids_are_long_and_unknown_ids_are_not_found(service: Service) -> None:
    started = service.start_stream()
    assert len(started["id"]) >= 32
    assert started["id"] != started["key"]
    assert requests.get(f"{service.url}/mjpeg/unknown", timeout=60).status_code == 404
    with (
        service.open_socket("watch", {"id": "unknown"}) as connection,
        pytest.raises(ConnectionClosed, match="No such stream, or it has ended"),
    ):
        connection.recv(60)


@pytest.mark.parametrize("path", ["/", "/static/live.js", "/static/style.css", "/watch", "/mjpeg/unknown"])
def test_responses_have_security_headers(service: Service, path: str) -> None:
    headers = requests.get(service.url + path, timeout=60).headers
    policy = headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "server" not in {name.lower() for name in headers}


def test_page_has_no_inline_script_or_style(service: Service) -> None:
    text = requests.get(service.url, timeout=60).text
    assert '<script type="module" src="/static/live.js"></script>' in text
    assert text.count("<script") == 1
    assert " style=" not in text
    assert re.search(r"\son\w+=", text) is None


def test_log_has_no_private_data_of_a_stream(service: Service) -> None:
    service.start_stream()
    wait_until(lambda: "a stream started" in service.log.read_text(), "the start is logged")
    log = service.log.read_text()
    for word in ("127.0.0.1:", "/mjpeg/", "hunter2", "street"):
        assert word not in log


def test_too_many_starts_are_refused_with_a_waiting_time(service: Service) -> None:
    """This is the module's last test: after it, this machine can't start streams for a minute."""
    browser = service.open_page()
    for _ in range(100):
        fields = {"address": "http://10.0.0.1/"}
        answer = browser.post(f"{service.url}/streams", json=fields, timeout=60)
        if answer.status_code == 429:
            assert "Try again in" in answer.json()["error"]
            assert int(answer.headers["Retry-After"]) >= 1
            return
        assert answer.status_code == 422
    raise AssertionError("a hundred starts were accepted")
