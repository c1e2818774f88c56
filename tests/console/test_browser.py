"""The console in a real browser on the whole pipeline, used as a first-time user would."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, Route, expect

from defacer.pipeline.storage import object_names
from defacer_emulator.demo.demo_clip import make_demo_clip, write_target_picture
from defacer_emulator.emulator import Emulator, EmulatorOptions
from tests.console.browser import PIPELINE_TIMEOUT_MS, SERIOUS_IMPACTS, Window, launch_browser, run_axe
from tests.demo_boxes import compute_demo_boxes

CHANNEL = "vlog & <b>co</b>".replace("/", "")
PERSON = "Eileen <img src=x onerror=alert(1)>"
CLIP = "street <img src=x onerror=alert(2)>.mp4"
SECONDS, SIZE, RATE = 2.0, (640, 360), 15
VARIABLES = (("DEFACER_SEGMENT_SECONDS", "1"), ("DEFACER_LEASE_SECONDS", "20"))
CHUNK = 16 * 1024 * 1024
LARGE = 2 * CHUNK + 5_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def emulator(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("emulator")
    with Emulator(EmulatorOptions(folder, "builtin", variables=VARIABLES, console=True)) as running:
        yield running
        for name, log in running.log_files():  # pytest shows it if a test of this module failed
            sys.stderr.write(f"---- {name}\n{log.read_text(errors='replace')}\n")


@pytest.fixture
def window(browser: Browser, emulator: Emulator) -> Iterator[Window]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = Window(context.new_page())
    opened.page.on("dialog", _accept_dialog)
    yield opened
    context.close()


def _accept_dialog(dialog: Dialog) -> None:
    assert dialog.type == "beforeunload", f"unexpected dialog: {dialog.message!r}"
    dialog.accept()


@dataclass(frozen=True)
class PublishedVideo:
    """A published video and the URL of its review."""

    clip: Path
    review: str


@pytest.fixture(scope="module")
def published(
    browser: Browser, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> PublishedVideo:
    """Upload a video from the start page until it is published, and check each page on the way."""
    folder = tmp_path_factory.mktemp("files")
    clip, picture = folder / CLIP, folder / "me.png"
    make_demo_clip(clip, SECONDS, SIZE, RATE)
    write_target_picture(picture)
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    window = Window(context.new_page())
    window.page.on("dialog", _accept_dialog)
    page = window.page

    page.goto(f"{emulator.state.console_url}")
    expect(page.get_by_text("No channels yet")).to_be_visible()
    expect(page.get_by_role("button", name="Try it with a sample video")).to_be_visible()
    window.check_page("channels-empty")
    page.get_by_label("Name").fill(CHANNEL)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", name="Upload a video")).to_be_visible()
    window.check_page("upload-empty")

    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_text("No videos yet")).to_be_visible()
    window.check_page("jobs-empty")
    page.get_by_role("link", name="People").click()
    expect(page.get_by_text("No targets yet")).to_be_visible()
    window.check_page("people-empty")
    page.get_by_label("Name", exact=True).fill(PERSON)
    page.get_by_label("Pictures (JPEG").set_input_files(picture)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("heading", name=PERSON)).to_be_visible(timeout=PIPELINE_TIMEOUT_MS)
    expect(page.get_by_text("One clear face")).to_be_visible()
    window.check_page("people")

    page.get_by_role("link", name="Upload", exact=True).click()
    page.get_by_label("Choose videos").set_input_files(clip)
    expect(page.get_by_text("Upload complete").first).to_be_visible()
    expect(page.locator("#uploads .job progress")).to_be_visible()
    window.check_page("upload-done")
    page.get_by_role("link", name="See the job").click()
    expect(page.get_by_role("heading", name=CLIP)).to_be_visible()
    window.check_page("jobs-in-progress")
    expect(page.get_by_text("Ready.")).to_be_visible(timeout=PIPELINE_TIMEOUT_MS)
    page.wait_for_function("() => document.querySelector('.job img').naturalWidth > 0")
    expect(page.get_by_text(re.compile("Tracks: [1-9] kept, [1-9] hidden"))).to_be_visible()
    window.check_page("jobs-ready")
    page.get_by_role("link", name="Review").click()
    expect(page.locator(".person").first).to_be_visible()
    video = PublishedVideo(clip, page.url)
    context.close()
    return video


def wait_until_both_are_ready(page: Page) -> None:
    """Wait for the cards too, because the player is connected when they are loaded."""
    expect(page.locator(".person").first).to_be_visible()
    page.wait_for_function(
        "() => [...document.querySelectorAll('video')].every((video) => video.readyState >= 2)",
        timeout=60_000,
    )


def wait_until_in_step(page: Page) -> None:
    """Wait until both videos are paused at the same time."""
    page.wait_for_function(
        """() => {
            const [one, other] = ["source", "result"].map((id) => document.getElementById(id));
            return other.paused && Math.abs(one.currentTime - other.currentTime) < 0.01;
        }"""
    )


def measure_face_difference(emulator: Emulator, clip: Path) -> float:
    """Return the mean difference of the target's face between source and result, in a frame with two large faces."""
    name = object_names.VideoName(CHANNEL, CLIP).result
    result = clip.with_name("result.mp4")
    emulator.storage_client().bucket(emulator.output).blob(name).download_to_filename(str(result))
    number = int(SECONDS * RATE / 4)
    one, other = (_read_frame(path, number) for path in (clip, result))
    (face,) = [
        box
        for box in compute_demo_boxes(SECONDS, SIZE, RATE)
        if box.frame == number and box.name == "astronaut"
    ]
    part = np.s_[int(face.y1) : int(face.y2), int(face.x1) : int(face.x2)]
    return float(np.abs(one[part].astype(int) - other[part]).mean())


def _read_frame(path: Path, number: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == number:
                return frame.to_ndarray(format="rgb24").astype(np.uint8)
    raise AssertionError(f"{path} has no frame {number}")


def test_uploaded_video_is_published_reviewed_and_re_rendered(
    window: Window, emulator: Emulator, published: PublishedVideo
) -> None:
    page = window.page
    page.goto(published.review)
    wait_until_both_are_ready(page)
    kept, hidden = page.locator(".person.kept"), page.locator(".person.hidden")
    assert kept.count() >= 1
    assert hidden.count() >= 1
    expect(hidden.first.locator(".face").first).to_be_visible()
    assert measure_face_difference(emulator, published.clip) < 10

    hidden.first.locator(".go").click()
    expect(page.locator(".box.selected").first).to_be_visible()
    wait_until_in_step(page)
    window.check_page("review")

    page.locator("#position").fill("0")
    page.locator("#play").click()
    page.wait_for_function(
        "() => ['source', 'result'].every((id) => document.getElementById(id).currentTime > 0.5)"
    )
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Play")
    wait_until_in_step(page)

    kept.first.locator(".hide").click()
    expect(page.locator("#change-count")).to_have_text("1 change, not applied yet")
    window.check_page("review-changed")
    page.get_by_role("button", name="Apply…").click()
    expect(page.get_by_role("heading", name="No face becomes visible")).to_be_visible()
    page.get_by_role("button", name="Apply and re-render").click()
    page.wait_for_url("**/jobs")
    expect(page.get_by_role("link", name="review the earlier result")).to_be_visible()
    expect(page.get_by_role("heading", name=CLIP)).to_have_count(1)
    window.check_page("jobs-rerendering")
    expect(page.get_by_text("Ready.")).to_have_count(1, timeout=PIPELINE_TIMEOUT_MS)
    expect(page.get_by_role("link", name="Review")).not_to_have_attribute(
        "href", re.compile(published.review.rpartition("/")[2]), timeout=PIPELINE_TIMEOUT_MS
    )
    page.get_by_role("link", name="Review").click()
    expect(page.locator(".person").first).to_be_visible()
    assert page.locator(".person.kept").count() == 0
    page.locator(".person .expand").first.click()
    expect(page.get_by_text("Manual decision.").first).to_be_visible()
    assert measure_face_difference(emulator, published.clip) > 20
    window.check_page("review-rerendered")


def test_interrupted_upload_resumes_after_the_page_was_reloaded(
    window: Window, emulator: Emulator, tmp_path: Path
) -> None:
    page, name = window.page, "cut <b>off.mp4"
    (tmp_path / name).write_bytes(bytes(range(256)) * (LARGE // 256))
    is_cut, queries, sent = True, 0, []

    def forward(route: Route, request: Request) -> None:
        nonlocal queries
        content_range = request.headers.get("content-range", "")
        queries += content_range.startswith("bytes */")
        start = re.match(r"bytes (\d+)-", content_range)
        if is_cut and (start is None or int(start[1]) >= CHUNK):
            route.abort("connectionreset")
            return
        if start:
            sent.append(int(start[1]))
        route.continue_()

    page.route("**/upload/**", forward)
    page.goto(f"{emulator.state.console_url}/channels/large/upload")
    page.get_by_label("Choose videos").set_input_files(tmp_path / name)
    expect(page.get_by_text("The connection was lost").first).to_be_visible()
    window.check_page("upload-interrupted")
    page.reload()
    expect(page.get_by_role("heading", name="Unfinished uploads")).to_be_visible()
    window.check_page("upload-unfinished")
    is_cut = False
    page.get_by_label("Choose videos").set_input_files(tmp_path / name)
    expect(page.get_by_text("Upload complete").first).to_be_visible()

    assert sent == [0, CHUNK, 2 * CHUNK]
    assert queries >= 1
    blob = emulator.storage_client().bucket(emulator.intake).get_blob(f"channels/large/videos/{name}")
    assert blob.download_as_bytes() == (tmp_path / name).read_bytes()
    expect(page.get_by_role("heading", name="Unfinished uploads")).to_be_hidden()

    page.get_by_role("link", name="See the job").click()
    expect(page.get_by_text("Failed.")).to_be_visible(timeout=PIPELINE_TIMEOUT_MS)
    window.check_page("jobs-failed")
    expect(page.get_by_text("it is not a video that can be read")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)  # the same bytes fail the same way


def test_file_that_is_dragged_onto_the_page_is_uploaded(
    window: Window, emulator: Emulator, tmp_path: Path
) -> None:
    page, file = window.page, tmp_path / "dragged.mp4"
    file.write_bytes(b"not a video, but a file\0" * 1000)
    page.goto(f"{emulator.state.console_url}/channels/large/upload")
    zone = page.locator("#zone").bounding_box()
    assert zone is not None
    dragging = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        what = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        place = {"x": zone["x"] + zone["width"] / 2, "y": zone["y"] + zone["height"] / 2}
        dragging.send("Input.dispatchDragEvent", {"type": kind, **place, "data": what})
        if kind == "dragOver":
            expect(page.locator("#zone")).to_have_class(re.compile("over"))
    expect(page.get_by_text("Upload complete").first).to_be_visible()
    blob = emulator.storage_client().bucket(emulator.intake).get_blob("channels/large/videos/dragged.mp4")
    assert blob.download_as_bytes() == file.read_bytes()


def test_name_that_a_concurrent_upload_took_is_asked_about(
    window: Window, emulator: Emulator, tmp_path: Path
) -> None:
    """The test answers the last byte as Google does, because the emulator ignores the precondition."""
    page, file = window.page, tmp_path / "taken.mp4"
    file.write_bytes(b"not a video\0" * 1000)
    page.route("**/upload/**", lambda route: route.fulfill(status=412), times=1)
    page.goto(f"{emulator.state.console_url}/channels/large/upload")
    page.get_by_label("Choose videos").set_input_files(file)
    expect(page.get_by_text("Another user uploaded a video of this name").first).to_be_visible()
    window.errors.clear()  # the browser logs the 412
    page.get_by_role("button", name="Replace").click()
    expect(page.get_by_text("Upload complete").first).to_be_visible()


def test_policy_is_previewed_on_a_frame_and_saved(
    window: Window, published: PublishedVideo, tmp_path: Path
) -> None:
    page = window.page
    page.goto(published.review.partition("/jobs/")[0] + "/policy")
    page.get_by_role("radio", name="A picture").check()
    expect(page.get_by_text("Videos fail until you upload one")).to_be_visible()
    write_target_picture(tmp_path / "cover.png")
    page.get_by_label("Choose a picture").set_input_files(tmp_path / "cover.png")
    expect(page.get_by_alt_text("The picture that covers faces")).to_be_visible()
    expect(page.get_by_text("Videos fail until you upload one")).to_have_count(0)
    expect(page.locator("#color")).to_be_hidden()
    page.wait_for_function("() => document.getElementById('preview').naturalWidth > 0")
    before = page.locator("#preview").get_attribute("src")
    page.get_by_label("One color").check()
    expect(page.locator("#color")).to_be_visible()
    expect(page.locator("#preview")).not_to_have_attribute("src", before or "", timeout=PIPELINE_TIMEOUT_MS)
    expect(page.get_by_text("2 faces are hidden.")).to_be_visible(timeout=PIPELINE_TIMEOUT_MS)
    page.wait_for_function("() => document.getElementById('preview').naturalWidth > 0")
    window.check_page("policy")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_label("One color")).to_be_checked()


@pytest.mark.parametrize("colors", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_every_page_fits_a_phone_in_light_and_dark(
    browser: Browser, published: PublishedVideo, colors: str
) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        color_scheme=colors,  # type: ignore[arg-type]
    )
    window = Window(context.new_page())
    page = window.page
    base = published.review.partition("/jobs/")[0]
    for name, address in (
        ("channels", base.partition("/channels/")[0]),
        *((tab, f"{base}/{tab}") for tab in ("upload", "people", "policy", "jobs")),
        ("review", published.review),
        ("nothing", f"{base}/jobs/none"),
    ):
        page.goto(address)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        window.errors.clear() if name == "nothing" else None  # the browser logs the 404
        window.check_width(f"phone-{colors}-{name}")
        if colors == "dark":  # the other tests check the accessibility in light colors
            assert [found for found in run_axe(page) if found["impact"] in SERIOUS_IMPACTS] == []
    context.close()


def test_console_is_usable_with_the_keyboard_alone(window: Window, published: PublishedVideo) -> None:
    page = window.page
    page.goto(published.review.partition("/jobs/")[0] + "/upload")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#files")).to_be_focused()

    page.goto(published.review)
    wait_until_both_are_ready(page)
    page.locator("#play").focus()
    page.keyboard.press("Space")
    page.wait_for_function("() => document.getElementById('result').currentTime > 0.2")
    page.keyboard.press("Space")
    card = page.locator(".person").last
    card.locator(".go").focus()
    page.keyboard.press("Enter")
    expect(card).to_have_class(re.compile("chosen"))
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(card.locator(".keep")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("#change-count")).to_have_text("1 change, not applied yet")
    page.keyboard.press("Control+z")
    expect(page.locator("#changes")).to_contain_text("No changes")


def test_person_is_forgotten_and_video_erased_on_the_page(window: Window, published: PublishedVideo) -> None:
    """The last test with the published video."""
    page = window.page
    base = published.review.partition("/jobs/")[0]
    page.goto(f"{base}/people")
    page.get_by_role("button", name=f"Forget {PERSON}").click()
    expect(page.get_by_text(re.compile(r"visible in \d results?"))).to_be_visible()
    window.check_page("people-forget")
    page.get_by_role("button", name="Forget", exact=True).click()
    expect(page.get_by_text("is forgotten in channel")).to_be_visible(timeout=PIPELINE_TIMEOUT_MS)
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_text("No targets yet")).to_be_visible()
    page.goto(f"{base}/jobs")
    expect(page.get_by_text(re.compile("Tracks: 0 kept, [1-9] hidden")).first).to_be_visible()
    heading = page.get_by_role("heading", name=CLIP, exact=True)
    ready = page.locator(".job", has_text="Ready.").filter(has=heading)
    ready.get_by_role("button", name="Erase").click()
    expect(page.get_by_text("its result and its report permanently")).to_be_visible()
    window.check_page("jobs-erase")
    page.get_by_role("button", name="Erase", exact=True).click()
    expect(page.get_by_text("Erased. Copies that people saved elsewhere stay.")).to_be_visible(
        timeout=PIPELINE_TIMEOUT_MS
    )
    page.get_by_role("button", name="Close").click()
    expect(ready).to_have_count(0)


def test_logs_name_no_channel_person_or_video(emulator: Emulator, published: PublishedVideo) -> None:
    for process in ("console", "browser-storage"):
        log = emulator.folder.log(process).read_text()
        assert not [name for name in ("vlog", "Eileen", "street", "%3Cimg") if name in log]
