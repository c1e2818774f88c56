"""The service from outside: frames in by WebSocket, HTTP and RTSP, out to several at once, and who is refused."""

import base64
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from websockets.exceptions import ConnectionClosed, InvalidStatus

from defacer.web.live.sessions import (
    LOOK_AGAIN_SECONDS,
    LOST_SECONDS,
    SILENT,
    SILENT_SECONDS,
    UNWATCHED_SECONDS,
)
from tests.cloud import PROJECT
from tests.live.cameras import Answer, WebCamera, body, mjpeg, redirect, rtsp_camera, web_camera
from tests.live.pictures import FRAMES_PER_SECOND, Clip, Seen
from tests.live.service import Service, camera, live_service, parts, until_it_works, watched
from tests.servers import wait_until

BUCKETS = ("live-intake", "live-work", "live-output")
ENOUGH_HIDDEN = 5


@pytest.fixture(scope="module")
def intake(storage_address: str) -> storage.Bucket:
    client = storage.Client(
        PROJECT, AnonymousCredentials(), client_options=ClientOptions(api_endpoint=storage_address)
    )
    for name in BUCKETS:
        client.create_bucket(name)
    return client.bucket(BUCKETS[0])


@pytest.fixture(scope="module")
def service(
    storage_address: str, intake: storage.Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    with live_service(tmp_path_factory.mktemp("live"), storage_address, BUCKETS) as running:
        yield running


@pytest.fixture(autouse=True)
def room(service: Service) -> None:
    """The stream of the test before has ended."""
    browser = service.session()
    wait_until(
        lambda: browser.post(f"{service.url}/streams", data="no wish", timeout=60).status_code == 422,
        "the last stream had ended",
        60,
    )


def look_until_hidden(seen: Seen, messages: Iterator[bytes | dict[str, Any]]) -> dict[str, Any]:
    """Look at frames until enough were seen with somebody hidden; how it went then."""
    status: dict[str, Any] = {}
    for message in messages:
        if isinstance(message, bytes):
            seen.look(message)
        else:
            status = message
            assert status["ended"] is None, status["ended"]
        if seen.hidden >= ENOUGH_HIDDEN and status:
            return status
    raise AssertionError(f"the stream ended early: {status}")


def test_frames_of_a_camera_come_back_to_all_who_watch_and_nobody_leaks(
    service: Service, clip: Clip, target: bytes
) -> None:
    wish = {"targets": [{"person": "me", "data": base64.b64encode(target).decode()}], "mode": "pixelate"}
    begun = service.begin(**wish)
    page, player = Seen(clip), Seen(clip)
    address = f"{service.url}/streams/{begun['id']}/mjpeg"
    with camera(service, begun, clip), requests.get(address, stream=True, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
        frames = parts(answer)
        status = look_until_hidden(page, watched(service, begun["id"]))
        while player.hidden < ENOUGH_HIDDEN:
            player.look(next(frames))
    assert status["watching"] == 2
    assert page.leaked == player.leaked == []


def test_the_targets_of_a_channel_are_taken_from_its_folder(
    service: Service, clip: Clip, target: bytes, intake: storage.Bucket
) -> None:
    intake.blob("channels/street/targets/me.png").upload_from_string(target)
    intake.blob("channels/street/policy.json").upload_from_string(b'{"mode": "solid", "color": "#00ff00"}')
    begun = service.begin(channel="street")
    seen = Seen(clip)
    with camera(service, begun, clip):
        look_until_hidden(seen, watched(service, begun["id"]))
    assert seen.leaked == []
    answer = service.session().post(f"{service.url}/streams", json={"channel": "street/../../x"}, timeout=60)
    assert answer.status_code in (422, 429)


def test_a_camera_that_sends_mjpeg_is_read(service: Service, clip: Clip) -> None:
    seen = Seen(clip)
    with web_camera(stream=mjpeg(clip)) as (url, _):
        begun = service.begin(address=f"{url}/stream?password=hunter2")
        messages = watched(service, begun["id"])
        look_until_hidden(seen, messages)
        messages.close()  # type: ignore[attr-defined]
    assert (seen.leaked, seen.kept) == ([], 0)
    assert "hunter2" not in service.log.read_text()
    assert begun["id"] not in service.log.read_text()


def test_a_camera_that_speaks_rtsp_is_read(service: Service, clip: Clip) -> None:
    seen = Seen(clip)
    with rtsp_camera(clip) as url:
        begun = service.begin(address=url)
        look_until_hidden(seen, watched(service, begun["id"]))
    assert (seen.leaked, seen.kept) == ([], 0)


def ended(service: Service, **wish: Any) -> str:
    """Why the stream came to an end without a picture."""
    begun = service.begin(**wish)
    for message in watched(service, begun["id"]):
        assert isinstance(message, dict), "a frame came"
        if message["ended"] is not None:
            return str(message["ended"])
    raise AssertionError("it closed without a word")


def test_an_address_that_leads_elsewhere_is_not_followed(service: Service, clip: Clip) -> None:
    with web_camera(secret=mjpeg(clip), away=lambda camera: None) as (inner, asked):
        with web_camera(led=redirect(f"{inner}/secret")) as (url, _):
            assert "leads elsewhere" in ended(service, address=f"{url}/led")
        with rtsp_camera(clip, redirect_to=inner.replace("http", "rtsp") + "/secret") as url:
            ended(service, address=url)
        assert asked == []


def stops(clip: Clip) -> Answer:
    """MJPEG that ends in the middle of a frame, of which a byte comes now and then."""

    def answer(camera: WebCamera) -> None:
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

    return answer


def test_an_address_whose_frames_stop_gives_its_place_back_though_somebody_watches(
    service: Service, clip: Clip
) -> None:
    with web_camera(stream=stops(clip)) as (url, _):
        begun = service.begin(address=f"{url}/stream")
        for number, message in enumerate(watched(service, begun["id"])):
            if isinstance(message, dict) and message["ended"] is not None:
                assert message["ended"] == SILENT
                return
            assert number < 300, "it went on"


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
def test_a_playlist_is_no_video(service: Service, clip: Clip, kind: str, text: str) -> None:
    with web_camera(secret=mjpeg(clip)) as (inner, asked):
        with web_camera(list=body(kind, text.format(inner=inner).encode())) as (url, _):
            assert "no video" in ended(service, address=f"{url}/list")
        assert asked == []


@pytest.mark.parametrize(
    "address", ["http://169.254.169.254/latest", "http://10.0.0.1/", "file:///etc/passwd"]
)
def test_an_address_that_may_not_be_read_is_refused_at_once(service: Service, address: str) -> None:
    answer = service.session().post(f"{service.url}/streams", json={"address": address}, timeout=60)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_a_picture_without_a_face_is_refused_with_a_sentence(service: Service, clip: Clip) -> None:
    nobody = base64.b64encode(b"no picture").decode()
    answer = service.session().post(
        f"{service.url}/streams", json={"targets": [{"person": "x", "data": nobody}]}, timeout=60
    )
    assert answer.status_code == 422
    assert "Picture 1" in answer.json()["error"]


def test_what_is_no_jpeg_ends_the_stream(service: Service, clip: Clip) -> None:
    begun = service.begin()
    with service.socket(f"/streams/{begun['id']}/camera") as connection:
        connection.send(begun["key"])
        connection.send(b"12345678" + clip.jpegs[0][:3000])
        with pytest.raises(ConnectionClosed):
            connection.recv(60)


def test_there_are_only_so_many_streams(service: Service) -> None:
    service.begin()
    answer = service.session().post(f"{service.url}/streams", json={}, timeout=60)
    assert answer.status_code == 429
    assert "Try again later" in answer.json()["error"]


def test_all_is_freed_when_the_cameras_page_is_lost(service: Service, clip: Clip) -> None:
    begun = service.begin()
    with camera(service, begun, clip) as connection:
        seen = Seen(clip)
        for message in watched(service, begun["id"]):
            if isinstance(message, bytes):
                seen.look(message)
                break
        connection.socket.shutdown(socket.SHUT_RDWR)
    browser = service.session()
    answer = until_it_works(lambda: browser.post(f"{service.url}/streams", json={}, timeout=60))
    assert answer.status_code == 201
    # How long that takes at most, without what a busy machine adds.
    assert LOST_SECONDS + LOOK_AGAIN_SECONDS < 5
    assert SILENT_SECONDS + LOOK_AGAIN_SECONDS < 5


def test_all_is_freed_when_nobody_watches_an_address_any_more(service: Service, clip: Clip) -> None:
    with web_camera(stream=mjpeg(clip)) as (url, _):
        begun = service.begin(address=f"{url}/stream")
        messages = watched(service, begun["id"])
        while not isinstance(next(messages), bytes):
            pass
        messages.close()  # type: ignore[attr-defined]
        browser = service.session()
        answer = until_it_works(lambda: browser.post(f"{service.url}/streams", json={}, timeout=60))
        assert answer.status_code == 201
    assert LOST_SECONDS + UNWATCHED_SECONDS + LOOK_AGAIN_SECONDS < 5


def test_only_who_began_a_stream_sends_frames_and_ends_it(service: Service, clip: Clip) -> None:
    begun = service.begin()
    with service.socket(f"/streams/{begun['id']}/camera") as connection:
        connection.send("no key")
        with pytest.raises(ConnectionClosed):
            connection.recv(60)
    browser = service.session()
    end = f"{service.url}/streams/{begun['id']}/end"
    assert browser.post(end, data="no key", timeout=60).status_code == 403
    assert browser.post(end, data=begun["key"], timeout=60).status_code == 204


def test_pages_of_others_are_refused(service: Service) -> None:
    browser = service.session()
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-CSRF-Token": "guessed"},
        {"X-CSRF-Token": ""},
        {"Host": "evil.example"},
    ):
        answer = browser.post(f"{service.url}/streams", json={}, headers=headers, timeout=60)
        assert answer.status_code == 403, headers
    begun = service.begin()
    for path in ("watch", "camera"):
        with pytest.raises(InvalidStatus):
            service.socket(f"/streams/{begun['id']}/{path}", origin="https://evil.example")


def test_an_id_cannot_be_guessed_and_an_unknown_one_leads_nowhere(service: Service) -> None:
    begun = service.begin()
    assert len(begun["id"]) >= 32
    assert begun["id"] != begun["key"]
    for path in ("", "/mjpeg"):
        assert requests.get(f"{service.url}/streams/unknown{path}", timeout=60).status_code == 404
    with pytest.raises(InvalidStatus):
        service.socket("/streams/unknown/watch")


@pytest.mark.parametrize("path", ["/", "/static/live.js", "/static/style.css", "/streams/unknown"])
def test_a_browser_is_told_what_the_page_may_do(service: Service, path: str) -> None:
    headers = requests.get(service.url + path, timeout=60).headers
    policy = headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "server" not in {name.lower() for name in headers}


def test_the_page_has_no_script_of_its_own_inside(service: Service) -> None:
    text = requests.get(service.url, timeout=60).text
    assert '<script type="module" src="/static/live.js"></script>' in text
    assert text.count("<script") == 1
    assert " style=" not in text
    assert re.search(r"\son\w+=", text) is None


def test_nothing_of_a_stream_is_logged_but_that_there_is_one(service: Service) -> None:
    service.begin()
    wait_until(lambda: "a stream began" in service.log.read_text(), "it was logged")
    log = service.log.read_text()
    for word in ("127.0.0.1:", "/streams/", "hunter2", "street"):
        assert word not in log


def test_whoever_begins_streams_too_often_is_told_to_wait(service: Service) -> None:
    """The last test here: after it, nobody of this machine may begin one for a while."""
    browser = service.session()
    for _ in range(100):
        wish = {"address": "http://10.0.0.1/"}
        answer = browser.post(f"{service.url}/streams", json=wish, timeout=60)
        if answer.status_code == 429:
            assert "Try again in" in answer.json()["error"]
            assert int(answer.headers["Retry-After"]) >= 1
            return
        assert answer.status_code == 422
    raise AssertionError("a hundred were looked at")
