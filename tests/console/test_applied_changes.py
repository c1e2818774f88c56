"""Changes that a person applies on the page Review in a real browser, rendered by the real functions."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, expect

from defacer.pipeline.documents.base import ObjectRef
from defacer.report.tracks import Origin, Reason
from defacer_emulator.demo.demo_clip import make_demo_clip
from tests.clips import Picture, write_clip
from tests.cloud import Buckets, Post, Topics
from tests.console.browser import Window, launch_browser
from tests.console.published_job import publish
from tests.console.visitor import Visitor
from tests.demo_boxes import FaceBox, compute_demo_boxes
from tests.functions.merging import RESULT
from tests.functions.rendering import BOXES, EILEEN, WHITE, Cloud
from tests.planned import Planned, plan_job, track_of

SECONDS, SIZE, RATE = 3, (640, 360), 15
MISSED, OTHER = "admiral", "astronaut"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


@pytest.fixture
def cloud(buckets: Buckets, topics: Topics, app: Callable[[str], FlaskClient]) -> Cloud:
    """The functions of the pipeline."""

    def connect(name: str) -> Post:
        return lambda push: app(name).post("/", json=push).status_code

    return Cloud(buckets, topics, connect("ingest"), connect("worker"), connect("merge"))


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = Window(context.new_page())
    yield opened
    assert opened.errors == []
    context.close()


def open_review(page: Page, visitor: Visitor, planned: Planned) -> None:
    page.goto(visitor.url("street", "jobs", planned.job))
    expect(page.locator("#time")).to_contain_text("/")  # the scripts have the review
    page.wait_for_function(
        "() => [...document.querySelectorAll('video')].every((video) => video.readyState >= 3)"
    )


def apply_changes(page: Page, cloud: Cloud) -> str:
    """Apply the changes on the page, run the functions, and return the re-render's job."""
    page.get_by_role("button", name="Apply…").click()
    page.get_by_role("button", name="Apply and re-render").click()
    page.wait_for_url("**/jobs")
    (name,) = cloud.buckets.names(cloud.buckets.intake, "channels/street/rerender/")
    generation = int(cloud.buckets.blob(cloud.buckets.intake, name).generation)
    return cloud.run(ObjectRef(bucket=cloud.buckets.intake, name=name, generation=generation))


def test_two_wrong_keeps_and_a_missed_target_take_one_apply(
    window: Window, visitor: Visitor, cloud: Cloud, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4")
    cloud.buckets.put(cloud.buckets.intake, EILEEN, b"a picture")
    example = plan_job(cloud.buckets, clip)
    tracks = [
        replace(track_of(example, person, number, BOXES[number]), group=number)
        for number, person in enumerate(("Eileen", "Eileen", None))
    ]
    planned = publish(cloud.buckets, clip, tracks, targets=("Eileen",), policy=WHITE)
    page = window.page
    open_review(page, visitor, planned)
    for number, choice in enumerate(("hide", "hide", "keep")):
        page.locator(f"[data-key=person{number}] .{choice}").click()
    apply_changes(page, cloud)
    assert cloud.hidden() == [True, True, False]
    report = cloud.report()
    assert [(track.decision, track.reason) for track in report.tracks] == [
        ("hide", Reason.MANUAL),
        ("hide", Reason.MANUAL),
        ("keep", Reason.MANUAL),
    ]


def test_face_that_the_report_lacks_is_followed_and_covered_from_the_page(
    window: Window, visitor: Visitor, cloud: Cloud, tmp_path: Path
) -> None:
    """The check of the result is off, so that only the drawn mask can cover the face."""
    clip, boxes = tmp_path / "walk.mp4", compute_demo_boxes(SECONDS, SIZE, RATE)
    make_demo_clip(clip, SECONDS, SIZE, RATE)
    planned = publish(cloud.buckets, clip, [], targets=(), policy=WHITE.model_copy(update={"verify": "off"}))
    page = window.page
    open_review(page, visitor, planned)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#source")).to_have_attribute("data-frame", "1.000")
    page.get_by_role("button", name="Draw a mask").click()
    (face,) = [box for box in boxes if box.name == MISSED and box.frame == RATE]
    draw_box(page, face)
    page.get_by_role("button", name="Add the mask").click()
    expect(page.locator("#mask-status")).to_contain_text("in the list of changes")
    apply_changes(page, cloud)

    (track,) = cloud.report().tracks
    assert (track.origin, track.decision, track.reason) == (Origin.MANUAL, "hide", Reason.MANUAL)
    with av.open(io.BytesIO(cloud.buckets.get(cloud.buckets.output, RESULT))) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in container.decode(video=0)]
    assert len(frames) == SECONDS * RATE
    seen = [box for box in boxes if box.visible and shows_face(frames[box.frame], box)]
    assert [box.frame for box in seen if box.name == MISSED] == []
    assert (RATE, OTHER) in [(box.frame, box.name) for box in seen]  # nothing else is covered


def draw_box(page: Page, face: FaceBox) -> None:
    """Draw a box around the face with the mouse, a little larger, as a person does."""
    area = page.locator(".of-source .pan").bounding_box()
    assert area is not None
    scale, margin = area["width"] / SIZE[0], 0.15 * (face.y2 - face.y1)
    page.mouse.move(area["x"] + scale * (face.x1 - margin), area["y"] + scale * (face.y1 - margin))
    page.mouse.down()
    page.mouse.move(area["x"] + scale * (face.x2 + margin), area["y"] + scale * (face.y2 + margin), steps=3)
    page.mouse.up()


def shows_face(frame: Picture, face: FaceBox) -> bool:
    """Return whether the frame shows more than a tenth of the face. Masks are white."""
    part = frame[max(0, round(face.y1)) : round(face.y2), max(0, round(face.x1)) : round(face.x2)]
    return bool((part.min(axis=2) < 240).mean() > 0.1)


def test_faces_found_by_looking_again_are_hidden_and_unsure(
    window: Window, visitor: Visitor, cloud: Cloud, tmp_path: Path
) -> None:
    clip = tmp_path / "walk.mp4"
    make_demo_clip(clip, SECONDS, SIZE, RATE)
    planned = publish(cloud.buckets, clip, [], targets=())
    page = window.page
    open_review(page, visitor, planned)
    page.keyboard.press("r")
    page.get_by_role("button", name="Search this range").click()
    expect(page.locator("#mask-status")).to_contain_text(re.compile(r"^\d more faces were found"))
    found = int((page.locator("#mask-status").text_content() or "")[0])
    assert found >= 2
    expect(page.locator("#moment")).to_have_text(f"{found} to check.")
    expect(page.locator(".person.unsure").first).to_be_visible()
    page.keyboard.press("Control+z")
    expect(page.locator(".person")).to_have_count(0)
