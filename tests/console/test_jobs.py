"""The list of jobs, as their objects show them; a failed one is begun again."""

import asyncio
import json
import re
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.types import Message

from defacer.pipeline.documents.job_records import Published
from defacer.pipeline.errors import PermanentError, RetryableError
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.storage import object_names, objects
from defacer.web.console import jobs as board
from tests.clips import write_clip
from tests.cloud import Buckets, Topics
from tests.console.visitor import PAGE, Visitor
from tests.planned import Planned, do_segment, find_segment, link_job, plan_job


@pytest.fixture
def planned(buckets: Buckets, tmp_path: Path) -> Planned:
    return plan_job(buckets, write_clip(tmp_path / "walk.mp4"))


def cards(visitor: Visitor) -> dict[str, str]:
    """The jobs of the page, in its order, as they are after a moment."""
    board._job_lists.__init__()  # type: ignore[misc]
    page = visitor.open(visitor.at("street", "jobs"))
    return dict(re.findall(r'<li class="card job \w+" id="job-(\w+)">(.*?)</li>', page, re.DOTALL))


def failed(planned: Planned, code: str = "bad-picture") -> None:
    assert failure.fail_job(
        planned.job, "ingest", PermanentError(code, "targets/<b>.jpg shows no face. Use another.")
    )


@pytest.mark.usefixtures("limited")
def test_an_empty_channel_says_what_to_do(visitor: Visitor) -> None:
    page = visitor.open(visitor.at("street", "jobs"))
    assert "No video was dropped yet" in page
    assert "hidden" not in page.partition('id="none"')[2].partition(">")[0]


@pytest.mark.usefixtures("limited")
def test_one_bar_grows_with_every_segment_of_both_steps(
    visitor: Visitor, buckets: Buckets, planned: Planned
) -> None:
    count = len(planned.manifest.segments)

    def bar() -> float:
        (card,) = cards(visitor).values()
        (value,) = re.findall(r'<progress max="1" value="([\d.]+)"', card)
        assert f"{int(100 * float(value))} %" in card
        return float(value)

    seen = [bar()]
    for index in range(count):
        find_segment(buckets, planned, index)
        seen.append(bar())
    linked = link_job(buckets, planned)
    for index in range(count):
        do_segment(buckets, linked, index)
        seen.append(bar())
    steps = [after - before for before, after in pairwise(seen)]
    assert seen[0] == 0
    assert min(steps) > 0
    assert seen[count] == pytest.approx(0.6)  # redaction has only begun: the bar is not full
    assert seen[-1] == pytest.approx(0.99)
    done = Published(job=planned.job, result=planned.ref, report=planned.manifest.report)
    buckets.put(buckets.work, object_names.published(planned.job), done.model_dump_json().encode())
    (card,) = cards(visitor).values()
    assert f"/channels/street/jobs/{planned.job}" in card


@pytest.mark.usefixtures("limited")
def test_a_failure_is_told_with_its_sentence_and_begun_again_as_a_new_job(
    visitor: Visitor, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    failed(planned)
    (card,) = cards(visitor).values()
    assert "targets/&lt;b&gt;.jpg shows no face. Use another." in card
    assert "Try again" in card

    answer = visitor.post(f"{visitor.at('street', 'jobs', planned.job)}/again", {}, PAGE)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/channels/street/jobs")
    blob = buckets.blob(buckets.intake, planned.manifest.source.name)
    assert blob.generation != planned.manifest.source.generation
    assert buckets.get(buckets.intake, blob.name) == planned.clip.read_bytes()
    assert list(cards(visitor)) == [object_names.job_id(buckets.intake, blob.name, blob.generation)]


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(("code", "helps"), [("bad-policy", True), ("gave-up", True), ("not-a-video", False)])
def test_try_again_is_offered_only_where_it_can_help(
    code: str, helps: bool, visitor: Visitor, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    failed(planned, code)
    (card,) = cards(visitor).values()
    assert ("Try again" in card) == helps
    answer = visitor.post(f"{visitor.at('street', 'jobs', planned.job)}/again")
    assert answer.status_code == (303 if helps else 409)
    blob = buckets.blob(buckets.intake, planned.manifest.source.name)
    assert (blob.generation != planned.manifest.source.generation) == helps


@pytest.mark.usefixtures("limited")
def test_only_a_failed_job_whose_video_is_there_is_begun_again(
    visitor: Visitor, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    address = f"{visitor.at('street', 'jobs', planned.job)}/again"
    assert visitor.post(address).status_code == 409
    failed(planned)
    buckets.client.bucket(buckets.intake).delete_blob(planned.manifest.source.name)
    assert visitor.post(address).status_code == 409
    assert buckets.names(buckets.intake) == []


def test_a_job_is_not_shown_or_begun_again_through_another_channel(
    visitor: Visitor, planned: Planned
) -> None:
    for path in ("", "/source", "/result", "/tracks/0"):
        visitor.open(visitor.at("other", "jobs", planned.job) + path, 404)
    for path in ("/again", "/decisions"):
        assert visitor.post(visitor.at("other", "jobs", planned.job) + path).status_code == 404
    visitor.open(visitor.at("street", "jobs", "..%2fx"), 404)
    assert cards(visitor)


def test_whoever_looks_on_is_told_what_changes_and_no_more(
    visitor: Visitor, buckets: Buckets, topics: Topics, planned: Planned
) -> None:
    visitor.open(visitor.address)
    with visitor.session.get(
        f"{visitor.at('street', 'jobs')}/live", headers=PAGE, stream=True, timeout=60
    ) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines(decode_unicode=True) if line.startswith("data: "))
        first = json.loads(next(lines)[6:])
        assert first["order"] == [planned.job]
        assert "Faces are being looked for" in first["changed"][planned.job]
        failed(planned)
        then = json.loads(next(lines)[6:])
        assert "shows no face" in then["changed"][planned.job]


def test_what_two_do_in_one_moment_is_told_as_that(
    visitor: Visitor, topics: Topics, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(planned)

    def taken(*_: object, **__: object) -> None:
        raise objects.AlreadyWrittenError(planned.ref)

    monkeypatch.setattr(objects, "copy", taken)
    answer = visitor.post(f"{visitor.at('street', 'jobs', planned.job)}/again")
    assert answer.status_code == 409
    assert "Somebody else changed the same thing in this moment" in answer.json()["error"]


def test_a_channel_that_storage_is_slow_about_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many look on there: more than there are threads."""
    asked, answered = threading.Event(), threading.Event()
    looks: list[str] = []

    def slow(channel: str) -> dict[str, board.Trace]:
        looks.append(channel)
        if channel == "slow":
            asked.set()
            assert answered.wait(60)
        return {}

    async def main() -> None:
        boards = board._JobLists()
        many = [asyncio.create_task(boards.cards("slow")) for _ in range(100)]
        assert await asyncio.to_thread(asked.wait, 60)
        many.pop().cancel()
        assert await asyncio.wait_for(boards.cards("other"), 30) == []
        answered.set()
        assert await asyncio.gather(*many) == [[]] * 99

    monkeypatch.setattr(board, "traces", slow)
    asyncio.run(main())
    assert looks == ["slow", "other"]


def test_what_storage_did_not_answer_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: str) -> dict[str, board.Trace]:
        raise RetryableError("storage is away")

    async def main() -> None:
        boards = board._JobLists()
        monkeypatch.setattr(board, "traces", failing)
        with pytest.raises(RetryableError):
            await boards.cards("street")
        monkeypatch.setattr(board, "traces", lambda _: {})
        assert await boards.cards("street") == []

    asyncio.run(main())


@pytest.mark.usefixtures("visitor")
def test_whoever_looks_on_no_longer_leaves_a_place_however_that_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(board, "MAX_STREAMS", 1)
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET", "path": "/", "headers": []}
    scope |= {"path_params": {"channel": "street"}, "query_string": b"", "server": ("x", 80)}
    bodies: list[bytes] = []
    staying = True

    async def receive() -> Message:
        return await asyncio.Future()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])
            if staying:
                await asyncio.Future()
            raise OSError("the line was cut")

    async def look_on() -> None:
        await (await board.live(HttpRequest(scope, receive)))(scope, receive, send)

    async def main() -> None:
        nonlocal staying
        first = asyncio.create_task(look_on())
        while not bodies and not first.done():
            await asyncio.sleep(0.01)
        with pytest.raises(HTTPException) as full:
            await look_on()
        assert full.value.status_code == 503
        first.cancel()
        with pytest.raises(asyncio.CancelledError) as left:
            await first
        staying = False
        for _ in range(2):
            with pytest.raises(ClientDisconnect):
                await look_on()
        assert left.value  # holds on to all that was under way there

    asyncio.run(main())
    assert len(bodies) == 3


@pytest.mark.parametrize("name", [object_names.manifest, object_names.failed, object_names.published])
def test_a_job_that_can_t_be_read_hides_no_other(
    name: Callable[[str], str], visitor: Visitor, buckets: Buckets, tmp_path: Path
) -> None:
    healthy = plan_job(buckets, write_clip(tmp_path / "walk.mp4"))
    broken = plan_job(buckets, tmp_path / "walk.mp4", name="channels/street/videos/broken.mp4")
    buckets.put(buckets.work, name(broken.job), b"{nothing that can be read")
    shown = cards(visitor)
    assert set(shown) == {healthy.job, broken.job}
    assert "be read. Erase it" in shown[broken.job]
    assert "Faces are being looked for" in shown[healthy.job]
