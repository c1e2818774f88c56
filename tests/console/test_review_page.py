"""The review in a real browser, without the pipeline: cards, pending changes, undo, and "Apply"."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from defacer.report.compact_boxes import CompactBoxes
from defacer.report.tracks import Reason, TrackRecord
from tests.clips import Clip, astronaut, frame_times, write_clip
from tests.cloud import Buckets
from tests.console.browser import Window, launch_browser
from tests.console.published_job import make_track, publish
from tests.console.visitor import Visitor
from tests.planned import Planned


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
    return open_review(window, visitor, published)


def open_review(window: Window, visitor: Visitor, planned: Planned) -> Page:
    window.page.goto(visitor.url("street", "jobs", planned.job))
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


def test_page_shows_the_warnings_and_facts_of_the_report(page: Page) -> None:
    expect(page.get_by_text("Warning. No track of Bo <i>.")).to_be_visible()
    expect(page.get_by_text("50 frames, 6 tracks on 6 cards.")).to_be_visible()


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


def test_tracks_are_split_merged_and_named_in_one_request(
    window: Window, visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4")
    times = frame_times(clip)
    # Two tracks of Ada, a stranger before them, and one after them.
    tracks = [
        make_track(number, decision, margin, times[start], times[end], group=group)
        for number, (decision, margin, start, end, group) in enumerate(
            [
                ("keep", 0.3, 10, 14, 0),
                ("keep", 0.3, 20, 24, 0),
                ("hide", -0.5, 0, 8, 1),
                ("hide", -0.5, 30, 34, 2),
            ]
        )
    ]
    buckets.put(buckets.intake, "channels/street/targets/Ada <i>/1.jpg", b"a picture")
    page = open_review(window, visitor, publish(buckets, clip, tracks))
    page.get_by_role("button", name="2 people visible for less than").click()
    card(page, "Ada <i>").get_by_role("button", name="2 tracks of Ada <i>").click()
    window.check_page("review-tracks")
    page.get_by_role("button", name="Split track 1 off").click()
    expect(card(page, "Person 4").locator(".tag")).to_have_text("will be hidden")
    for name in ("Person 2", "Person 3"):
        card(page, name).get_by_role("checkbox").check()
    page.get_by_role("button", name="Merge").click()
    expect(card(page, "Person 2").locator(".expand")).to_have_text("2 tracks")
    card(page, "Person 2").get_by_role("button", name="This is…").click()
    window.check_page("review-name")
    page.get_by_role("radio", name="Ada <i>").check()
    page.locator("#name-confirm").click()
    expect(card(page, "Ada <i>").locator(".expand")).to_have_text("3 tracks")
    page.get_by_role("button", name="Apply…").click()
    expect(page.locator("#apply-list li")).to_have_count(2)
    page.get_by_role("button", name="Apply and re-render").click()
    page.wait_for_url("**/street/jobs")
    edits = requested(buckets)["edits"]
    assert edits["decisions"] == {"1": "hide", "2": "keep", "3": "keep"}
    assert edits["groups"] == {"1": 3, "2": 0, "3": 0}
    assert edits["people"] == {"1": None, "2": "Ada <i>", "3": "Ada <i>"}


def test_new_person_is_named_with_a_saved_picture(
    window: Window, visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4", Clip(size=(640, 360), portrait=astronaut()))
    times = frame_times(clip)
    boxes = CompactBoxes((pts, (290, 40, 390, 160)) for pts in times[::5])
    track = make_track(0, "hide", -0.5, times[0], times[-1], detections=boxes)
    page = open_review(window, visitor, publish(buckets, clip, [track]))
    page.get_by_role("button", name="This is…").click()
    page.get_by_label("Name", exact=True).fill("Eileen")
    expect(page.locator("#picture-choice input").first).to_be_checked()
    page.locator("#name-confirm").click()
    expect(card(page, "Eileen").locator(".tag")).to_have_text("will be kept")
    assert len(buckets.names(buckets.intake, "channels/street/targets/Eileen/")) == 1
    page.get_by_role("button", name="Apply…").click()
    page.get_by_role("button", name="Apply and re-render").click()
    page.wait_for_url("**/street/jobs")
    assert requested(buckets)["edits"]["people"] == {"0": "Eileen"}


def test_forgotten_person_can_not_be_kept_or_named(
    window: Window, visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4")
    times = frame_times(clip)
    tracks = [
        make_track(0, "hide", -0.5, times[0], times[20], reason=Reason.CONSENT_WITHDRAWN),
        make_track(1, "hide", -0.5, times[0], times[20]),
    ]
    page = open_review(window, visitor, publish(buckets, clip, tracks))
    forgotten = card(page, "Person 1")
    expect(forgotten.get_by_role("button", name="Keep")).to_be_disabled()
    expect(forgotten.get_by_role("button", name="This is…")).to_be_hidden()
    for name in ("Person 1", "Person 2"):
        card(page, name).get_by_role("checkbox").check()
    page.locator("#selection").get_by_role("button", name="Keep").click()
    expect(page.locator("#change-list li")).to_contain_text("Keep Person 2")
    expect(forgotten.locator(".tag")).to_have_text("hidden")


def test_store_numbers_added_tracks_and_their_groups(page: Page) -> None:
    edits = page.evaluate(
        """async () => {
            const { ReviewStore } = await import("/static/review/store.js");
            const track = { id: 0, group: 0, person: null, decision: "hide", requested: "hide", spans: [[0, 1]] };
            const video = { duration: 4, time_base: "1/1000", start_pts: 50 };
            const store = new ReviewStore({ version: "v", editable: true, people: [], video, tracks: [track] });
            const first = store.addTrack({ detections: [[2, 1, 2, 3, 4], [2.5, 1, 2, 3, 4]] });
            const second = store.addTrack({ detections: [[3, 1, 2, 3, 4]] });
            store.addTrack({ detections: [[3, 5, 5, 9, 9]], decision: "keep" });
            store.merge([store.track(first).group, store.track(second).group]);
            store.undo();
            store.redo();
            store.editTrack(second, [[3.5, 1, 2, 3, 4]]);
            return store.toEdits().edits;
        }"""
    )
    assert [track["group"] for track in edits["added"]] == [1, 1, None]
    assert [[item["pts"] for item in track["detections"]] for track in edits["added"]] == [
        [2050, 2550],
        [3550],
        [3050],
    ]
    assert (edits["decisions"], edits["groups"], edits["people"]) == ({}, {}, {})


def test_correction_of_a_rendered_mask_is_one_change(page: Page) -> None:
    found = page.evaluate(
        """async () => {
            const { ReviewStore } = await import("/static/review/store.js");
            const track = { id: 0, group: 0, person: null, origin: "manual", decision: "hide", requested: "hide" };
            const video = { duration: 4, time_base: "1/1000", start_pts: 0 };
            const review = { version: "v", editable: true, people: [], waiting_until: null, video };
            const store = new ReviewStore({ ...review, tracks: [{ ...track, spans: [[1, 2]] }] });
            const box = [1, 2, 3, 4];
            const correct = (end) => store.replaceMask(0, { detections: [[1, ...box], [end, ...box]] });
            const state = () => {
                const { changes, tracksToShow, tracks } = store;
                return [changes.length, tracksToShow.length, store.track(0).decision, tracks.length];
            };
            const added = correct(2.1);
            const states = [state()];
            store.removeAdded(added);
            states.push(state());
            store.undo();
            store.changes[0].undo();
            states.push(state());
            correct(1.5);
            states.push(state());
            store.undo();
            states.push(state());
            return states;
        }"""
    )
    corrected, removed, before, shortened, undone = found
    assert corrected == [1, 0, "keep", 2]
    assert removed == [2, 1, "keep", 1]
    assert before == undone == [0, 0, "hide", 1]
    assert shortened == [1, 1, "keep", 2]


def test_changes_that_the_browser_can_not_keep_cause_a_warning(page: Page, dialogs: list[str]) -> None:
    page.evaluate(
        """() => {
            for (let size = 2 ** 22, key = 0; size >= 1; key += 1) {
                try { sessionStorage.setItem(`fill${key}`, "x".repeat(size)); } catch { size /= 2; }
            }
        }"""
    )
    card(page, "Person 3").get_by_role("button", name="Keep").click()
    expect(page.get_by_role("alert").filter(has_text="Apply them before you leave it")).to_be_visible()
    expect(page.locator("#change-count")).to_have_text("1 change, not applied yet")


def test_pictures_are_requested_again_after_an_error_and_freed(page: Page) -> None:
    found = page.evaluate(
        """async () => {
            const { FaceCrops } = await import("/static/review/crops.js");
            const statuses = [503, 422], freed = [];
            const revoke = URL.revokeObjectURL;
            const fetchAll = window.fetch;
            window.fetch = async (url) => {
                if (!url.startsWith("/crops?")) return fetchAll(url); // the cards of the page
                const status = statuses.shift() ?? 200;
                const views = url.split("tracks=").slice(1).map(() => [[0, 0]]);
                return new Response("a picture", { status, headers: { "X-Views": JSON.stringify(views) } });
            };
            URL.revokeObjectURL = (url) => { freed.push(url); revoke.call(URL, url); };
            const crops = new FaceCrops("/crops");
            const get = (key) => new Promise((resolve) => crops.get(key, resolve));
            const rows = [await get("a"), await get("a"), await get("a"), await get("b")];
            await Promise.all(Array.from({ length: 320 }, (_, number) => get(`more${number}`)));
            window.fetch = fetchAll;
            URL.revokeObjectURL = revoke;
            return [rows.map(Boolean), freed.includes(rows[3].url), freed.length];
        }"""
    )
    assert found == [[False, False, False, True], True, 4]


def test_page_with_2000_tracks_has_few_elements_at_any_place(
    window: Window, visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    """Print the times of the first cards and of the frames of a scroll, without a limit: the machine can be busy."""
    clip = write_clip(tmp_path / "walk.mp4")
    times = frame_times(clip)
    spans = [(times[number % 40], times[number % 40 + 2]) for number in range(2000)]
    tracks = [
        make_track(
            number,
            "hide",
            -0.5,
            *span,
            group=number // 2,
            detections=CompactBoxes((span[0] + step, (10, 10, 50, 50)) for step in range(40)),
        )
        for number, span in enumerate(spans)
    ]
    pairs = tuple((number, number + 7) for number in range(0, 1990, 2))
    planned = publish(buckets, clip, tracks, suggested_merges=pairs)
    page = window.page
    page.goto(visitor.url("street", "jobs", planned.job), wait_until="commit")
    expect(page.locator("#cards > li").first).to_be_visible()
    first_cards = page.evaluate("() => performance.getEntriesByName('cards')[0].startTime")
    kinds = page.evaluate(
        "() => performance.getEntriesByType('resource').map((entry) => [entry.name, entry.initiatorType])"
    )
    assert [kind for name, kind in kinds if name.endswith("/review.json")] == ["link"]
    late = page.evaluate(
        """() => {
            const preloaded = [...document.querySelectorAll("link[rel=modulepreload]")].map((link) => link.href);
            return performance.getEntriesByType("resource").map((entry) => entry.name)
                .filter((name) => name.endsWith(".js") && !preloaded.includes(name));
        }"""
    )
    assert late == []  # each import would be one more round trip before the cards
    assert page.locator(".chip").first.text_content() == "All 1000"
    page.get_by_role("button", name="Short 1000").click()
    frames, most = page.evaluate(
        """async () => {
            const frames = [];
            let [most, before] = [0, performance.now()];
            for (let step = 0; step <= 60; step += 1) {
                scrollTo(0, (step / 60) * document.documentElement.scrollHeight);
                await new Promise(requestAnimationFrame);
                frames.push(performance.now() - before);
                before = performance.now();
                most = Math.max(most, document.querySelectorAll("#cards > li").length);
            }
            return [frames, most];
        }"""
    )
    assert most < 40
    assert page.locator(".person").last.get_attribute("aria-posinset") == "1000"
    print(
        f"first cards after {first_cards:.0f} ms; frames of the scroll: median {median(frames):.0f} ms, slowest "
        f"{max(frames):.0f} ms, {sum(frame > 50 for frame in frames)} of {len(frames)} above 50 ms"
    )


def make_people(clip: Path, *spans: tuple[int, int], **more: Any) -> list[TrackRecord]:
    """Return a track of each span of frames, on a card of its own."""
    times = frame_times(clip)
    return [
        make_track(
            number,
            "hide",
            -0.5,
            times[first],
            times[last],
            detections=CompactBoxes(
                (times[n], (10 * number, 10, 10 * number + 50, 60)) for n in range(first, last + 1)
            ),
            **more,
        )
        for number, (first, last) in enumerate(spans)
    ]


def test_suggested_cards_are_merged_with_one_click_or_refused(
    window: Window, visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4")
    # 0, 1 and 2 follow one another, 3 is seen beside 1, and 4 to 6 come later.
    tracks = make_people(clip, (0, 13), (14, 19), (20, 29), (15, 18), (30, 34), (36, 40), (42, 46))
    pairs = ((0, 1), (1, 3), (4, 5), (1, 2), (6, 3), (5, 6))
    page = open_review(window, visitor, publish(buckets, clip, tracks, suggested_merges=pairs))
    stacks = page.locator("#suggestion-list > li")
    expect(stacks.locator(".name")).to_have_text([f"Person {n}" for n in (1, 2, 3, 5, 6, 7, 4)])
    expect(stacks).to_have_count(2)
    expect(stacks.first.locator(".face").first).to_be_visible()
    window.check_page("review-suggestions")
    stacks.first.get_by_role("checkbox", name="Person 3").uncheck()
    stacks.first.get_by_role("button", name="Same person").click()
    expect(card(page, "Person 1").locator(".expand")).to_have_text("2 tracks")
    expect(stacks).to_have_count(1)  # 3 was refused
    stacks.get_by_role("button", name="Different people").click()
    expect(page.locator("#suggestions")).to_be_hidden()
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(card(page, "Person 1").locator(".expand")).to_have_text("2 tracks")
    expect(page.locator("#suggestions")).to_be_hidden()
    page.get_by_role("button", name="Apply…").click()
    page.get_by_role("button", name="Apply and re-render").click()
    page.wait_for_url("**/street/jobs")
    edits = requested(buckets)["edits"]
    assert edits["groups"] == {"1": 0}
    assert sorted(edits["different"]) == [[1, 2], [4, 5], [5, 6], [6, 3]]


def test_all_shown_suggestions_are_merged_at_once(
    window: Window, visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4")
    tracks = make_people(clip, (0, 14), *((3 * n, 3 * n + 2) for n in range(5, 15)))
    pairs = ((0, 1), (2, 3), (4, 5), (6, 7))
    page = open_review(window, visitor, publish(buckets, clip, tracks, suggested_merges=pairs))
    page.get_by_role("button", name="Merge these 3").click()
    expect(page.locator("#suggestion-count")).to_have_text("1 suggestion")
    expect(page.locator("#change-count")).to_have_text("3 changes, not applied yet")
    page.get_by_role("button", name="Same person").click()
    page.get_by_role("button", name="Apply…").click()
    page.get_by_role("button", name="Apply and re-render").click()
    page.wait_for_url("**/street/jobs")
    assert requested(buckets)["edits"]["groups"] == {"1": 0, "3": 2, "5": 4, "7": 6}


def test_track_is_split_at_the_players_time_and_lasts(
    window: Window, visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "walk.mp4")
    times = frame_times(clip)
    (track,) = make_people(clip, (0, 40))
    buckets.put(buckets.intake, "channels/street/targets/Ada <i>/1.jpg", b"a picture")
    planned = publish(
        buckets, clip, [replace(track, decision="keep", person="Ada <i>", reason=Reason.MATCHED)]
    )
    page = open_review(window, visitor, planned)
    split = page.get_by_role("button", name="Split here")
    expect(split).to_be_disabled()
    page.locator(".person .go").click()
    page.locator("#position").fill("1")
    page.wait_for_function("() => document.getElementById('result').currentTime > 0.9")
    split.click()
    part = card(page, "Face 1")
    expect(part.locator(".tag")).to_have_text("will be hidden")
    expect(part).to_have_class(re.compile("chosen"))
    expect(part.locator(".face")).to_be_visible()
    expect(split).to_be_disabled()  # the part begins here
    page.keyboard.press("Control+z")
    expect(part).to_have_count(0)
    page.keyboard.press("Control+Shift+z")
    part.get_by_role("button", name="This is…").click()
    expect(page.get_by_role("radio", name="A new person")).to_have_count(0)  # without a picture
    page.locator("#name-confirm").click()
    expect(card(page, "Ada <i>").locator(".expand")).to_have_text("2 tracks")
    page.get_by_role("button", name="Apply…").click()
    expect(page.get_by_role("heading", name="No face becomes visible")).to_be_visible()
    page.get_by_role("button", name="Apply and re-render").click()
    page.wait_for_url("**/street/jobs")
    (added,) = requested(buckets)["edits"]["added"]
    first = added["detections"][0]["pts"]
    assert (added["split_from"], added["decision"], times.index(first)) == (0, "keep", 25)
    assert (added["person"], added["group"]) == ("Ada <i>", 0)
    # The requested split is shown before its render, and can be split again.
    open_review(window, visitor, planned)
    expect(page.locator(".person .expand")).to_have_text("2 tracks")
    tracks = page.evaluate(
        "async () => (await (await fetch(`${location.pathname}/review.json`)).json()).tracks"
    )
    spans = [track["spans"] for track in tracks]
    assert spans[0][0][1] < spans[1][0][0] == pytest.approx(1, abs=0.02)
