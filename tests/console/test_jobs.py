"""The list of jobs, its live updates, and retrying failed jobs."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.types import Message

from defacer.pipeline import admission
from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure, rerender_request
from defacer.pipeline.storage import object_names, objects
from defacer.report.edits import Edits
from defacer.web.console import jobs as console_jobs
from defacer.web.console.jobs import JobQuery
from tests.clips import write_clip
from tests.cloud import Buckets, Topics
from tests.console.published_job import publish_example
from tests.console.visitor import PAGE, SCRIPT, Visitor
from tests.planned import VIDEO, Planned, do_segment, find_segment, link_job, plan_job


@pytest.fixture
def planned(buckets: Buckets, tmp_path: Path) -> Planned:
    return plan_job(buckets, write_clip(tmp_path / "walk.mp4"))


def read_cards(visitor: Visitor) -> dict[str, str]:
    """Return the page's job cards in order, without the cache."""
    console_jobs._job_lists.__init__()  # type: ignore[misc]
    page = visitor.open(visitor.url("street", "jobs"))
    return dict(re.findall(r'<li class="card job \w+" id="job-(\w+)"[^>]*>(.*?)</li>', page, re.DOTALL))


def fail_planned(planned: Planned, code: str = "bad-picture") -> None:
    assert failure.fail_job(
        planned.job, "ingest", PermanentError(code, "targets/<b>.jpg shows no face. Use another.")
    )


@pytest.mark.usefixtures("limited")
def test_empty_channel_invites_to_upload(visitor: Visitor) -> None:
    page = visitor.open(visitor.url("street", "jobs"))
    assert "No videos yet" in page
    assert "hidden" not in page.partition('id="empty"')[2].partition(">")[0]


@pytest.mark.usefixtures("limited")
def test_progress_bar_grows_with_every_segment_of_both_steps(
    visitor: Visitor, buckets: Buckets, planned: Planned
) -> None:
    count = len(planned.manifest.segments)

    def read_bar() -> float:
        (card,) = read_cards(visitor).values()
        (value,) = re.findall(r'<progress max="1" value="([\d.]+)"', card)
        assert f"{int(100 * float(value))} %" in card
        return float(value)

    shares = [read_bar()]
    for index in range(count):
        find_segment(buckets, planned, index)
        shares.append(read_bar())
    linked = link_job(buckets, planned)
    for index in range(count):
        do_segment(buckets, linked, index)
        shares.append(read_bar())
    steps = [after - before for before, after in pairwise(shares)]
    assert shares[0] == 0
    assert min(steps) > 0
    assert shares[count] == pytest.approx(0.6)  # redaction has only started, so the bar is not full
    assert shares[-1] == pytest.approx(0.99)
    done = Published(job=planned.job, result=planned.ref, report=planned.manifest.report)
    buckets.put(buckets.work, object_names.published(planned.job), done.model_dump_json().encode())
    (card,) = read_cards(visitor).values()
    assert f"/channels/street/jobs/{planned.job}" in card


@pytest.mark.usefixtures("limited")
def test_upload_behind_the_queue_of_its_channel_says_so(visitor: Visitor, buckets: Buckets) -> None:
    job = object_names.job_of(buckets.put(buckets.intake, VIDEO, b"a video"))
    assert "Waiting to be planned" in read_cards(visitor)[job]
    turn = object_names.turn("street", job)
    buckets.put(buckets.work, turn, b"{}", metadata={object_names.OF_TURN: admission.WAITS})
    assert "Waiting for earlier videos of this channel" in read_cards(visitor)[job]


@pytest.mark.usefixtures("limited")
def test_failed_job_shows_its_message_and_is_retried_as_a_new_job(
    visitor: Visitor, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    fail_planned(planned)
    (card,) = read_cards(visitor).values()
    assert "targets/&lt;b&gt;.jpg shows no face. Use another." in card
    assert "Try again" in card

    answer = visitor.post(f"{visitor.url('street', 'jobs', planned.job)}/retry", {}, PAGE)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/channels/street/jobs")
    blob = buckets.blob(buckets.intake, planned.manifest.source.name)
    assert blob.generation != planned.manifest.source.generation
    assert buckets.get(buckets.intake, blob.name) == planned.clip.read_bytes()
    assert list(read_cards(visitor)) == [object_names.job_id(buckets.intake, blob.name, blob.generation)]


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(
    ("code", "helps"), [("bad-policy", True), ("exhausted", True), ("not-a-video", False)]
)
def test_retry_is_offered_only_if_it_can_help(
    code: str, helps: bool, visitor: Visitor, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    fail_planned(planned, code)
    (card,) = read_cards(visitor).values()
    assert ("Try again" in card) == helps
    answer = visitor.post(f"{visitor.url('street', 'jobs', planned.job)}/retry")
    assert answer.status_code == (303 if helps else 409)
    blob = buckets.blob(buckets.intake, planned.manifest.source.name)
    assert (blob.generation != planned.manifest.source.generation) == helps


@pytest.mark.usefixtures("limited")
def test_only_a_failed_job_with_an_existing_video_is_retried(
    visitor: Visitor, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    address = f"{visitor.url('street', 'jobs', planned.job)}/retry"
    assert visitor.post(address).status_code == 409
    fail_planned(planned)
    buckets.client.bucket(buckets.intake).delete_blob(planned.manifest.source.name)
    assert visitor.post(address).status_code == 409
    assert buckets.names(buckets.intake) == []


def test_job_is_not_accessible_through_another_channel(visitor: Visitor, planned: Planned) -> None:
    for path in ("", "/source", "/result", "/tracks/0"):
        visitor.open(visitor.url("other", "jobs", planned.job) + path, 404)
    for path in ("/retry", "/decisions"):
        assert visitor.post(visitor.url("other", "jobs", planned.job) + path).status_code == 404
    visitor.open(visitor.url("street", "jobs", "..%2fx"), 404)
    assert read_cards(visitor)


@contextmanager
def stream_changes(visitor: Visitor, **fields: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Follow the changes of a channel's jobs."""
    visitor.open(visitor.address)
    address = f"{visitor.url('street', 'jobs')}/live"
    sent = {**SCRIPT, "X-CSRF-Token": visitor.token}
    with visitor.session.post(address, fields, headers=sent, stream=True, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "application/jsonl"
        yield (json.loads(line) for line in answer.iter_lines(1) if line)


def test_stream_has_the_cards_that_changed(
    visitor: Visitor, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    with stream_changes(visitor) as changes:
        first = next(changes)
        assert first["order"] == [planned.job]
        assert "Detecting faces" in first["changed"][planned.job]
        fail_planned(planned)
        assert "shows no face" in next(changes)["changed"][planned.job]


def test_concurrent_retry_is_refused_with_a_message(
    visitor: Visitor, topics: Topics, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_planned(planned)

    def fail_copy(*_: object, **__: object) -> None:
        raise objects.AlreadyWrittenError(planned.ref)

    monkeypatch.setattr(objects, "copy", fail_copy)
    answer = visitor.post(f"{visitor.url('street', 'jobs', planned.job)}/retry")
    assert answer.status_code == 409
    assert "Another user changed this at the same time" in answer.json()["error"]


@pytest.fixture
def four_videos(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_jobs, "PAGE", 2)
    for name in ("walk.mp4", "Beach 1.mp4", "beach 2.mp4", "talk.mp4"):
        buckets.put(buckets.intake, f"channels/street/videos/{name}", b"a video")


@pytest.mark.usefixtures("limited", "four_videos")
def test_page_shows_more_jobs_on_request(visitor: Visitor) -> None:
    def read_names(query: str) -> tuple[list[str], bool]:
        page = visitor.open(visitor.url("street", "jobs") + query)
        return re.findall(r'data-name="(.*?)"', page), '<p id="more" hidden>' not in page

    assert read_names("") == (["talk.mp4", "beach 2.mp4"], True)
    assert read_names("?most=3") == (["talk.mp4", "beach 2.mp4", "Beach 1.mp4"], True)
    assert read_names("?most=4") == (["talk.mp4", "beach 2.mp4", "Beach 1.mp4", "walk.mp4"], False)


@pytest.mark.usefixtures("four_videos")
def test_search_covers_all_jobs(visitor: Visitor) -> None:
    def search(text: str, most: str = "2") -> tuple[list[str], bool]:
        with stream_changes(visitor, search=text, most=most) as changes:
            first = next(changes)
        cards = "".join(first["changed"][job] for job in first["order"])
        return re.findall(r'data-name="(.*?)"', cards), first["more"]

    assert search("BEACH") == (["beach 2.mp4", "Beach 1.mp4"], False)
    assert search("a", most="3") == (["talk.mp4", "beach 2.mp4", "Beach 1.mp4"], True)
    assert search("talk", most="1e9") == (["talk.mp4"], False)
    assert search("sea") == ([], False)


def test_slow_channel_does_not_delay_other_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow channel has more viewers than the server has threads."""
    requested, may_answer = threading.Event(), threading.Event()
    reads: list[str] = []

    def list_slowly(channel: str) -> dict[str, console_jobs.ListedJob]:
        reads.append(channel)
        if channel == "slow":
            requested.set()
            assert may_answer.wait(60)
        return {}

    async def main() -> None:
        lists = console_jobs.JobLists()
        viewers = [asyncio.create_task(lists.get_cards(JobQuery("slow", "", 40))) for _ in range(100)]
        assert await asyncio.to_thread(requested.wait, 60)
        viewers.pop().cancel()
        assert await asyncio.wait_for(lists.get_cards(JobQuery("other", "", 40)), 30) == ([], False)
        may_answer.set()
        assert await asyncio.gather(*viewers) == [([], False)] * 99

    monkeypatch.setattr(console_jobs, "list_jobs", list_slowly)
    asyncio.run(main())
    assert reads == ["slow", "other"]


def test_list_is_read_again_after_a_storage_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_list(_: str) -> dict[str, console_jobs.ListedJob]:
        raise RetryableError("storage is not available")

    async def main() -> None:
        lists = console_jobs.JobLists()
        monkeypatch.setattr(console_jobs, "list_jobs", fail_to_list)
        with pytest.raises(RetryableError):
            await lists.get_cards(JobQuery("street", "", 40))
        monkeypatch.setattr(console_jobs, "list_jobs", lambda _: {})
        assert await lists.get_cards(JobQuery("street", "", 40)) == ([], False)

    asyncio.run(main())


@pytest.mark.usefixtures("visitor")
def test_closed_stream_of_changes_frees_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console_jobs, "MAX_CHANGE_STREAMS", 1)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"spec_version": "2.4"},
        "method": "GET",
        "path": "/",
        "headers": [],
    }
    scope |= {"path_params": {"channel": "street"}, "query_string": b"", "server": ("x", 80)}
    bodies: list[bytes] = []
    is_open = True

    async def receive() -> Message:
        return await asyncio.Future()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])
            if is_open:
                await asyncio.Future()
            raise OSError("the connection was cut")

    async def open_stream() -> None:
        await (await console_jobs.stream_changes(HttpRequest(scope, receive), {}))(scope, receive, send)

    async def main() -> None:
        nonlocal is_open
        first = asyncio.create_task(open_stream())
        while not bodies and not first.done():
            await asyncio.sleep(0.01)
        with pytest.raises(HTTPException) as full:
            await open_stream()
        assert full.value.status_code == 503
        first.cancel()
        with pytest.raises(asyncio.CancelledError) as left:
            await first
        is_open = False
        for _ in range(2):
            with pytest.raises(ClientDisconnect):
                await open_stream()
        assert left.value  # its traceback keeps the first stream's objects alive

    asyncio.run(main())
    assert len(bodies) == 3


@pytest.mark.parametrize("name", [object_names.manifest, object_names.failed, object_names.published])
def test_unreadable_job_does_not_hide_other_jobs(
    name: Callable[[str], str], visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    healthy = plan_job(buckets, write_clip(tmp_path / "walk.mp4"))
    broken = plan_job(buckets, tmp_path / "walk.mp4", name="channels/street/videos/broken.mp4")
    buckets.put(buckets.work, name(broken.job), b"{nothing that can be read")
    shown = read_cards(visitor)
    assert set(shown) == {healthy.job, broken.job}
    assert "be read. Erase the job" in shown[broken.job]
    assert "Detecting faces" in shown[healthy.job]


def test_running_re_render_and_its_earlier_result_are_one_card(
    visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    published = publish_example(buckets, tmp_path)
    requested = rerender_request.request_rerender(published.job, Edits(decisions={1: "hide"}))
    ((job, card),) = read_cards(visitor).items()
    assert job == requested.job
    assert f'/street/jobs/{published.job}"' in card
    assert "Until this job ends" in card
    failure.fail_job(job, "ingest", PermanentError("bad-picture", "It shows no face. Use another."))
    assert list(read_cards(visitor)) == [job, published.job]
