"""The console's forms in a real browser, without the pipeline: "Back", unsaved changes, the check of files."""

import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog, Route, expect

from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure
from tests.clips import write_clip
from tests.cloud import Buckets
from tests.console.browser import Window, launch_browser
from tests.console.visitor import Visitor
from tests.planned import plan_job


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    context = browser.new_context()
    yield Window(context.new_page())
    context.close()


@pytest.fixture
def dialogs(window: Window) -> list[str]:
    """Accept each dialog of the page. Return the list of their kinds."""
    kinds: list[str] = []

    def accept(dialog: Dialog) -> None:
        kinds.append(dialog.type)
        dialog.accept()

    window.page.on("dialog", accept)
    return kinds


def test_back_restores_a_changed_policy_with_its_fields(
    window: Window, visitor: Visitor, dialogs: list[str]
) -> None:
    page = window.page
    page.goto(visitor.url("street", "policy"))
    expect(page.locator("#color")).to_be_hidden()
    page.get_by_label("One color").check()
    page.goto(visitor.url("street", "people"))
    assert dialogs == ["beforeunload"]
    page.go_back()
    expect(page.get_by_label("One color")).to_be_checked()
    expect(page.locator("#color")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.goto(visitor.url("street", "people"))
    assert dialogs == ["beforeunload"]


def test_own_threshold_is_limited_by_the_chosen_model(window: Window, visitor: Visitor) -> None:
    page = window.page
    page.goto(visitor.url("street", "policy"))
    expect(page.get_by_label("Balanced")).to_be_checked()
    page.locator("#own_threshold").fill("0.97")
    expect(page.get_by_label("Your own match threshold")).to_be_checked()
    page.get_by_text("Models and diagnostics").click()
    page.get_by_role("radio", name="FaceNet, CASIA-WebFace It").check()
    expect(page.locator("#own_threshold")).to_have_attribute("max", "0.75")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#own_threshold:invalid")).to_be_focused()
    page.get_by_role("radio", name="SFace Recommended").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.locator("#own_threshold")).to_have_value("0.97")


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
# Old QuickTime files begin with one of these boxes. DV and cut transport streams have no magic number.
ODD_BEGINNINGS = {
    "moov.mov": b"\0\0\x02\x00moov\0\0\0\x6cmvhd",
    "mdat.mov": b"\0\x10\0\0mdat" + b"plain text inside " * 400,
    "wide.mov": b"\0\0\0\x08wide\0\x10\0\0mdat" + b"plain text " * 400,
    "free.mov": b"\0\0\x08\0free" + b" " * 4096,
    "dv.dv": b"\x1f\x07\x00\xbf" + b"\xff" * 400,
    "cut.ts": b"\x12\x34" + b"\x00\xff" * 2048,
    "sound.ogv": b"OggS\0\x02" + b"text " * 1000,
}


def encode_container(path: Path, name: str, codec: str) -> bytes:
    """Write a video of three small frames in this container. Return its bytes."""
    with av.open(str(path), "w", format=name) as out:
        stream = out.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 176, 144, PIXELS.get(codec, "yuv420p")
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((144, 176, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path.read_bytes()


def to_m2ts(stream: bytes) -> bytes:
    """Return the transport stream as cameras store it, with a timestamp of four bytes before each packet."""
    return b"".join(b"\0\0\0\0" + stream[place : place + 188] for place in range(0, len(stream), 188))


def test_every_container_of_the_engine_passes_the_file_check(
    window: Window, visitor: Visitor, tmp_path: Path
) -> None:
    files = {f"a.{suffix}": encode_container(tmp_path / f"a.{suffix}", *how) for suffix, *how in CONTAINERS}
    files["a.m2ts"] = to_m2ts(files["a.ts"])
    files |= ODD_BEGINNINGS
    window.page.goto(visitor.address)
    problems = window.page.evaluate(
        """async (files) => {
            const { findProblem } = await import("/static/video_file.js");
            const problems = {};
            for (const [name, bytes] of files) {
                const file = new File([new Uint8Array(bytes)], name, { type: "text/plain" });
                problems[name] = await findProblem(file);
            }
            return problems;
        }""",
        [[name, list(data[:8192])] for name, data in files.items()],
    )
    assert problems == dict.fromkeys(files)


def test_other_files_are_refused_before_their_upload(
    window: Window, visitor: Visitor, tmp_path: Path
) -> None:
    page = window.page
    picture = encode_container(tmp_path / "picture.gif", "gif", "gif")
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
    encode_container(tmp_path / "walk.mp4", "mp4", "libx264")
    page.goto(visitor.url("street", "upload"))
    page.locator("#files").set_input_files([tmp_path / name for name in (*refused, "walk.mp4")])
    expect(page.get_by_text("Upload complete").first).to_be_visible()
    messages = dict(zip(refused, page.locator("#uploads .message").all_text_contents(), strict=False))
    kinds = ("text", "text", "picture", "picture", "PDF", "archive", "sound", "picture", "empty")
    for (name, message), kind in zip(messages.items(), kinds, strict=True):
        assert re.fullmatch(rf"This .*\b{kind}\b.*\. Choose a video file, such as an MP4\.", message), name
    assert visitor.buckets.names(visitor.buckets.intake) == ["channels/street/videos/walk.mp4"]
    assert page.locator("#uploads button:visible").count() == 0


def test_file_that_is_stopped_before_its_session_starts_is_not_sent(
    window: Window, visitor: Visitor, tmp_path: Path
) -> None:
    page = window.page
    encode_container(tmp_path / "walk.mp4", "mp4", "libx264")
    requests: list[Route] = []
    page.route("**/uploads", lambda route: requests.append(route))
    page.goto(visitor.url("street", "upload"))
    page.locator("#files").set_input_files(tmp_path / "walk.mp4")
    expect(page.get_by_text("Starting the upload.")).to_be_visible()
    page.get_by_role("button", name="Stop: walk.mp4").click()
    requests[0].continue_()
    expect(page.locator("#uploads .message")).to_have_text("Upload stopped. You can resume it.")
    assert visitor.buckets.names(visitor.buckets.intake) == []


@pytest.mark.usefixtures("topics")
def test_job_that_ends_while_the_page_is_hidden_is_announced(
    window: Window, visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    planned = plan_job(buckets, write_clip(tmp_path / "walk.mp4"))
    page = window.page
    page.add_init_script(
        """
        Object.defineProperty(document, "hidden", { get: () => true });
        window.shown = [];
        window.Notification = class {
            static permission = "granted";
            constructor(_, { body }) { window.shown.push(body); }
        };
        """
    )
    page.goto(visitor.url("street", "jobs"))
    expect(page.locator("[data-running]")).to_have_count(1)
    failure.fail_job(planned.job, "ingest", PermanentError("bad-picture", "It shows no face. Use another."))
    page.wait_for_function("() => document.title.startsWith('(1) Jobs')")
    assert page.evaluate("() => window.shown") == ["walk.mp4 is done."]
