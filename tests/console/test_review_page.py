"""The review in a real browser, without the pipeline: cards, pending changes, undo, and "Apply"."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from tests.cloud import Buckets
from tests.console.browser import Window, launch_browser
from tests.console.visitor import Visitor
from tests.planned import Planned

VISIBLE = ":not([hidden])"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
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


@pytest.fixture
def page(window: Window, visitor: Visitor, published: Planned) -> Page:
    """Open the review of the example."""
    window.page.goto(visitor.url("street", "jobs", published.job))
    expect(window.page.locator(".person").first).to_be_visible()
    return window.page


def card(page: Page, name: str) -> Any:
    return page.locator(".person").filter(has=page.get_by_role("button", name=f"{name}: show in the video"))


def names(page: Page) -> list[str]:
    return page.locator(".person .go").all_text_contents()


def requested(buckets: Buckets) -> Any:
    (name,) = buckets.names(buckets.intake, "channels/street/rerender/")
    return json.loads(buckets.get(buckets.intake, name))


def test_unsure_cards_come_first_then_kept_then_hidden_ones(page: Page) -> None:
    assert names(page) == ["Person 3", "Ada <i>", "Ada <i>"]
    assert page.locator(".person .tag").all_text_contents() == ["unsure, hidden", "unsure, kept", "kept"]
    page.get_by_role("button", name="3 people visible for less than 0.5 s each, all hidden").click()
    assert names(page)[3:] == ["Person 1", "Person 5", "Person 6"]


def test_filters_and_search_show_only_matching_cards(page: Page) -> None:
    assert page.locator(".chip").all_text_contents() == ["All 6", "Unsure 2", "Kept 2", "Hidden 4", "Short 6"]
    page.get_by_role("button", name="Kept 2").click()
    assert names(page) == ["Ada <i>", "Ada <i>"]
    page.get_by_role("button", name="Short 6").click()
    assert len(names(page)) == 6
    page.get_by_label("Search by name").fill("person 5")
    assert names(page) == ["Person 5"]
    page.get_by_label("Search by name").fill("Bo")
    expect(page.get_by_text("No person matches")).to_be_visible()


def test_apply_lists_who_becomes_visible_and_requests_it(
    page: Page, window: Window, buckets: Buckets, dialogs: list[str]
) -> None:
    card(page, "Person 3").get_by_role("button", name="Keep").click()
    page.get_by_role("button", name="Ada <i>: show").last.scroll_into_view_if_needed()
    page.locator(".person.kept .hide").last.click()
    expect(page.locator("#change-count")).to_have_text("2 changes, not applied yet")
    page.get_by_role("button", name="Apply…").click()
    expect(page.get_by_role("heading", name="1 hidden track will become visible")).to_be_visible()
    expect(page.locator("#apply-list li")).to_have_count(1)
    expect(page.locator("#apply-list .face").first).to_be_visible()
    window.check_page("review-apply")
    page.get_by_role("button", name="Apply and re-render").click()
    page.wait_for_url("**/street/jobs")
    assert requested(buckets)["edits"]["decisions"] == {"1": "hide", "2": "keep"}
    assert dialogs == []


def test_every_change_can_be_undone_redone_and_removed(page: Page) -> None:
    first = card(page, "Person 3")
    first.get_by_role("button", name="Keep").click()
    expect(first.locator(".tag")).to_have_text("will be kept")
    page.get_by_role("button", name="Undo").click()
    expect(first.locator(".tag")).to_have_text("unsure, hidden")
    page.get_by_role("button", name="Redo").click()
    page.locator(".person.kept .hide").last.click()
    page.locator("#change-count").click()
    assert page.locator("#change-list .spacer, #change-list .grow").all_text_contents() == [
        "Keep Person 3",
        "Hide Ada <i>",
    ]
    page.get_by_role("button", name="Remove: Keep Person 3").click()
    expect(first.locator(".tag")).to_have_text("unsure, hidden")
    expect(page.locator("#change-count")).to_have_text("1 change, not applied yet")


def test_changes_survive_back_and_a_reload(page: Page, visitor: Visitor, dialogs: list[str]) -> None:
    card(page, "Person 3").get_by_role("button", name="Keep").click()
    page.goto(visitor.url("street", "people"))
    assert dialogs == ["beforeunload"]
    page.go_back()
    expect(card(page, "Person 3").locator(".tag")).to_have_text("will be kept")
    expect(page.locator("#change-count")).to_have_text("1 change, not applied yet")
    page.get_by_role("button", name="Undo").click()
    page.reload()
    expect(card(page, "Person 3").locator(".tag")).to_have_text("unsure, hidden")
    assert dialogs == ["beforeunload"]


def test_merging_tracks_of_one_frame_is_refused(page: Page) -> None:
    for name in ("Person 3", "Ada <i>"):
        card(page, name).last.get_by_role("checkbox").check()
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.get_by_role("button", name="Merge").click()
    expect(page.get_by_role("alert")).to_contain_text("Tracks seen in one frame cannot be merged.")
    page.locator("#selection").get_by_role("button", name="Hide").click()
    expect(page.locator("#change-count")).to_have_text("1 change, not applied yet")
