"""Drawing masks on the page Review in a real browser, with a mouse, a finger and the keyboard."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from defacer.report.compact_boxes import CompactBoxes
from defacer.report.tracks import Origin, Reason
from tests.clips import frame_times
from tests.cloud import Buckets
from tests.console.browser import SERIOUS_IMPACTS, run_axe
from tests.console.published_job import make_track, publish
from tests.console.test_player import (
    CLIP,
    RATE,
    Open,
    browser,
    clip,
    open_review,
    planned,
    send_swipe,
    wait_for_frame,
)
from tests.planned import Planned

__all__ = ["browser", "clip", "open_review", "planned"]  # fixtures


def drag(page: Page, *places: tuple[float, float]) -> None:
    """Drag the mouse over the source, between places in pixels of the frame."""
    area = page.locator(".of-source .pan").bounding_box()
    assert area is not None
    scale = area["width"] / CLIP.size[0]
    for number, (x, y) in enumerate(places):
        page.mouse.move(area["x"] + x * scale, area["y"] + y * scale)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def apply_masks(page: Page, planned: Planned) -> list[list[tuple[float, list[int]]]]:
    """Apply the changes. Return the added masks of the request: the number of the frame and the box of each detection.

    A mask begins and ends a quarter of a frame outside its range, so that rounding leaves no frame out.
    """
    sent: list[Any] = []

    def answer(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or ""))
        route.fulfill(status=422, json={"error": "This test applies nothing."})

    page.route("**/edits", answer)
    page.get_by_role("button", name="Apply…").click()
    page.get_by_role("button", name="Apply and re-render").click()
    expect(page.get_by_text("This test applies nothing.")).to_be_visible()
    times = frame_times(planned.clip)
    unit = (times[1] - times[0]) or 1
    return [
        [
            (round((item["pts"] - times[0]) / unit, 2), [round(side) for side in item["box"]])
            for item in track["detections"]
        ]
        for track in sent[0]["edits"]["added"]
    ]


def test_mask_covers_from_here_to_here_and_moves_between_two_corrections(
    open_review: Open, planned: Planned
) -> None:
    page = open_review()
    page.keyboard.press("ArrowRight")
    wait_for_frame(page, 25)
    page.get_by_role("button", name="Draw a mask").click()
    page.get_by_role("button", name="From here").click()
    drag(page, (100, 40), (120, 80), (140, 100))
    page.keyboard.press("ArrowRight")
    wait_for_frame(page, 50)
    page.get_by_role("button", name="To here").click()
    drag(page, (120, 60), (150, 70), (180, 80))  # move it
    drag(page, (200, 120), (210, 150), (220, 160))  # pull its corner
    page.get_by_label("Follow the face in the box").uncheck()
    page.get_by_role("button", name="Add the mask").click()
    expect(page.locator("#mask-status")).to_contain_text("in the list of changes")
    expect(page.locator(".person .go").filter(has_text="Mask 1")).to_be_visible()
    (mask,) = apply_masks(page, planned)
    first, second = [100, 40, 140, 100], [160, 60, 220, 160]
    assert mask == [(24.75, first), (25, first), (50, second), (50.25, second)]


def test_mask_is_placed_corrected_and_undone_with_the_keyboard_alone(
    open_review: Open, planned: Planned
) -> None:
    page = open_review()
    page.keyboard.press("d")
    box = page.locator(".of-source .drawn")
    expect(box).to_be_focused()
    expect(page.get_by_role("button", name="Add the mask")).to_be_disabled()
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowRight", "Shift+ArrowUp"):
        page.keyboard.press(key)
    page.get_by_label("Follow the face in the box").press(" ")
    page.get_by_role("button", name="Whole video").press("Enter")
    box.press("Enter")
    expect(page.locator("#mask-title")).to_have_text("Correct Mask 1")
    box.press("ArrowLeft")
    box.press("Enter")
    expect(page.locator("#change-count")).to_have_text("2 changes, not applied yet")
    for _ in range(2):
        page.keyboard.press("Control+z")
    expect(page.locator("#mask-title")).to_have_text("Cover a missed face")
    page.keyboard.press("Control+Shift+z")
    box.press("Escape")
    expect(page.get_by_role("button", name="Draw a mask")).to_be_focused()
    (mask,) = apply_masks(page, planned)
    proposed = [160 - 22.5, 90 - 22.5, 160 + 22.5, 90 + 22.5]
    placed = [round(side + change) for side, change in zip(proposed, (2, 2, 4, 0), strict=True)]
    assert [placed] * 2 == [shown for _, shown in mask]
    assert mask[0][0] == 0
    assert mask[-1][0] >= CLIP.seconds * RATE


def test_mask_is_drawn_with_a_finger_on_an_enlarged_picture(open_review: Open, planned: Planned) -> None:
    page = open_review(phone=True)
    page.get_by_role("button", name="Draw a mask").click()
    page.get_by_role("button", name="Enlarge the picture").click()
    page.evaluate("() => scrollTo(0, 0)")
    area = page.locator(".of-source .pan").bounding_box()
    assert area is not None
    scale = area["width"] / CLIP.size[0]
    places = ((200, 50), (220, 70), (240, 90))
    send_swipe(page, [(area["x"] + x * scale, area["y"] + y * scale) for x, y in places])
    page.get_by_label("Follow the face in the box").uncheck()
    page.get_by_role("button", name="Add the mask").click()
    (mask,) = apply_masks(page, planned)
    assert mask[0][1] == pytest.approx([200, 50, 240, 90], abs=1)
    expect(page.locator(".screens")).to_have_attribute("data-view", "side")  # no swipe


def test_correction_of_a_rendered_mask_keeps_its_other_boxes(
    open_review: Open, buckets: Buckets, clip: Path
) -> None:
    times, first = frame_times(clip), (20, 20, 60, 60)
    boxes = CompactBoxes((times[number], first) for number in (0, 10, 20, 30))
    drawn = replace(make_track(0, "hide", None), origin=Origin.MANUAL, detections=boxes, end=times[30])
    drawn = replace(drawn, unconfirmed=((times[1], times[5]), (times[20], times[25])))
    planned = publish(buckets, clip, [drawn], targets=())
    page = open_review(planned=planned)
    expect(page.locator("#moment")).to_have_text("2 to check.")
    page.locator("[data-key=person0] .go").click()
    page.get_by_role("button", name="Correct the mask").click()
    expect(page.locator("#mask-status")).to_have_text("Go to any moment and correct the box there.")
    page.keyboard.press("Home")
    for _ in range(2):
        page.keyboard.press(".")
    wait_for_frame(page, 2)
    drag(page, (100, 100), (120, 120), (140, 140))
    page.get_by_role("button", name="Change the mask").click()
    expect(page.locator("#change-list li")).to_have_count(1)
    expect(page.locator("#moment")).to_have_text("1 to check.")
    page.get_by_role("button", name="Apply…").click()
    expect(page.get_by_role("heading", name="No face becomes visible")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    (mask,) = apply_masks(page, planned)
    corrected = [100, 100, 140, 140]
    assert mask[:3] == [(0, [*first]), (2, corrected), (10, [*first])]
    assert mask[-1] == (30.25, [*first])


def test_mask_can_be_changed_only_when_its_boxes_are_loaded(
    open_review: Open, buckets: Buckets, clip: Path
) -> None:
    times, held = frame_times(clip), list[Route]()
    masks = [
        make_track(
            number,
            "hide",
            None,
            times[0],
            times[30],
            origin=Origin.MANUAL,
            reason=Reason.MANUAL,
            group=number,
        )
        for number in (0, 1)
    ]
    page = open_review(planned=publish(buckets, clip, masks, targets=()))
    card = page.locator("[data-key=person1]")
    expect(card.locator(".go")).to_have_text("Mask 2")
    expect(card.get_by_role("button", name="This is…")).to_be_hidden()
    page.route("**/tracks/1", lambda route: held.append(route))
    page.locator("[data-key=person0] .go").click()
    page.get_by_role("button", name="Correct the mask").click()
    change = page.get_by_role("button", name="Change the mask")
    expect(change).to_be_enabled()
    card.locator(".go").click()
    expect(page.locator("#mask-title")).to_have_text("Correct Mask 2")
    expect(change).to_be_disabled()
    while not held:  # the request of a slow browser
        page.wait_for_timeout(20)
    held[0].continue_()
    expect(change).to_be_enabled()
    card.get_by_role("button", name="Remove Mask 2").click()
    expect(card.locator(".tag")).to_have_text("will be removed")


def test_part_of_a_mask_that_nothing_confirmed_is_marked_for_a_check(open_review: Open) -> None:
    """The clip shows no face, so the box cannot follow any."""
    page = open_review()
    page.get_by_role("button", name="Draw a mask").click()
    follow = page.get_by_role("checkbox", name="Follow the face in the box")
    expect(follow).to_have_accessible_description(
        "A box around several faces stays in its place, and is marked to check."
    )
    drag(page, (200, 40), (220, 60), (240, 80))
    page.get_by_role("button", name="Add the mask").click()
    expect(page.locator("#mask-status")).to_contain_text("One part needs your check")
    expect(page.locator("#moment")).to_have_text("3 to check.")
    page.keyboard.press("End")
    page.get_by_role("button", name="Next to check").click()
    expect(page.locator("#moment")).to_have_text("Mask 1: check this. 1 of 3.")
    page.get_by_role("button", name="Apply…").click()
    expect(page.locator("#apply-unchecked")).to_contain_text(
        "Check that the mask covers it: Mask 1 at 0:00 to 0:0"
    )
    page.get_by_role("button", name="Cancel").click()
    assert [found for found in run_axe(page) if found["impact"] in SERIOUS_IMPACTS] == []
    page.get_by_role("button", name="Remove the mask").click()
    expect(page.locator("#moment")).to_have_text("2 to check.")


def test_mask_offers_to_cover_only_the_range_that_was_followed(open_review: Open, planned: Planned) -> None:
    page = open_review()
    boxes = [[0.0, 20, 20, 60, 60], [0.5, 20, 20, 60, 60], [1.5, 60, 20, 100, 60], [2.0, 60, 20, 100, 60]]
    found = {"detections": boxes, "unconfirmed": [[0.0, 0.5], [1.5, 10.0]]}
    page.route(
        "**/follow",
        lambda route: route.fulfill(body=json.dumps(found) + "\n", content_type="application/jsonl"),
    )
    page.keyboard.press("ArrowRight")
    wait_for_frame(page, 25)
    page.get_by_role("button", name="Draw a mask").click()
    page.get_by_role("button", name="Whole video").click()
    drag(page, (20, 20), (40, 40), (60, 60))
    page.get_by_role("button", name="Add the mask").click()
    page.get_by_role("button", name="Cover only 0:00.5 to 0:01.5, where it was followed").click()
    expect(page.locator("#mask-range")).to_have_text("0:00.5 to 0:01.5")
    expect(page.locator("#moment")).not_to_contain_text("4 to check")
    (mask,) = apply_masks(page, planned)
    assert mask == [(12.5, [20, 20, 60, 60]), (37.5, [60, 20, 100, 60])]


def test_look_again_has_a_place_of_its_own(open_review: Open) -> None:
    page = open_review()
    page.get_by_role("button", name="Look again").click()
    expect(page.locator("#mask-title")).to_have_text("Look again for missed faces")
    search = page.get_by_role("button", name="Search this range")
    expect(search).to_be_focused()
    expect(page.get_by_role("button", name="Add the mask")).to_be_hidden()
    expect(page.locator(".of-source .drawn")).to_be_hidden()
    page.get_by_role("button", name="Whole video").click()
    search.click()
    expect(page.locator("#mask-status")).to_contain_text("No more face was found between 0:00 and 0:0")
    assert [found for found in run_axe(page) if found["impact"] in SERIOUS_IMPACTS] == []
    page.keyboard.press("d")
    expect(page.locator("#mask-title")).to_have_text("Cover a missed face")
    expect(search).to_be_hidden()
    page.keyboard.press("r")
    page.keyboard.press("r")
    expect(page.locator("#mask-panel")).to_be_hidden()
    expect(page.get_by_role("button", name="Look again")).to_be_focused()
