"""Erasing a video and forgetting a person on the page."""

import json
import re
from pathlib import Path

import pytest
import requests

from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.lifecycle import failure
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Topics
from tests.console.published_job import publish_example
from tests.console.visitor import Visitor
from tests.planned import Planned

PERSON = "Ada <i>"


@pytest.fixture
def published(buckets: Buckets, tmp_path: Path) -> Planned:
    return publish_example(buckets, tmp_path)


def read_lines(answer: requests.Response) -> tuple[list[str], dict[str, object]]:
    """Return the lines of the progress, and the last entry."""
    assert answer.status_code == 200, answer.text
    *lines, end = map(json.loads, answer.text.splitlines())
    return [entry["line"] for entry in lines], end


@pytest.mark.usefixtures("limited")
def test_erased_video_leaves_nothing_but_the_mark(
    visitor: Visitor, buckets: Buckets, topics: Topics, published: Planned
) -> None:
    address = visitor.url("street", "jobs", published.job)
    assert re.fullmatch(r"\d+ objects of 1 job: .*", visitor.session.get(f"{address}/stored").json()["found"])
    lines, end = read_lines(visitor.post(f"{address}/erase"))
    assert end == {"end": "Erased. Copies that people saved elsewhere stay.", "done": True}
    assert any(published.manifest.source.name in line for line in lines)
    assert buckets.names(buckets.intake, "channels/street/videos/") == buckets.names(buckets.output) == []
    assert buckets.names(buckets.work) == [object_names.failed(published.job)]


@pytest.mark.usefixtures("limited")
def test_forgotten_person_is_hidden_in_published_videos(
    visitor: Visitor, buckets: Buckets, topics: Topics, published: Planned
) -> None:
    address = visitor.url("street", "people")
    stored = visitor.post(f"{address}/stored", {"person": PERSON}).json()
    assert "1 target picture" in stored["found"]
    assert stored["shown"] == [{"video": "walk.mp4", "obstacle": None}]

    lines, end = read_lines(visitor.post(f"{address}/forget", {"person": PERSON}))
    assert end["done"] is False
    assert any("it can be re-rendered" in line for line in lines)
    lines, end = read_lines(visitor.post(f"{address}/forget", {"person": PERSON, "rerender": "yes"}))
    assert end == {
        "end": f"{PERSON} is forgotten in channel street: no picture, no name, and no result shows the person.",
        "done": True,
    }
    report = JobReport.from_bytes(buckets.get(buckets.output, published.manifest.report))
    assert {track.decision for track in report.tracks} == {"hide"}
    assert PERSON not in buckets.get(buckets.output, published.manifest.report).decode()
    assert buckets.names(buckets.intake, "channels/street/targets/") == []


def test_failed_erasure_says_that_it_can_be_repeated(
    visitor: Visitor, published: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(failure, "mark_erased", fail)
    _, end = read_lines(visitor.post(f"{visitor.url('street', 'jobs', published.job)}/erase"))
    assert "it continues where it stopped" in str(end["end"])
    assert end["done"] is False


def test_erasure_needs_the_token_of_the_page(visitor: Visitor, published: Planned, buckets: Buckets) -> None:
    for path in (f"jobs/{published.job}/erase", "people/forget", "people/stored"):
        answer = requests.post(f"{visitor.url('street')}/{path}", {"person": PERSON}, timeout=60)
        assert answer.status_code == 403
    assert buckets.names(buckets.output)
