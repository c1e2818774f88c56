"""Log lines about errors name no person and no object."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from defacer.pipeline import log
from defacer.pipeline.storage import objects
from tests.cloud import Buckets, Environment, Post, Topics, upload_push
from tests.planned import Planned, do_all_segments, find_all_segments, link_job, plan_job
from tests.proxy import Proxy

MARK = "zq7"
VIDEO = f"channels/{MARK}/videos/{MARK}.mp4"


@pytest.fixture
def marked(buckets: Buckets, topics: Topics, clip: Path, environment: Environment) -> Iterator[Planned]:
    """A job with a mark in all names, and all log levels."""
    environment(log_level="DEBUG")
    log.configure()
    before = log.LOGGER.level
    log.LOGGER.setLevel("DEBUG")
    buckets.put(buckets.intake, f"channels/{MARK}/targets/{MARK}.png", b"no picture")
    yield plan_job(buckets, clip, name=VIDEO, targets=(MARK,))
    log.LOGGER.setLevel(before)


@pytest.mark.parametrize("function", ["ingest", "worker", "merge", "dead_letter"])
@pytest.mark.parametrize("fault", ["at once", "later", "another version", "gone", "a bug"])
def test_errors_are_logged_without_names(
    fault: str,
    function: str,
    buckets: Buckets,
    marked: Planned,
    proxy: Proxy,
    environment: Environment,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    post: Post = request.getfixturevalue(function)
    if function == "ingest":  # which does and logs nothing once a job is linked
        push = upload_push(marked.manifest.source)
    else:
        linked = link_job(buckets, marked)
        push = linked.done(0) if function == "merge" else linked.task(0)
    if function == "merge":
        do_all_segments(buckets, linked)
    environment(retry_seconds=0.1, log_level="DEBUG")
    if fault == "another version":
        buckets.put(buckets.work, marked.ref.name, f'{{"version": 1, "job": "{MARK}"}}'.encode())
    elif fault == "gone":
        buckets.client.bucket(buckets.intake).blob(VIDEO).delete()
        find_all_segments(buckets, marked)
    elif fault == "a bug":

        def bug(bucket: str, name: str, generation: int = 0) -> None:
            raise TypeError(f"{MARK}: {bucket}, {name}")

        monkeypatch.setattr(objects, "find_blob", bug)
    else:
        most = 0 if fault == "at once" else 5
        proxy.fails = lambda method, path: len(proxy.requests) > most
    capfd.readouterr()
    post(push)
    said = capfd.readouterr()
    assert said.out + said.err != ""
    assert MARK not in said.out + said.err
