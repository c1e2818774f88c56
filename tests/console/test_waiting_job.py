"""A job that waits for a person on the console: its card, its page, and publishing it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from defacer.pipeline.channel import read_policy
from defacer.pipeline.documents.manifest import Confirmation
from defacer.pipeline.lifecycle.lease import utc_now
from defacer.pipeline.storage import object_names
from tests.clips import write_clip
from tests.cloud import Buckets
from tests.console.browser import Window, launch_browser
from tests.console.visitor import Visitor
from tests.functions.rendering import EILEEN, tracks_of
from tests.functions.reviewing import waiting_policy
from tests.planned import Planned, faces_of, plan_job

LIMITED = pytest.mark.usefixtures("limited")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


@pytest.fixture
def waiting(buckets: Buckets, tmp_path: Path, request: pytest.FixtureRequest) -> Planned:
    """A job that waits for a person, with Eileen proposed to stay visible and two other people hidden.

    The parameter changes its policy.
    """
    policy = waiting_policy().model_copy(update=getattr(request, "param", {}))
    buckets.put(buckets.intake, EILEEN, b"a picture")
    clip = write_clip(tmp_path / "walk.mp4")
    planned = plan_job(buckets, clip, policy=policy, targets=("Eileen",))
    tracks = [replace(track, group=track.id) for track in tracks_of(planned, "Eileen", None, None)]
    faces = faces_of(planned, *tracks)
    blob = buckets.client.bucket(buckets.work).blob(object_names.faces(planned.job))
    blob.metadata = {object_names.OF_REVIEW_END: (utc_now() + timedelta(hours=2)).isoformat()}
    blob.upload_from_string(faces.to_bytes())
    buckets.put(buckets.work, object_names.waiting_entry(planned.job), b"{}")
    return planned


def confirmation_of(buckets: Buckets, planned: Planned) -> Confirmation:
    name = object_names.ConfirmationName("street", planned.job).object_name
    return Confirmation.model_validate_json(buckets.get(buckets.intake, name))


@LIMITED
def test_waiting_job_is_reviewed_before_anything_is_rendered(visitor: Visitor, waiting: Planned) -> None:
    address = visitor.url("street", "jobs", waiting.job)
    page = visitor.open(address)
    assert "Publish…" in page
    assert "UTC</time>. After that, the job fails and nothing is published." in page
    assert f"{waiting.job}/result" not in page
    found = json.loads(visitor.open(f"{address}/review.json"))
    assert [track["decision"] for track in found["tracks"]] == ["keep", "hide", "hide"]
    assert (found["editable"], found["people"], bool(found["waiting_until"])) == (True, ["Eileen"], True)
    assert found["summary"].endswith("Nothing is rendered yet. The result is checked before it is published.")
    assert len(json.loads(visitor.open(f"{address}/tracks/1"))["detections"]) > 1
    visitor.open(f"{address}/result", 404)


@LIMITED
@pytest.mark.parametrize("waiting", [{"verify": "off", "on_timeout": "publish_hidden"}], indirect=True)
def test_waiting_job_without_a_check_says_so(visitor: Visitor, waiting: Planned) -> None:
    address = visitor.url("street", "jobs", waiting.job)
    found = json.loads(visitor.open(f"{address}/review.json"))
    assert found["summary"].endswith(
        "Nothing is rendered yet. The result is not checked before it is published."
    )
    for page in (address, visitor.url("street", "jobs")):
        assert "After that, the video is published with everyone hidden." in visitor.open(page)


@LIMITED
def test_box_shortly_after_the_last_frame_has_a_picture(visitor: Visitor, waiting: Planned) -> None:
    address = visitor.url("street", "jobs", waiting.job)
    visitor.session.headers["Sec-Fetch-Site"] = "same-origin"
    visitor.open(f"{address}/crops?tracks=@2.01,-5,20,60,80")


@LIMITED
def test_second_person_on_the_page_is_refused(visitor: Visitor, waiting: Planned) -> None:
    address = visitor.url("street", "jobs", waiting.job)
    version = json.loads(visitor.open(f"{address}/review.json"))["version"]
    body = json.dumps({"version": version, "edits": {"decisions": {"1": "keep"}}})
    answers = [visitor.post(f"{address}/edits", body, {"Content-Type": "application/json"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 422]
    assert "Another person has already confirmed walk.mp4" in answers[1].text
    assert confirmation_of(visitor.buckets, waiting).edits.decisions == {1: "keep"}
    # As ingest does: without the end of the wait.
    visitor.buckets.put(visitor.buckets.work, object_names.faces(waiting.job), faces_of(waiting).to_bytes())
    late = visitor.post(f"{address}/edits", body, {"Content-Type": "application/json"})
    assert (late.status_code, "another person has confirmed it" in late.text) == (409, True)


@LIMITED
def test_publishing_without_changes_confirms_the_proposal(visitor: Visitor, waiting: Planned) -> None:
    address = visitor.url("street", "jobs", waiting.job)
    sent = {"version": f"{waiting.job}-proposal", "edits": {}}
    answer = visitor.post(f"{address}/edits", json.dumps(sent), {"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert not confirmation_of(visitor.buckets, waiting).edits
    outdated = {"version": waiting.job, "edits": {}}
    refused = visitor.post(f"{address}/edits", json.dumps(outdated), {"Content-Type": "application/json"})
    assert (refused.status_code, "wait for a person" in refused.json()["error"]) == (409, True)


def test_person_is_kept_by_clicking_and_the_video_is_published(
    browser: Browser, visitor: Visitor, waiting: Planned
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    window = Window(context.new_page())
    page = window.page
    page.goto(visitor.url("street", "jobs"))
    expect(page.locator(".job")).to_contain_text("Waiting for you")
    page.get_by_role("link", name="Choose who stays visible").click()
    expect(page.locator("video")).to_have_count(1)
    expect(page.locator(".note time")).not_to_contain_text(
        "UTC"
    )  # in the local time zone, as on the page Jobs
    cards = page.locator("#cards .person")
    expect(cards).to_have_count(3)
    second = cards.filter(has=page.get_by_role("button", name="Person 2: show in the video"))
    second.get_by_role("button", name="Keep").click()
    expect(page.locator("#change-count")).to_have_text("1 change, not published yet")
    face = {"detections": [[0.5, -5, 20, 60, 80]], "unconfirmed": []}
    page.route("**/look-again", lambda route: route.fulfill(body=json.dumps({"tracks": [face]}) + "\n"))
    page.keyboard.press("r")
    page.get_by_role("button", name="Search this range").click()
    page.get_by_role("button", name="Keep Face 1").click()
    window.check_page("waiting job")
    page.get_by_role("button", name="Publish…").click()
    expect(page.locator("#apply-title")).to_have_text("3 tracks will become visible")
    for item in page.locator("#apply-list li").all():
        expect(item.locator(".face").first).to_be_visible()
    page.get_by_role("button", name="Publish", exact=True).click()
    page.wait_for_url("**/jobs")
    assert confirmation_of(visitor.buckets, waiting).edits.decisions == {1: "keep"}
    assert window.errors == []
    context.close()


@LIMITED
def test_policy_page_sets_the_confirmation(visitor: Visitor) -> None:
    fields = {
        "generation": "0",
        "confirm": "before_publish",
        "confirm_hours": "48",
        "on_timeout": "publish_hidden",
    }
    answer = visitor.post(visitor.url("street", "policy", "save"), fields)
    assert answer.status_code == 303, answer.text
    policy = read_policy(visitor.buckets.intake, "street")
    assert (policy.confirm, policy.confirm_hours, policy.on_timeout) == (
        "before_publish",
        48,
        "publish_hidden",
    )
    page = visitor.open(visitor.url("street", "policy"))
    assert 'value="48"' in page
    refused = visitor.post(visitor.url("street", "policy", "save"), {**fields, "confirm_hours": "721"})
    assert refused.status_code == 422
    assert "less than or equal to 720" in refused.text
