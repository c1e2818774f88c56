"""The console's forms in a real browser, without the pipeline: "Back", unsent changes, the check of files."""

import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog, Route, expect

from tests.console.browser import Window
from tests.console.browser import browser as open_browser
from tests.console.test_review import published  # noqa: F401
from tests.console.visitor import Visitor
from tests.planned import Planned


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as launched:
        yield launched


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    context = browser.new_context()
    yield Window(context.new_page())
    context.close()


@pytest.fixture
def asked(window: Window) -> list[str]:
    """The kinds of dialogs that the page has opened; each is accepted."""
    kinds: list[str] = []

    def accept(dialog: Dialog) -> None:
        kinds.append(dialog.type)
        dialog.accept()

    window.page.on("dialog", accept)
    return kinds


def review_of(visitor: Visitor, planned: Planned) -> str:
    return visitor.at("street", "jobs", planned.job)


def test_back_restores_a_changed_decision_and_its_button(
    window: Window,
    visitor: Visitor,
    published: Planned,  # noqa: F811
    asked: list[str],
) -> None:
    page = window.page
    page.goto(review_of(visitor, published))
    page.locator("#keep-0").check()
    expect(page.locator("#render")).to_be_enabled()
    page.goto(visitor.at("street", "people"))
    page.go_back()
    expect(page.locator("#keep-0")).to_be_checked()
    expect(page.locator("#render")).to_be_enabled()
    expect(page.locator("#changed")).to_contain_text("One decision is changed")
    assert asked == ["beforeunload"]


def test_leaving_a_review_asks_only_about_unsent_changes(
    window: Window,
    visitor: Visitor,
    published: Planned,  # noqa: F811
    asked: list[str],
) -> None:
    page = window.page
    page.goto(review_of(visitor, published))
    page.locator("#place").click()  # a browser asks nothing before the first click on a page
    page.goto(review_of(visitor, published))
    page.locator("#keep-0").check()
    page.locator("#hide-0").check()
    page.goto(review_of(visitor, published))
    assert asked == []
    page.locator("#keep-0").check()
    page.get_by_role("button", name="Render again").click()
    page.wait_for_url("**/street/jobs")
    assert asked == []
    page.goto(review_of(visitor, published))
    page.locator("#keep-2").check()
    page.goto(visitor.at("street", "people"))
    assert asked == ["beforeunload"]


def test_back_restores_a_changed_policy_with_its_fields(
    window: Window, visitor: Visitor, asked: list[str]
) -> None:
    page = window.page
    page.goto(visitor.at("street", "policy"))
    expect(page.locator("#color")).to_be_hidden()
    page.get_by_label("One colour").check()
    page.goto(visitor.at("street", "people"))
    assert asked == ["beforeunload"]
    page.go_back()
    expect(page.get_by_label("One colour")).to_be_checked()
    expect(page.locator("#color")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.goto(visitor.at("street", "people"))
    assert asked == ["beforeunload"]


def test_a_distance_of_one_s_own_is_bounded_by_the_chosen_model(window: Window, visitor: Visitor) -> None:
    page = window.page
    page.goto(visitor.at("street", "policy"))
    expect(page.get_by_label("Balanced")).to_be_checked()
    page.locator("#own_distance").fill("0.97")
    expect(page.get_by_label("A distance of your own")).to_be_checked()
    page.get_by_text("For those who know the models").click()
    page.get_by_role("radio", name="FaceNet, CASIA-WebFace It").check()
    expect(page.locator("#own_distance")).to_have_attribute("max", "0.75")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#own_distance:invalid")).to_be_focused()
    page.get_by_role("radio", name="SFace Recommended").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.locator("#own_distance")).to_have_value("0.97")


# Suffix, FFmpeg's name of the container, codec. All are on the engine's list of demuxers.
CONTAINERS = (
    ("mp4", "mp4", "libx264"),
    ("mov", "mov", "libx264"),
    ("3gp", "3gp", "mpeg4"),
    ("mkv", "matroska", "libx264"),
    ("webm", "webm", "libvpx"),
    ("avi", "avi", "mpeg4"),
    ("ts", "mpegts", "libx264"),
    ("flv", "flv", "flv1"),
    ("wmv", "asf", "wmv2"),
    ("mpg", "mpeg", "mpeg1video"),
    ("mxf", "mxf", "mpeg2video"),
    ("gif", "gif", "gif"),
    ("h264", "h264", "libx264"),
    ("nut", "nut", "libx264"),
    ("ivf", "ivf", "libvpx"),
)
PIXELS = {"gif": "rgb8"}
# Old QuickTime files begin with one of these; a tape's DV stream and a cut transport stream have no magic number.
ODD_BEGINNINGS = {
    "moov.mov": b"\0\0\x02\x00moov\0\0\0\x6cmvhd",
    "mdat.mov": b"\0\x10\0\0mdat" + b"plain text inside " * 400,
    "wide.mov": b"\0\0\0\x08wide\0\x10\0\0mdat" + b"plain text " * 400,
    "free.mov": b"\0\0\x08\0free" + b" " * 4096,
    "dv.dv": b"\x1f\x07\x00\xbf" + b"\xff" * 400,
    "cut.ts": b"\x12\x34" + b"\x00\xff" * 2048,
    "sound.ogv": b"OggS\0\x02" + b"text " * 1000,
}


def container(path: Path, name: str, codec: str) -> bytes:
    """A video of a few small frames in this container."""
    with av.open(str(path), "w", format=name) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 176, 144, PIXELS.get(codec, "yuv420p")
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((144, 176, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path.read_bytes()


def blu_ray(stream: bytes) -> bytes:
    """A transport stream as cameras store it: four bytes of time before each packet."""
    return b"".join(b"\0\0\0\0" + stream[place : place + 188] for place in range(0, len(stream), 188))


def test_every_container_of_the_engine_passes_the_check_of_a_file(
    window: Window, visitor: Visitor, tmp_path: Path
) -> None:
    files = {f"a.{suffix}": container(tmp_path / f"a.{suffix}", *how) for suffix, *how in CONTAINERS}
    files["a.m2ts"] = blu_ray(files["a.ts"])
    files |= ODD_BEGINNINGS
    window.page.goto(visitor.address)
    said = window.page.evaluate(
        """async (files) => {
            const { problemOf } = await import("/static/video_file.js");
            const said = {};
            for (const [name, bytes] of files) {
                const file = new File([new Uint8Array(bytes)], name, { type: "text/plain" });
                said[name] = await problemOf(file);
            }
            return said;
        }""",
        [[name, list(data[:8192])] for name, data in files.items()],
    )
    assert said == dict.fromkeys(files)


def test_other_files_are_refused_with_a_sentence_before_their_upload(
    window: Window, visitor: Visitor, tmp_path: Path
) -> None:
    page = window.page
    picture = container(tmp_path / "picture.gif", "gif", "gif")
    refused = {
        "notes.mp4": ("Grüße an alle.\n" * 600).encode(),
        "utf16.mp4": "Grüße".encode("utf-16"),
        "photo.mp4": b"\xff\xd8\xff\xe1" + picture,
        "iphone.mov": b"\0\0\0\x18ftypheic" + picture,
        "scan.mp4": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3" + picture,
        "slides.mp4": b"PK\x03\x04" + picture,
        "song.mp4": b"ID3\x04" + picture,
        "old.bmp": b"BM\x76\x02\0\0" + picture,
        "empty.mp4": b"",
    }
    for name, data in refused.items():
        (tmp_path / name).write_bytes(data)
    container(tmp_path / "walk.mp4", "mp4", "libx264")
    page.goto(visitor.at("street", "drop"))
    page.locator("#files").set_input_files([tmp_path / name for name in (*refused, "walk.mp4")])
    expect(page.get_by_text("All of it has arrived").first).to_be_visible()
    sentences = dict(zip(refused, page.locator("#list .words").all_text_contents(), strict=False))
    kinds = ("text", "text", "picture", "picture", "PDF", "archive", "sound", "picture", "empty")
    for (name, sentence), kind in zip(sentences.items(), kinds, strict=True):
        assert re.fullmatch(rf"This .*\b{kind}\b.*\. Choose a video file, such as an MP4\.", sentence), name
    assert visitor.buckets.names(visitor.buckets.intake) == ["channels/street/videos/walk.mp4"]
    assert page.locator("#list button:visible").count() == 0


def test_a_file_that_is_stopped_before_its_session_began_is_not_sent(
    window: Window, visitor: Visitor, tmp_path: Path
) -> None:
    page = window.page
    container(tmp_path / "walk.mp4", "mp4", "libx264")
    asked_for: list[Route] = []
    page.route("**/uploads", lambda route: asked_for.append(route))
    page.goto(visitor.at("street", "drop"))
    page.locator("#files").set_input_files(tmp_path / "walk.mp4")
    expect(page.get_by_text("Asking for a place.")).to_be_visible()
    page.get_by_role("button", name="Stop: walk.mp4").click()
    asked_for[0].continue_()
    expect(page.locator("#list .words")).to_have_text("Stopped. It can go on where it was.")
    assert visitor.buckets.names(visitor.buckets.intake) == []
