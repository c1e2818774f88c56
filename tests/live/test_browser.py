"""A real browser: its camera is a file, and what its page shows is judged by its pixels."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from tests.live.pictures import SIZE, Clip, Seen
from tests.live.service import live_service
from tests.live.test_service import BUCKETS
from tests.servers import ROOT, wait_until

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = ROOT / ".screenshots"
ENOUGH = 10
PATIENCE_SECONDS = 300

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH: apt-get install chromium")


@pytest.fixture(scope="module")
def video(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip as Chromium reads a camera's file."""
    path = tmp_path_factory.mktemp("camera") / "clip.mjpeg"
    path.write_bytes(b"".join(clip.jpegs))
    return path


@contextmanager
def page_with_camera(video: Path) -> Iterator[Page]:
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


def shown(page: Page) -> bytes:
    """What the page's picture shows, as PNG."""
    data: str = page.evaluate("document.getElementById('picture').toDataURL('image/png')")
    return base64.b64decode(data.partition(",")[2])


def frames(page: Page) -> int:
    return int(page.evaluate("Number(document.getElementById('picture').dataset.frames || 0)"))


def require_accessible(page: Page) -> None:
    """axe-core finds nothing serious."""
    found = Axe().run(page).response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in {"serious", "critical"}] == []


def watch_until(page: Page, seen: Seen) -> None:
    """Look at what the page shows until enough was seen with somebody hidden."""
    last = 0

    def enough() -> bool:
        nonlocal last
        assert page.locator("#problem").is_hidden(), page.locator("#problem").inner_text()
        if (now := frames(page)) > last:
            last = now
            seen.look(shown(page))
        return seen.hidden >= ENOUGH

    wait_until(enough, "somebody was hidden", PATIENCE_SECONDS)


def test_the_page_shows_its_camera_de_faced(
    storage_address: str, clip: Clip, target: bytes, video: Path, tmp_path: Path
) -> None:
    problems: list[str] = []
    with live_service(tmp_path, storage_address, BUCKETS) as service, page_with_camera(video) as page:
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(service.url)
        page.screenshot(path=SCREENSHOTS / "live-before.png", full_page=True)
        require_accessible(page)
        page.locator("#targets").set_input_files(
            [{"name": "me.png", "mimeType": "image/png", "buffer": target}]
        )
        page.locator("#start").click()
        seen = Seen(clip)
        watch_until(page, seen)
        assert seen.leaked == []
        for figure in (
            "fps",
            "late",
        ):  # of the last second: on a slow machine there may have been nothing in it
            place = page.locator(f"#{figure}")
            wait_until(
                lambda place=place: float(place.inner_text().removesuffix(" s") or 0) > 0,
                "figures are shown",
                120,
            )
        page.screenshot(path=SCREENSHOTS / "live.png", full_page=True)
        require_accessible(page)

        other = page.context.new_page()
        other.goto(page.locator("#page").input_value())
        second = Seen(clip)
        watch_until(other, second)
        assert second.leaked == []
        wait_until(lambda: page.locator("#watching").inner_text() == "2", "both were counted", 60)

        page.locator("#stop").click()
        page.locator("#start").wait_for(state="visible")
        page.locator("#live").wait_for(state="hidden")
        other.locator("#problem").wait_for(state="visible")
        assert problems == []


def test_a_frame_that_cannot_be_shown_or_made_does_not_stop_the_page(
    storage_address: str, video: Path, tmp_path: Path
) -> None:
    fails_at_first = """
        let pictures = 0, blobs = 0;
        const make = window.createImageBitmap, encode = HTMLCanvasElement.prototype.toBlob;
        window.createImageBitmap = (...all) => pictures++ ? make(...all) : Promise.reject(new Error("no picture"));
        HTMLCanvasElement.prototype.toBlob = function (done, ...all) {
            return blobs++ ? encode.call(this, done, ...all) : done(null);
        };
    """
    with live_service(tmp_path, storage_address, BUCKETS) as service, page_with_camera(video) as page:
        page.add_init_script(fails_at_first)
        page.goto(service.url)
        page.locator("#start").click()
        wait_until(lambda: frames(page) > 1, "later frames were shown", PATIENCE_SECONDS)


def test_the_browsers_camera_shows_both_faces_where_nothing_hides_them(video: Path, clip: Clip) -> None:
    """What the other test takes for a leak is one."""
    with page_with_camera(video) as page:
        html = "<video id=v autoplay muted></video><canvas id=picture></canvas>"
        page.route("http://localhost/", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto("http://localhost/")  # only such a page may use a camera
        page.evaluate(
            """async ([width, height]) => {
              const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
              const video = document.getElementById("v"), canvas = document.getElementById("picture");
              video.srcObject = stream; await video.play(); canvas.width = width; canvas.height = height;
              setInterval(() => canvas.getContext("2d").drawImage(video, 0, 0, width, height), 20); }""",
            list(SIZE),
        )
        seen = Seen(clip)

        def enough() -> bool:
            seen.look(shown(page))
            return len(seen.leaked) >= ENOUGH

        wait_until(enough, "both faces were seen", PATIENCE_SECONDS)
    assert seen.kept > 0
