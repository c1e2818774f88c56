"""The player of the page Review in a real browser: two videos in step, views, timeline and shortcuts."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, ViewportSize, expect

from defacer.report.compact_boxes import CompactBoxes
from tests.clips import Clip, frame_times, write_clip
from tests.cloud import Buckets
from tests.console.browser import Window, launch_browser
from tests.console.published_job import make_track, publish
from tests.console.visitor import Visitor
from tests.planned import Planned

RATE = 25
CLIP = Clip(seconds=3, size=(320, 180), rate=RATE)
FACE = (100, 60, 140, 110)
PLACE_OF_BOX = """() => {
    const rect = (name) => document.querySelector(`.of-result ${name}`).getBoundingClientRect();
    const [video, box] = [rect("video"), rect(".box")];
    return [(box.left - video.left) / video.width, (box.top - video.top) / video.height, box.width / video.width];
}"""
FIGURE_AT = """(share) => {
    const area = document.querySelector(".picture").getBoundingClientRect();
    return document.elementFromPoint(area.left + share * area.width, area.top + 5).closest("figure").className;
}"""
SHOWN_FRAMES = "() => ['source', 'result'].map((id) => document.getElementById(id).dataset.frame)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "walk.mp4", CLIP)


@pytest.fixture
def planned(buckets: Buckets, clip: Path) -> Planned:
    """Publish a video with a kept, a hidden and two unsure tracks. The unsure ones begin at 0.4 s and at 1.6 s."""
    times = frame_times(clip)
    tracks = [
        make_track(0, "keep", 0.3, 0, 70),
        make_track(1, "hide", -0.5, 0, 20),
        make_track(2, "hide", -0.01, 10, 30),
        make_track(3, "keep", 0.01, 40, 60),
    ]
    placed = [
        replace(
            track,
            start=times[track.start],
            end=times[track.end],
            detections=CompactBoxes([(times[track.start], FACE), (times[track.end], FACE)]),
        )
        for track in tracks
    ]
    return publish(buckets, clip, placed)


def write_frames(path: Path, numbers: list[int]) -> Path:
    """Write gray frames that begin at these multiples of 1/RATE s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.time_base = Fraction(1, RATE)
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(np.full((180, 320, 3), 5 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


Open = Callable[..., Page]
DESKTOP, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=360, height=740)


@pytest.fixture
def open_review(browser: Browser, visitor: Visitor, planned: Planned) -> Iterator[Open]:
    """Open the review, and check at the end that no script failed."""
    contexts: list[BrowserContext] = []
    windows: list[Window] = []

    def opened(
        phone: bool = False, route: Callable[[Route], None] | None = None, planned: Planned = planned
    ) -> Page:
        size = PHONE if phone else DESKTOP
        contexts.append(browser.new_context(viewport=size, has_touch=phone, is_mobile=phone))
        windows.append(Window(contexts[-1].new_page()))
        page = windows[-1].page
        if route:
            page.route("**/source", route)
        page.goto(visitor.url("street", "jobs", planned.job))
        expect(page.locator("#time")).to_contain_text("/")
        return page

    yield opened
    for window in windows:
        assert window.errors == []
    for context in contexts:
        context.close()


def send_swipe(page: Page, points: list[tuple[float, float]]) -> None:
    """Move a finger over these places of the window."""
    touch = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(points):
        kind = "touchMove" if number else "touchStart"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def wait_for_frame(page: Page, number: int) -> None:
    """Wait until both videos show this frame."""
    page.wait_for_function(
        f"(time) => ({SHOWN_FRAMES})().every((shown) => Math.abs(shown - time) < 0.002)", arg=number / RATE
    )


def test_source_and_result_show_the_same_frame_after_each_step(open_review: Open) -> None:
    page = open_review()
    page.keyboard.press("ArrowRight")
    wait_for_frame(page, 25)
    for _ in range(2):
        page.keyboard.press(".")
    wait_for_frame(page, 27)
    page.keyboard.press(",")
    wait_for_frame(page, 26)
    page.keyboard.press("End")
    wait_for_frame(page, CLIP.frames - 1)
    page.keyboard.press("Home")
    wait_for_frame(page, 0)


def test_step_shows_the_next_frame_where_the_frame_rate_varies(
    open_review: Open, buckets: Buckets, tmp_path: Path
) -> None:
    numbers = [0, 1, 2, 6, 7, 8, 30]
    planned = publish(buckets, write_frames(tmp_path / "varying.mp4", [*numbers, 40]), [], targets=())
    page = open_review(planned=planned)
    for number in numbers[1:]:
        page.keyboard.press(".")
        wait_for_frame(page, number)
    for number in reversed(numbers[:-1]):
        page.keyboard.press(",")
        wait_for_frame(page, number)


def test_result_waits_and_is_dimmed_until_the_source_can_play(open_review: Open) -> None:
    held: list[Route] = []
    page = open_review(route=lambda route: held.append(route))
    page.wait_for_function("() => document.getElementById('result').readyState >= 3")
    page.keyboard.press(" ")
    expect(page.locator("#player.waiting")).to_be_visible()
    assert page.evaluate("() => document.getElementById('result').currentTime") == 0
    held[0].continue_()
    page.wait_for_function("() => document.getElementById('source').currentTime > 0.2")
    expect(page.locator("#player.waiting")).to_have_count(0)
    page.keyboard.press("k")
    page.wait_for_function(f"() => new Set(({SHOWN_FRAMES})()).size === 1")


def test_keys_play_in_both_directions_and_can_be_switched_off(open_review: Open) -> None:
    page = open_review()
    page.keyboard.press("l")
    page.wait_for_function("() => document.getElementById('result').currentTime > 0.5")
    expect(page.locator("#play")).to_have_text("Pause")
    page.keyboard.press("l")
    expect(page.locator("#speed")).to_have_value("2")
    page.keyboard.press("j")
    page.wait_for_function("() => document.getElementById('result').currentTime < 0.4")
    page.keyboard.press("k")
    expect(page.locator("#play")).to_have_text("Play")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.get_by_label("Use these shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    expect(page.locator(".screens")).to_have_attribute("data-view", "side")


def test_chosen_speed_plays_source_and_result_alike(open_review: Open) -> None:
    page = open_review()
    rates = "() => ['source', 'result'].map((id) => document.getElementById(id).playbackRate)"
    for speed in (0.5, 4.0):
        page.get_by_label("Speed").select_option(str(speed).removesuffix(".0"))
        assert page.evaluate(rates) == [speed, speed]
    page.keyboard.press("Home")
    page.keyboard.press(" ")
    page.wait_for_function("() => document.getElementById('source').currentTime > 0.1")
    assert page.evaluate(rates) == [4, 4]


def test_next_to_check_visits_each_unsure_track_and_begins_again(open_review: Open) -> None:
    page = open_review()
    expect(page.locator("#moment")).to_have_text("2 to check.")
    for number, text in ((10, "1 of 2"), (40, "2 of 2"), (10, "1 of 2")):
        page.keyboard.press("n")
        wait_for_frame(page, number)
        expect(page.locator("#moment")).to_contain_text(text)
    page.keyboard.press("Shift+n")
    wait_for_frame(page, 40)
    expect(page.locator(".of-source .box.selected")).to_have_count(1)


def test_timeline_seeks_and_is_enlarged_around_the_position(open_review: Open) -> None:
    page = open_review()
    area = page.locator("#timeline").bounding_box()
    assert area is not None
    middle, top = area["width"] / 2, area["height"] / 2
    page.locator("#timeline").click(position={"x": middle, "y": top})
    wait_for_frame(page, 37)
    page.keyboard.press("]")
    page.locator("#timeline").click(position={"x": middle + 0.3 * (area["width"] - 16), "y": top})
    wait_for_frame(page, 51)
    page.keyboard.press("[")
    page.locator("#timeline").click(position={"x": area["width"] - 9, "y": top})
    wait_for_frame(page, CLIP.frames - 1)


def test_boxes_stay_on_the_picture_in_each_view_and_when_enlarged(open_review: Open) -> None:
    page = open_review()
    expect(page.locator(".of-result .box").first).to_be_visible()
    for view in ("side", "wipe", "result"):
        page.locator("#view").select_option(view)
        for _ in range(2):
            place_of_face = page.evaluate(PLACE_OF_BOX)
            assert place_of_face == pytest.approx([100 / 320, 60 / 180, 40 / 320], abs=0.01)
            page.keyboard.press("+")
        page.keyboard.press("0")


def test_divider_uncovers_the_source_on_its_left(open_review: Open) -> None:
    page = open_review()
    page.locator("#view").select_option("wipe")
    page.get_by_label("Divider between source and result").fill("25")
    expect(page.locator(".of-result .picture")).to_have_css("clip-path", "inset(0px 0px 0px 25%)")
    assert [page.evaluate(FIGURE_AT, share) for share in (0.1, 0.5)] == ["of-source", "of-result"]


def test_swipe_on_a_phone_changes_the_view(open_review: Open) -> None:
    page = open_review(phone=True)
    first, second = (page.locator(f".of-{name} .picture").bounding_box() for name in ("source", "result"))
    assert first is not None
    assert second is not None
    assert second["y"] >= first["y"] + first["height"]
    send_swipe(page, [(first["x"] + 250 - 30 * step, first["y"] + 60) for step in range(6)])
    expect(page.locator(".screens")).to_have_attribute("data-view", "wipe")


def test_help_lists_the_shortcuts_and_f_fills_the_screen(open_review: Open) -> None:
    page = open_review()
    page.keyboard.press("?")
    expect(page.locator("#shortcuts dt").filter(has_text="Space")).to_be_visible()
    expect(page.locator("#shortcuts dd").filter(has_text="Split the chosen track here")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.wait_for_function("() => document.fullscreenElement?.id === 'player'")
    page.keyboard.press("f")
    page.wait_for_function("() => document.fullscreenElement === null")
