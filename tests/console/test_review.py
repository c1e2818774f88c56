"""The review of a published job: its media, its tracks on the timeline, and changing their decisions."""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser

from defacer.pipeline.documents.job_records import Failed, Published
from defacer.pipeline.documents.report import JobReport, ReportedSegment
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.storage import object_names
from defacer.report.compact_boxes import CompactBoxes
from defacer.report.texts import ADVICE
from defacer.report.tracks import FacesHead, Reason, TargetWarning, TrackRecord
from defacer.web.console import review, signed_urls
from defacer.web.console.review import Review
from tests.clips import frame_times, write_clip
from tests.cloud import Buckets
from tests.console.browser import launch_browser
from tests.console.visitor import PAGE, Visitor
from tests.planned import Planned, plan_job

pytestmark = pytest.mark.usefixtures("limited")

MATCH_THRESHOLD = 0.72


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launch_browser() as launched:
        yield launched


def make_track(
    number: int, decision: str, margin: float | None, start: int = 0, end: int = 10, **more: object
) -> TrackRecord:
    values: dict[str, object] = {
        "id": number,
        "start": start,
        "end": end,
        "decision": decision,
        "person": "Ada <i>" if decision == "keep" else None,
        "reason": Reason.MATCHED if decision == "keep" else Reason.NO_MATCH,
        "distance": 0.5,
        "margin": margin,
        "continues": None,
        "detections": CompactBoxes([(start, (1, 2, 3, 4)), (end, (5, 6, 7, 8))]),
        **more,
    }
    return TrackRecord(**values)  # type: ignore[arg-type]


TRACKS = (
    make_track(0, "hide", -0.5, strangers_per_10000=120),
    make_track(1, "keep", 0.3, strangers_per_10000=0),
    make_track(2, "hide", -0.02),
    make_track(3, "keep", 0.01, start=5),
    make_track(4, "hide", None),
    make_track(5, "hide", 0.03, reason=Reason.MANUAL),
)


@pytest.fixture
def published(buckets: Buckets, tmp_path: Path) -> Planned:
    """Publish a job whose result is the source itself."""
    planned = plan_job(buckets, write_clip(tmp_path / "walk.mp4"))
    manifest, times = planned.manifest, frame_times(planned.clip)
    metadata = {
        object_names.OF_JOB: manifest.job,
        object_names.OF_SOURCE: manifest.source.name,
        object_names.OF_SOURCE_GENERATION: str(manifest.source.generation),
    }
    report = JobReport(
        job=manifest.job,
        source=manifest.source,
        result=manifest.result,
        policy=manifest.policy,
        targets=("Ada <i>",),
        frames=len(times),
        audio_packets=0,
        fingerprint="ab" * 32,
        dropped=(),
        segments=(ReportedSegment(index=0, frames=len(times)),),
        faces=FacesHead(
            detector="centerface",
            recognizer="sface",
            match_threshold=MATCH_THRESHOLD,
            width=manifest.video.width,
            height=manifest.video.height,
            time_base=manifest.video.time_base,
            frames=len(times),
            sampled_frames=len(times),
            cuts=(),
            warnings=(
                TargetWarning(code="no-track-kept", person="Bo <i>", message="No track of Bo <i>.", track=4),
            ),
        ),
        tracks=tuple(replace(track, start=times[track.start], end=times[track.end]) for track in TRACKS),
    )
    for name, data in (
        (manifest.result, planned.clip.read_bytes()),
        (manifest.report, report.to_bytes()),
    ):
        blob = buckets.client.bucket(buckets.output).blob(name)
        blob.metadata = metadata
        blob.upload_from_string(data)
    done = Published(job=manifest.job, result=manifest.source, report=manifest.report)
    buckets.put(buckets.work, object_names.published(manifest.job), done.model_dump_json().encode())
    return planned


def open_review(visitor: Visitor, planned: Planned) -> str:
    return visitor.open(visitor.url("street", "jobs", planned.job))


def decide(visitor: Visitor, planned: Planned, **fields: str) -> requests.Response:
    address = visitor.url("street", "jobs", planned.job) + "/decisions"
    return visitor.post(
        address,
        {"version": planned.job, **{name.replace("_", "-"): value for name, value in fields.items()}},
        PAGE,
    )


def test_row_shows_how_many_strangers_look_as_similar(visitor: Visitor, published: Planned) -> None:
    page = open_review(visitor, published)
    rows = re.findall(r'data-track="(\d)".*?<p class="small muted reason">(.*?)</p>', page, re.DOTALL)
    texts = {number: " ".join(words.split()) for number, words in rows}
    assert texts["0"].endswith("Distance 0.50: about 120 in 10,000 strangers look this alike.")
    assert texts["1"].endswith("Distance 0.50: fewer than 1 in 10,000 strangers looks this alike.")
    assert texts["5"] == "Manual decision. Distance 0.50."


def test_close_decisions_come_first_then_kept_then_hidden_tracks(
    visitor: Visitor, published: Planned
) -> None:
    rows = re.findall(r'<li class="track (\w+)" data-track="(\d)"', open_review(visitor, published))
    assert rows == [
        ("unsure", "2"),
        ("unsure", "3"),
        ("kept", "1"),
        ("hidden", "0"),
        ("hidden", "4"),
        ("hidden", "5"),
    ]


def test_target_without_a_kept_track_causes_a_warning(visitor: Visitor, published: Planned) -> None:
    page = open_review(visitor, published)
    assert f"</strong> No track of Bo &lt;i&gt;. {ADVICE['no-track-kept']}" in page
    assert "Or choose Keep for a track below." in page


def test_track_is_on_the_timeline_at_its_time(published: Planned, buckets: Buckets) -> None:
    report = JobReport.from_bytes(buckets.get(buckets.output, published.manifest.report))
    shown = Review("street", published.job, published.manifest, report, has_source=True)
    rows = {row.id: row for row in review.build_rows(shown)}
    length = published.manifest.video.duration_seconds
    assert length is not None
    for track in report.tracks:
        row = rows[track.id]
        assert row.x == pytest.approx(1000 * shown.to_seconds(track.start) / length, abs=1)
        assert row.x + row.width == pytest.approx(1000 * shown.to_seconds(track.end) / length, abs=4)


def test_detections_of_a_track_are_in_seconds_and_pixels(visitor: Visitor, published: Planned) -> None:
    found = json.loads(visitor.open(visitor.url("street", "jobs", published.job) + "/tracks/3"))
    assert (found["width"], found["height"]) == (
        published.manifest.video.width,
        published.manifest.video.height,
    )
    assert [detection[1:] for detection in found["detections"]] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    visitor.open(visitor.url("street", "jobs", published.job) + "/tracks/99", 404)


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


def test_only_changed_decisions_are_requested(visitor: Visitor, buckets: Buckets, published: Planned) -> None:
    answer = decide(
        visitor, published, track_0="hide", track_1="hide", track_2="keep", track_99="keep", track_4="<b>"
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/channels/street/jobs")
    (name,) = buckets.names(buckets.intake, "channels/street/rerender/")
    assert json.loads(buckets.get(buckets.intake, name))["edits"]["decisions"] == {"1": "hide", "2": "keep"}
    assert "walk.mp4" in visitor.open(visitor.url("street", "jobs"))


def test_unchanged_or_outdated_form_requests_nothing(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    assert decide(visitor, published, track_0="hide").status_code == 422
    assert decide(visitor, published, version="0" * 20, track_0="keep").status_code == 409
    assert buckets.names(buckets.intake, "channels/street/rerender/") == []


def test_result_without_its_source_is_read_only(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    buckets.client.bucket(buckets.intake).delete_blob(published.manifest.source.name)
    page = open_review(visitor, published)
    assert "The source was deleted" in page
    assert 'id="source"' not in page
    assert 'type="radio"' not in page
    visitor.open(visitor.url("street", "jobs", published.job) + "/source", 404)
    assert decide(visitor, published, track_0="keep").status_code == 422


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
    assert decide(visitor, planned, track_0="keep").status_code == 409


def test_requested_decision_is_shown_and_can_be_reverted(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    """A new request includes the pending decisions, so a pending "keep" must be revertible."""
    assert decide(visitor, published, track_0="keep", track_4="keep").status_code == 303
    page = open_review(visitor, published)
    assert "2 changed decisions are being rendered already" in page
    assert re.findall(r'id="keep-(\d)" value="keep" checked', page) == ["0", "4", "3", "1"]
    assert page.count("Change to kept: not rendered yet") == 2
    (version,) = re.findall(r'name="version" value="([^"]+)"', page)
    assert decide(visitor, published, version=version, track_0="keep", track_4="keep").status_code == 422
    assert decide(visitor, published, version=version, track_0="hide", track_4="keep").status_code == 303
    (name,) = buckets.names(buckets.intake, "channels/street/rerender/")
    assert json.loads(buckets.get(buckets.intake, name))["edits"]["decisions"] == {"0": "hide", "4": "keep"}


def test_form_from_before_another_request_is_refused(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    assert decide(visitor, published, track_0="keep").status_code == 303
    late = decide(visitor, published, track_1="hide")
    assert late.status_code == 409
    assert "or a re-render was requested" in late.text


@pytest.mark.parametrize(
    ("decision", "margin", "unsure"),
    [("keep", -0.15, True), ("hide", 0.2, True), ("keep", 0.2, False), ("hide", -0.2, False)],
    ids=["kept as another track's person", "hidden as another is as near", "kept clearly", "hidden clearly"],
)
def test_decision_against_the_distance_alone_is_unsure(decision: str, margin: float, unsure: bool) -> None:
    assert review.is_unsure(make_track(0, decision, margin), MATCH_THRESHOLD) is unsure


def test_every_reason_has_a_text() -> None:
    assert set(review.REASON_TEXT) == set(Reason)


def test_page_counts_the_tracks_that_it_leaves_out(
    visitor: Visitor, published: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MAX_ROWS", 2)
    page = open_review(visitor, published)
    assert "The report lists 4 more tracks, 1 of them kept." in page
    assert f"defacer job rerender {published.job}" in page


def test_requested_decision_is_shown_among_many_tracks(
    visitor: Visitor, published: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the request could not be reverted."""
    monkeypatch.setattr(review, "MAX_ROWS", 1)
    assert decide(visitor, published, track_4="keep").status_code == 303
    assert re.findall(r'data-track="(\d)"', open_review(visitor, published)) == ["4"]


def test_too_large_report_names_the_command_instead(
    visitor: Visitor, published: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MAX_REPORT_BYTES", 1000)
    page = visitor.open(visitor.url("street", "jobs", published.job), 422)
    assert "This video has more tracks than a page can show" in page
    assert f"defacer job rerender {published.job}" in page


def test_failed_re_render_is_retried_with_the_same_decisions(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    assert decide(visitor, published, track_0="keep").status_code == 303
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
