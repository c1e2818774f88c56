"""Requests that search the source: follow a drawn box, and look again for missed faces."""

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from defacer.report.edits import AddedTrack
from defacer.web.console.review import engine_adapter
from defacer_emulator.demo.demo_clip import make_demo_clip
from tests.cloud import Buckets
from tests.console.published_job import publish
from tests.console.visitor import SCRIPT, Visitor
from tests.demo_boxes import compute_demo_boxes
from tests.planned import Planned, track_of

SECONDS, SIZE, RATE = 3.0, (640, 360), 15
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "walk.mp4"
    make_demo_clip(path, SECONDS, SIZE, RATE)
    return path


def search(visitor: Visitor, planned: Planned, path: str, **body: object) -> list[dict[str, Any]]:
    """Send a search, and return the objects of its response."""
    address = visitor.url("street", "jobs", planned.job) + f"/{path}"
    answer = visitor.post(address, json.dumps(body), JSON)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def overlap_of(box: list[float], other: list[float]) -> float:
    """Return the share of `other` that `box` covers."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, width) * max(0.0, height) / ((other[2] - other[0]) * (other[3] - other[1]))


def test_drawn_box_follows_the_face_in_it(visitor: Visitor, buckets: Buckets, clip: Path) -> None:
    planned = publish(buckets, clip, [], targets=())
    faces = [
        (box.frame / RATE, [box.x1, box.y1, box.x2, box.y2])
        for box in compute_demo_boxes(SECONDS, SIZE, RATE)
        if box.name == "astronaut" and box.frame <= RATE
    ]
    first = faces[0][1]
    *progress, result = search(visitor, planned, "follow", anchors=[[0.0, *first]], start=0.0, end=1.0)
    assert all(0 <= line["progress"] <= 1 for line in progress)
    assert result["detections"][0][0] == 0
    boxes = {round(second, 2): box for second, *box in result["detections"]}
    followed = [
        overlap_of(boxes[round(second, 2)], face) for second, face in faces if round(second, 2) in boxes
    ]
    assert len(followed) >= 5
    assert min(followed) > 0.8


def test_missed_faces_are_found_until_the_report_has_them(
    visitor: Visitor, buckets: Buckets, clip: Path
) -> None:
    planned = publish(buckets, clip, [], targets=())
    found = search(visitor, planned, "look-again", start=0.0, end=0.2)[-1]["tracks"]
    box = found[0]["detections"][0][1:]
    planned = publish(buckets, clip, [track_of(planned, None, 0, box)], targets=())
    assert len(search(visitor, planned, "look-again", start=0.0, end=0.2)[-1]["tracks"]) == len(found) - 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("follow", b"no JSON"),
        ("follow", b'{"start": 0, "end": 1, "anchors": []}'),
        ("follow", b'{"start": 0, "end": 1, "anchors": [[0, 1, 2, 3]]}'),
        ("follow", b'{"start": 0, "end": 1, "anchors": [[0, NaN, 2, 3, 4]]}'),
        ("look-again", b'{"start": 0, "end": 1, "more": 2}'),
        ("look-again", b'{"start": 0, "end": 601}'),
        ("look-again", b'{"start": -1, "end": 1}'),
    ],
)
def test_invalid_search_is_refused(visitor: Visitor, published: Planned, path: str, body: bytes) -> None:
    answer = visitor.post(visitor.url("street", "jobs", published.job) + f"/{path}", body, JSON)
    assert answer.status_code == 422
    assert answer.json()["error"].endswith(".")


def test_search_that_fails_ends_with_a_sentence(visitor: Visitor, published: Planned) -> None:
    (*_, last) = search(visitor, published, "follow", anchors=[[3.0, 1, 2, 30, 40]], start=0.0, end=1.0)
    assert last["error"].startswith("The search failed: ")


def test_search_of_a_deleted_source_is_refused(
    visitor: Visitor, buckets: Buckets, published: Planned
) -> None:
    buckets.client.bucket(buckets.intake).delete_blob(published.manifest.source.name)
    address = visitor.url("street", "jobs", published.job) + "/look-again"
    answer = visitor.post(address, b'{"start": 0, "end": 1}', JSON)
    assert (answer.status_code, "deleted" in answer.json()["error"]) == (422, True)


def test_search_stops_when_the_browser_ends_the_request(
    visitor: Visitor, published: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = threading.Event()

    def search_forever(_: object, progress: Callable[[int], None]) -> list[AddedTrack]:
        try:
            while True:
                progress(1)
                stopped.wait(0.01)
        finally:
            stopped.set()

    monkeypatch.setattr(engine_adapter, "search_faces", search_forever)
    with start_search(visitor, published) as answer:
        assert next(answer.iter_lines()) == b'{"progress": 0.0}'
    assert stopped.wait(30)


def start_search(visitor: Visitor, planned: Planned) -> requests.Response:
    """Return the response of a search that is in progress."""
    visitor.open(visitor.address)
    address = visitor.url("street", "jobs", planned.job) + "/look-again"
    headers = {**SCRIPT, **JSON, "X-CSRF-Token": visitor.token, "Origin": visitor.address}
    cookies = visitor.session.cookies.get_dict()
    return requests.post(
        address, b'{"start": 0, "end": 1}', headers=headers, cookies=cookies, stream=True, timeout=60
    )


def test_searches_in_progress_do_not_delay_pictures_of_faces(
    visitor: Visitor, published: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, running = threading.Event(), list[int]()

    def search(_: object, progress: Callable[[int], None]) -> list[AddedTrack]:
        running.append(1)
        may_end.wait(60)
        return []

    monkeypatch.setattr(engine_adapter, "search_faces", search)
    with ExitStack() as answers:
        started = [answers.enter_context(start_search(visitor, published)) for _ in range(3)]
        lines = [answer.iter_lines() for answer in started]
        assert [next(line) for line in lines] == [b'{"progress": 0.0}'] * 3
        visitor.session.headers["Sec-Fetch-Site"] = "same-origin"
        address = visitor.url("street", "jobs", published.job) + "/crops?tracks=1"
        assert visitor.session.get(address, timeout=30).status_code == 200
        assert len(running) == 1
        may_end.set()
        assert [list(line)[-1] for line in lines] == [b'{"tracks": []}'] * 3
