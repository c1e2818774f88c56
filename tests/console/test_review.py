"""The review of a published job: its media, its data, and changing its decisions."""

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser

from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.lifecycle.rerender_request import request_rerender
from defacer.pipeline.storage import object_names
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.edits import AddedTrack, Edits
from defacer.report.texts import ADVICE
from defacer.report.tracks import Origin, Reason
from defacer.web.console import signed_urls
from defacer.web.console.review import published_review, review_data
from tests.clips import frame_times, write_clip
from tests.cloud import Buckets
from tests.console.browser import launch_browser
from tests.console.published_job import MATCH_THRESHOLD, make_track
from tests.console.visitor import PAGE, Visitor
from tests.planned import Planned, plan_job

pytestmark = pytest.mark.usefixtures("limited")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


def open_review(visitor: Visitor, planned: Planned) -> str:
    return visitor.open(visitor.url("street", "jobs", planned.job))


def read_review(visitor: Visitor, planned: Planned, status: int = 200) -> Any:
    return json.loads(visitor.open(visitor.url("street", "jobs", planned.job) + "/review.json", status))


def decide(
    visitor: Visitor, planned: Planned, decisions: object, version: str | None = None, **more: object
) -> requests.Response:
    address = visitor.url("street", "jobs", planned.job) + "/edits"
    sent = {"version": version or planned.job, "edits": {"decisions": decisions, **more}}
    return visitor.post(address, json.dumps(sent), {"Content-Type": "application/json"})


def test_data_has_the_share_of_strangers_that_look_as_similar(visitor: Visitor, published: Planned) -> None:
    tracks = read_review(visitor, published)["tracks"]
    assert tracks[0]["resemblance"] == "Distance 0.50: about 120 in 10,000 strangers look this similar"
    assert tracks[1]["resemblance"] == "Distance 0.50: fewer than 1 in 10,000 strangers looks this similar"
    assert (tracks[5]["reason"], tracks[5]["resemblance"]) == ("Manual decision", "Distance 0.50")


def test_data_has_the_video_the_people_and_each_track(visitor: Visitor, published: Planned) -> None:
    found = read_review(visitor, published)
    video, times = found["video"], frame_times(published.clip)
    assert (video["width"], video["height"], video["start_pts"]) == (320, 180, 0)
    assert (video["duration"], video["frame_rate"]) == (pytest.approx(2, abs=0.1), pytest.approx(25, abs=2))
    assert (found["people"], found["editable"], found["version"]) == (["Ada <i>"], True, published.job)
    assert [track["unsure"] for track in found["tracks"]] == [False, False, True, True, False, False]
    track, unit = found["tracks"][3], Fraction(video["time_base"])
    assert (track["group"], track["decision"], track["person"]) == (3, "keep", "Ada <i>")
    assert track["spans"] == [[pytest.approx(times[5] * unit, abs=1e-6), pytest.approx(times[10] * unit)]]


def test_video_without_a_duration_lasts_until_its_last_frame(published: Planned) -> None:
    review = published_review.build_review("street", published.job, published.manifest)
    endless = published.manifest.video.model_copy(update={"duration_seconds": None})
    end = frame_times(published.clip)[-1]
    review = replace(
        review,
        manifest=published.manifest.model_copy(update={"video": endless}),
        report=review.report.model_copy(update={"faces": replace(review.report.faces, end=end)}),
    )
    assert review.duration == review.to_seconds(end) > 1.9


def test_detections_far_apart_are_two_spans() -> None:
    boxes = CompactBoxes((pts, (0, 0, 1, 1)) for pts in (0, 5, 10, 30, 31))
    assert boxes.spans(10) == ((0, 10), (30, 31))


def test_target_without_a_kept_track_causes_a_warning(visitor: Visitor, published: Planned) -> None:
    assert read_review(visitor, published)["warnings"] == [f"No track of Bo <i>. {ADVICE['no-track-kept']}"]


def test_detections_of_a_track_are_in_seconds_and_pixels(visitor: Visitor, published: Planned) -> None:
    found = json.loads(visitor.open(visitor.url("street", "jobs", published.job) + "/tracks/3"))
    assert (found["width"], found["height"]) == (320, 180)
    assert [detection[1:] for detection in found["detections"]] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found["detections"][0][0] == pytest.approx(5 / 25)
    visitor.open(visitor.url("street", "jobs", published.job) + "/tracks/99", 404)
    visitor.open(visitor.url("street", "jobs", published.job) + f"/tracks/{'9' * 5000}", 404)


def test_boxes_of_a_part_of_the_video_include_the_nearest_ones_outside(
    visitor: Visitor, published: Planned
) -> None:
    address = visitor.url("street", "jobs", published.job) + "/boxes"
    found = json.loads(visitor.open(f"{address}?from=0.1&to=0.3"))["tracks"]
    assert sorted(found) == ["0", "1", "2", "3", "4", "5"]
    assert [box for _, *box in found["3"]] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert json.loads(visitor.open(f"{address}?from=40&to=50"))["tracks"] == {}
    for query in ("", "?from=0&to=61", "?from=2&to=1", "?from=nan&to=1", "?from=0&to=1e3"):
        visitor.open(address + query, 422)


@pytest.mark.parametrize("which", ["source", "result"])
def test_media_redirect_to_signed_urls_of_storage(
    visitor: Visitor, published: Planned, storage_proxy: str, which: str
) -> None:
    address = visitor.url("street", "jobs", published.job) + f"/{which}"
    redirect = visitor.session.get(address, headers=PAGE, allow_redirects=False, timeout=60)
    assert redirect.status_code == 303
    assert redirect.headers["Location"].startswith(storage_proxy)
    assert "X-Goog-Signature=" in redirect.headers["Location"]
    read = requests.get(redirect.headers["Location"], timeout=60)
    assert read.content == published.clip.read_bytes()
    assert read.headers["Content-Type"] == "video/mp4"


@pytest.mark.parametrize(
    ("which", "name"), [("result", "walk.defaced.mp4"), ("report", "walk.defaced.report.jsonl")]
)
def test_download_does_not_have_the_name_of_the_source(
    visitor: Visitor, published: Planned, which: str, name: str
) -> None:
    address = visitor.url("street", "jobs", published.job) + f"/{which}"
    assert f'href="{address.removeprefix(visitor.address)}?save=yes"' in open_review(visitor, published)
    for query, kind in (("?save=yes", "attachment"), ("", "inline")):
        response = visitor.session.get(address + query, headers=PAGE, timeout=60)
        assert response.headers["Content-Disposition"].startswith(f'{kind}; filename="{name}";')


@pytest.mark.parametrize(
    "name", ["Straße.mp4", "прогулка.mp4", "散歩.mp4", "वीडियो.mp4", "c\u0327a va.mp4", "a;b%20'c'.mp4"]
)
def test_browser_saves_a_result_under_its_name_in_any_script(
    visitor: Visitor, browser: Browser, name: str
) -> None:
    result = f"channels/street/{name}"
    ref = visitor.buckets.put(visitor.buckets.output, result, b"a video")
    page = browser.new_page()
    page.set_content(
        f'<a href="{escape(signed_urls.sign_read_url(ref, object_names.download_name(result), save=True))}">x</a>'
    )
    with page.expect_download() as downloading:
        page.get_by_role("link").click()
    expected = unicodedata.normalize("NFC", name).replace(".mp4", ".defaced.mp4")
    assert downloading.value.suggested_filename == expected
    page.close()


@pytest.mark.parametrize(
    ("result", "name"),
    [
        ("channels/a/c05.mp4", "c05.defaced.mp4"),
        ("channels/a/b/C05.MP4", "C05.defaced.mp4"),
        ("channels/a/c05.mov.mp4", "c05.mov.defaced.mp4"),
    ],
)
def test_name_of_a_download_contains_defaced(result: str, name: str) -> None:
    assert object_names.download_name(result) == name


def test_name_of_a_download_has_no_unsafe_characters() -> None:
    header = signed_urls.content_disposition('a"b\\c\u202egpj.exe', save=True)
    assert header == "attachment; filename=\"a_b_c_gpj.exe\"; filename*=UTF-8''a_b_c_gpj.exe"


def test_changed_decisions_are_requested(visitor: Visitor, buckets: Buckets, published: Planned) -> None:
    answer = decide(visitor, published, {"1": "hide", "2": "keep"})
    assert (answer.status_code, answer.json()) == (200, {"jobs": "/channels/street/jobs"})
    (name,) = buckets.names(buckets.intake, "channels/street/rerender/")
    assert json.loads(buckets.get(buckets.intake, name))["edits"]["decisions"] == {"1": "hide", "2": "keep"}
    assert "walk.mp4" in visitor.open(visitor.url("street", "jobs"))


@pytest.mark.parametrize(
    ("decisions", "version", "status"),
    [
        ({}, None, 422),
        ({"0": "keep"}, "0" * 20, 409),
        ({"99": "keep"}, None, 422),
        ({"0": "show"}, None, 422),
        ("<b>", None, 422),
    ],
    ids=["nothing", "outdated", "unknown track", "unknown decision", "no object"],
)
def test_invalid_or_outdated_changes_request_nothing(
    visitor: Visitor, buckets: Buckets, published: Planned, decisions: object, version: str, status: int
) -> None:
    assert decide(visitor, published, decisions, version).status_code == status
    assert buckets.names(buckets.intake, "channels/street/rerender/") == []


def test_result_without_its_source_is_read_only(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    buckets.client.bucket(buckets.intake).delete_blob(published.manifest.source.name)
    page = open_review(visitor, published)
    assert "The source was deleted" in page
    assert 'id="source"' not in page
    assert 'id="open-apply"' not in page
    assert read_review(visitor, published)["editable"] is False
    for path in ("/source", "/crops?tracks=1"):
        visitor.session.headers["Sec-Fetch-Site"] = "same-origin"
        visitor.open(visitor.url("street", "jobs", published.job) + path, 404)
    assert decide(visitor, published, {"0": "keep"}).status_code == 422


def test_result_of_a_newer_upload_is_not_shown_beside_this_source(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    blob = buckets.client.bucket(buckets.output).blob(published.manifest.result)
    blob.metadata = {object_names.OF_SOURCE_GENERATION: "7"}
    blob.upload_from_string(b"another result")
    visitor.open(visitor.url("street", "jobs", published.job) + "/result", 404)


def test_unpublished_job_has_nothing_to_review(visitor: Visitor, buckets: Buckets, tmp_path: Path) -> None:
    planned = plan_job(buckets, write_clip(tmp_path / "walk.mp4"))
    assert "Nothing to review yet" in open_review(visitor, planned)
    for path in ("/source", "/result"):
        visitor.open(visitor.url("street", "jobs", planned.job) + path, 404)
    assert decide(visitor, planned, {"0": "keep"}).status_code == 409


def test_requested_decision_is_shown_and_can_be_reverted(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    """A new request includes the pending decisions, so a pending "keep" must be revertible."""
    assert decide(visitor, published, {"0": "keep", "4": "keep"}).status_code == 200
    found = read_review(visitor, published)
    assert found["pending"] == 2
    assert [track["requested"] for track in found["tracks"]] == [
        "keep",
        "keep",
        "hide",
        "keep",
        "keep",
        "hide",
    ]
    assert found["tracks"][0]["decision"] == "hide"
    assert decide(visitor, published, {"0": "hide"}, found["version"]).status_code == 200
    (name,) = buckets.names(buckets.intake, "channels/street/rerender/")
    assert json.loads(buckets.get(buckets.intake, name))["edits"]["decisions"] == {"0": "hide", "4": "keep"}


@pytest.fixture
def half_published(visitor: Visitor, buckets: Buckets, published: Planned) -> Planned:
    """A request adds the tracks 6 and 7. The report has the first one, and a face that the check found as track 7."""
    times = frame_times(published.clip)

    def box_at(x: int) -> CompactBoxes:
        return CompactBoxes([(times[0], (x, 0, x + 10, 10))])

    added = (AddedTrack(box_at(10)), AddedTrack(box_at(20)))
    request_rerender(published.job, Edits(decisions={7: "hide"}, added=added))
    name = published.manifest.report
    blob = buckets.client.bucket(buckets.output).get_blob(name)
    report = published_review.build_review("street", published.job, published.manifest).report
    tracks = (
        make_track(6, "hide", None, origin=Origin.MANUAL, detections=box_at(10)),
        make_track(7, "hide", None, origin=Origin.VERIFICATION, detections=box_at(30)),
    )
    blob.upload_from_string(report.model_copy(update={"tracks": (*report.tracks, *tracks)}).to_bytes())
    return published


def test_requested_tracks_have_ids_after_those_of_the_report(
    visitor: Visitor, half_published: Planned
) -> None:
    tracks = read_review(visitor, half_published)["tracks"]
    assert [(track["id"], track["origin"]) for track in tracks[6:]] == [
        (6, "manual"),
        (7, "verification"),
        (8, "manual"),
    ]
    address = visitor.url("street", "jobs", half_published.job)
    for number, x in ((6, 10), (7, 30), (8, 20)):
        assert json.loads(visitor.open(f"{address}/tracks/{number}"))["detections"] == [[0, x, 0, x + 10, 10]]


def test_change_of_a_requested_track_is_about_that_track(
    visitor: Visitor, buckets: Buckets, half_published: Planned
) -> None:
    version = read_review(visitor, half_published)["version"]
    refused = decide(visitor, half_published, {"7": "keep"}, version)
    assert (refused.status_code, "check of the result" in refused.json()["error"]) == (409, True)
    assert decide(visitor, half_published, {"8": "keep"}, version).status_code == 200
    (name,) = buckets.names(buckets.intake, "channels/street/rerender/")
    edits = json.loads(buckets.get(buckets.intake, name))["edits"]
    assert (edits["decisions"], edits["first_id"], len(edits["added"])) == ({"7": "keep"}, 6, 2)


def test_change_of_a_requested_track_and_a_new_mask_are_one_request(
    visitor: Visitor, buckets: Buckets, half_published: Planned
) -> None:
    version = read_review(visitor, half_published)["version"]
    mask = {"detections": [{"pts": 0, "box": [50, 0, 60, 10]}]}
    answer = decide(visitor, half_published, {"6": "keep", "8": "keep"}, version, added=[mask])
    assert answer.status_code == 200, answer.text
    (name,) = buckets.names(buckets.intake, "channels/street/rerender/")
    edits = json.loads(buckets.get(buckets.intake, name))["edits"]
    assert (edits["decisions"], edits["first_id"], len(edits["added"])) == (
        {"6": "keep", "7": "keep"},
        6,
        3,
    )


def test_changes_from_before_another_request_are_refused(visitor: Visitor, published: Planned) -> None:
    assert decide(visitor, published, {"0": "keep"}).status_code == 200
    late = decide(visitor, published, {"1": "hide"})
    assert late.status_code == 409
    assert "or a re-render was requested" in late.json()["error"]


@pytest.mark.parametrize(
    ("decision", "margin", "unsure"),
    [("keep", -0.15, True), ("hide", 0.2, True), ("keep", 0.2, False), ("hide", -0.2, False)],
    ids=["kept as another track's person", "hidden as another is as near", "kept clearly", "hidden clearly"],
)
def test_decision_against_the_distance_alone_is_unsure(decision: str, margin: float, unsure: bool) -> None:
    assert review_data.is_unsure(make_track(0, decision, margin), MATCH_THRESHOLD) is unsure


def test_found_face_is_unsure_until_a_person_decides(visitor: Visitor, published: Planned) -> None:
    found = make_track(0, "hide", None, reason=Reason.FOUND_BY_SEARCH, origin=Origin.SEARCH)
    assert review_data.is_unsure(found, MATCH_THRESHOLD)
    added = (AddedTrack(CompactBoxes([(0, (1, 2, 3, 4))]), origin=Origin.SEARCH),) * 2
    request_rerender(published.job, Edits(decisions={7: "hide"}, added=added))
    assert [track["unsure"] for track in read_review(visitor, published)["tracks"][6:]] == [True, False]


def test_every_reason_has_a_text() -> None:
    assert set(review_data.REASON_TEXT) == set(Reason)


def test_too_large_report_names_the_command_instead(
    visitor: Visitor, published: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_review, "MAX_REPORT_BYTES", 1000)
    page = visitor.open(visitor.url("street", "jobs", published.job), 422)
    assert "This video has more tracks than a page can show" in page
    assert f"defacer job rerender {published.job}" in page


def test_failed_re_render_is_retried_with_the_same_decisions(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    assert decide(visitor, published, {"0": "keep"}).status_code == 200
    (name,) = buckets.names(buckets.intake, "channels/street/rerender/")
    request, generation = buckets.get(buckets.intake, name), buckets.blob(buckets.intake, name).generation
    failed = Failed(
        job=object_names.job_id(buckets.intake, name, generation),
        source=published.manifest.source,
        stage="worker",
        code=ErrorCode.POISON_SEGMENT,
        message="It crashed. Try again.",
    )
    buckets.put(buckets.work, object_names.failed(failed.job), failed.model_dump_json().encode())
    assert "Try again" in visitor.open(visitor.url("street", "jobs"))

    address = visitor.url("street", "jobs", failed.job) + "/retry"
    assert visitor.post(address, {}, PAGE).status_code == 303
    assert buckets.get(buckets.intake, name) == request
    assert buckets.blob(buckets.intake, name).generation != generation
