"""The live page in a real browser: a file is its camera, and the tests judge the pixels that the page shows."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, WebSocketRoute, expect, sync_playwright

from defacer.engine.media.pictures.still_image import decode_picture
from tests.cloud_run import cloud_run_proxy
from tests.console.browser import launch_browser
from tests.heif import HeifFile
from tests.live.pictures import SIZE, Clip, VisibilityCount
from tests.live.service import PATIENT, live_service
from tests.servers import ROOT, free_port, wait_until

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = ROOT / ".screenshots"
ENOUGH = 10
TIMEOUT_SECONDS = 300

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH: apt-get install chromium")


def _is_positive(place: Locator) -> bool:
    return float(place.inner_text().removesuffix(" s") or 0) > 0


@pytest.fixture(scope="module")
def video(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the clip in the format of Chromium's fake camera."""
    path = tmp_path_factory.mktemp("camera") / "clip.mjpeg"
    path.write_bytes(b"".join(clip.jpegs))
    return path


@contextmanager
def page_with_camera(video: Path) -> Iterator[Page]:
    """Open a page in a browser whose camera is the video."""
    arguments = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={video}",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments, chromium_sandbox=False)
        page = browser.new_context().new_page()
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def read_picture(page: Page) -> bytes:
    """Return the page's picture as PNG."""
    data: str = page.evaluate("document.getElementById('picture').toDataURL('image/png')")
    return base64.b64decode(data.partition(",")[2])


def count_frames(page: Page) -> int:
    return int(page.evaluate("Number(document.getElementById('picture').dataset.frames || 0)"))


def require_accessible(page: Page) -> None:
    """Require that axe-core finds no serious violation."""
    found = Axe().run(page).response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in {"serious", "critical"}] == []


def count_until_hidden(page: Page, seen: VisibilityCount) -> None:
    """Count the frames that the page shows until enough of them hide a face."""
    counted = 0

    def is_enough() -> bool:
        nonlocal counted
        assert page.locator("#problem").is_hidden(), page.locator("#problem").inner_text()
        if (now := count_frames(page)) > counted:
            counted = now
            seen.add(read_picture(page))
        return seen.hidden >= ENOUGH

    wait_until(is_enough, "enough faces are hidden", TIMEOUT_SECONDS)


def as_heic(picture: bytes) -> bytes:
    """Return a picture as an iPhone stores it. Chromium can't decode it."""
    return HeifFile(decode_picture(picture, "me"), columns=2, rows=2).to_bytes()


@pytest.mark.usefixtures("intake")
def test_page_shows_its_redacted_camera_through_cloud_run_proxy(
    storage_address: str, clip: Clip, target: bytes, video: Path, tmp_path: Path
) -> None:
    problems: list[str] = []
    port = free_port()
    address = f"http://localhost:{port}"
    with (
        live_service(
            tmp_path, storage_address, ("-c", PATIENT), ("--behind-proxy",), live_origins=address
        ) as service,
        cloud_run_proxy(service.url, port) as urls,
        page_with_camera(video) as page,
    ):
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        page.screenshot(path=SCREENSHOTS / "live-before.png", full_page=True)
        require_accessible(page)
        page.locator("#targets").set_input_files(
            {"name": "me.heic", "mimeType": "image/heic", "buffer": as_heic(target)}
        )
        page.locator("#start").click()
        seen = VisibilityCount(clip)
        count_until_hidden(page, seen)
        assert seen.leaked == []
        for figure in ("fps", "delay-measured"):  # a slow machine might show no frame in a second
            wait_until(partial(_is_positive, page.locator(f"#{figure}")), "the figures are shown", 120)
        page.screenshot(path=SCREENSHOTS / "live.png", full_page=True)
        require_accessible(page)

        other = page.context.new_page()
        other.goto(page.locator("#page-url").input_value())
        second = VisibilityCount(clip)
        count_until_hidden(other, second)
        assert second.leaked == []
        wait_until(lambda: page.locator("#watching").inner_text() == "2", "both viewers are counted", 60)

        page.locator("#stop").click()
        page.locator("#start").wait_for(state="visible")
        page.locator("#live").wait_for(state="hidden")
        other.locator("#problem").wait_for(state="visible")
        assert problems == []

        watched = page.locator("#page-url").input_value()
        assert watched.startswith(f"{address}/watch#")
        stream = watched.partition("#")[2]
        assert page.locator("#mjpeg-url").input_value() == f"{address}/mjpeg/{stream}"
        assert {"/sockets/watch", "/sockets/camera", "/watch", "/end"} <= set(urls)
        assert [url for url in urls if stream in url] == []


@pytest.mark.slow
def test_page_of_another_origin_shows_why_its_stream_is_refused(storage_address: str, tmp_path: Path) -> None:
    port, own = free_port(), "https://live-1.europe-west1.run.app"
    with (
        live_service(tmp_path, storage_address, arguments=("--behind-proxy",), live_origins=own) as service,
        cloud_run_proxy(service.url, port),
        launch_browser() as browser,
    ):
        page = browser.new_page()
        page.goto(f"http://localhost:{port}/watch#any-stream")
        reason = f"This page is not at an address of the live page. Open {own} instead."
        expect(page.locator("#problem")).to_have_text(reason)


@pytest.mark.slow
@pytest.mark.usefixtures("intake")
def test_page_continues_after_a_frame_that_fails(storage_address: str, video: Path, tmp_path: Path) -> None:
    fail_first_calls = """
        let pictures = 0, blobs = 0;
        const make = window.createImageBitmap, encode = HTMLCanvasElement.prototype.toBlob;
        window.createImageBitmap = (...all) => pictures++ ? make(...all) : Promise.reject(new Error("not a picture"));
        HTMLCanvasElement.prototype.toBlob = function (done, ...all) {
            return blobs++ ? encode.call(this, done, ...all) : done(null);
        };
    """
    with (
        live_service(tmp_path, storage_address, ("-c", PATIENT)) as service,
        page_with_camera(video) as page,
    ):
        page.add_init_script(fail_first_calls)
        page.goto(service.url)
        page.locator("#start").click()
        wait_until(lambda: count_frames(page) > 1, "later frames are shown", TIMEOUT_SECONDS)


@pytest.mark.slow
def test_unredacted_camera_shows_both_faces(video: Path, clip: Clip) -> None:
    """The other tests can detect a leak: here both faces are visible."""
    with page_with_camera(video) as page:
        html = "<video id=v autoplay muted></video><canvas id=picture></canvas>"
        page.route("http://localhost/", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto("http://localhost/")  # only secure origins can use a camera
        page.evaluate(
            """async ([width, height]) => {
              const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
              const video = document.getElementById("v"), canvas = document.getElementById("picture");
              video.srcObject = stream; await video.play(); canvas.width = width; canvas.height = height;
              setInterval(() => canvas.getContext("2d").drawImage(video, 0, 0, width, height), 20); }""",
            list(SIZE),
        )
        seen = VisibilityCount(clip)

        def is_enough() -> bool:
            seen.add(read_picture(page))
            return len(seen.leaked) >= ENOUGH

        wait_until(is_enough, "both faces are visible", TIMEOUT_SECONDS)
    assert seen.kept > 0


@pytest.mark.usefixtures("intake")
def test_watch_page_advises_what_to_do_while_detection_is_too_slow(
    storage_address: str, video: Path, tmp_path: Path
) -> None:
    """The test answers for the stream, because an overload of the real one depends on the machine."""
    status = {"frames_per_second": 0.0, "kept": 0, "hidden": 0, "watching": 1, "ended": None}
    sockets: list[WebSocketRoute] = []
    with live_service(tmp_path, storage_address) as service, page_with_camera(video) as page:
        page.route_web_socket("**/sockets/watch*", lambda route: sockets.append(route))
        page.goto(f"{service.url}/watch#{'a' * 32}")
        wait_until(lambda: page.evaluate("1") and bool(sockets), "the page opens its socket", 60)
        for black in (True, False):
            sockets[0].send(json.dumps({**status, "black": black}))
            expect(page.locator("#black")).to_be_visible(visible=black)
        expect(page.locator("#black")).to_contain_text("end other streams")
        expect(page.locator("#black")).to_contain_text("choose a longer look-ahead")
