"""A programming error is logged as a bug, and fails its job after a few attempts. It never advises a new upload."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from defacer.pipeline import programming_errors
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import job_of
from tests.cloud import Buckets, Environment, Post, Push, Topics, upload_push
from tests.functions.records import failure_of
from tests.functions.test_dead_letter import dead_letter_of
from tests.functions.test_webhook import event_push
from tests.planned import VIDEO, Planned, do_all_segments, find_all_segments, link_job
from tests.proxy import Proxy

MARK = "zq7"  # in the message of the bug, which no log line must contain

Break = Callable[..., None]
Lines = Callable[[], list[Any]]


@pytest.fixture
def break_code(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Replace a function by one with a bug, for all calls or for the first `times` calls."""

    def broken(target: str, kind: type[Exception] = TypeError, times: int | None = None) -> None:
        module, _, name = target.rpartition(".")
        works = getattr(import_module(module), name)
        calls = 0

        def bug(*args: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if times is None or calls <= times:
                raise kind(f"got an unexpected keyword argument of {MARK}")
            return works(*args, **more)

        monkeypatch.setattr(target, bug)

    return broken


@pytest.fixture
def lines(environment: Environment, capsys: pytest.CaptureFixture[str]) -> Lines:
    """Return the lines that were logged since the last call."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@dataclass(frozen=True)
class Case:
    """A message whose job is ready for it, its function, and the function to break."""

    job: str
    function: str
    push: Push
    target: str


@pytest.fixture(params=["ingest", "worker-find", "worker-hide", "merge-find", "merge-hide"])
def case(request: pytest.FixtureRequest, buckets: Buckets, topics: Topics, clip: Path) -> Case:
    if request.param == "ingest":
        source = buckets.put(buckets.intake, VIDEO, clip)
        return Case(job_of(source), "ingest", upload_push(source), "av.open")
    planned: Planned = request.getfixturevalue("planned")
    if request.param == "worker-find":
        return Case(planned.job, "worker", planned.task(0), "av.open")
    if request.param == "worker-hide":
        return Case(planned.job, "worker", link_job(buckets, planned).task(0), "av.open")
    if request.param == "merge-find":
        find_all_segments(buckets, planned)
        return Case(planned.job, "merge", planned.done(0), "defacer.engine.tracking.linking.link_faces")
    linked = link_job(buckets, planned)
    do_all_segments(buckets, linked)
    return Case(planned.job, "merge", linked.done(0), "defacer.engine.media.joiner.join")


def assert_failed_with_bug(buckets: Buckets, topics: Topics, job: str, function: str) -> None:
    failed = failure_of(buckets, job)
    assert (failed.stage, failed.code) == (function, "internal-error")
    assert f"internal error, see the log of {function} for job {job}" in failed.message
    assert "pload" not in failed.message
    assert [event["data"]["code"] for event in topics.events() if event["type"] == "job.failed"] == [
        "internal-error"
    ]
    assert buckets.names(buckets.work, f"{object_names.job_prefix(job)}bugs/") == []
    assert buckets.names(buckets.output) == []


def test_bug_fails_its_job_after_three_attempts(
    case: Case,
    buckets: Buckets,
    topics: Topics,
    break_code: Break,
    lines: Lines,
    request: pytest.FixtureRequest,
) -> None:
    post: Post = request.getfixturevalue(case.function)
    break_code(case.target)
    lines()
    assert [post(case.push) for _ in range(programming_errors.MAX_ATTEMPTS)] == [503, 503, 200]
    assert_failed_with_bug(buckets, topics, case.job, case.function)
    logged = lines()
    reported = [line for line in logged if line["message"] == "internal error: this is a bug"]
    assert len(reported) == programming_errors.MAX_ATTEMPTS
    for line in reported:
        assert (line["severity"], line["function"], line["job"]) == ("ERROR", case.function, case.job)
        assert line["error"] == "TypeError"
        assert line["stack"][-1].startswith("test_programming_errors.py:")
    assert MARK not in json.dumps(logged)


def test_bug_that_disappears_leaves_no_records(
    case: Case,
    buckets: Buckets,
    topics: Topics,
    break_code: Break,
    environment: Environment,
    request: pytest.FixtureRequest,
) -> None:
    """The lease allows one attempt here, and does not count the fault."""
    environment(max_segment_attempts=1)
    post: Post = request.getfixturevalue(case.function)
    break_code(case.target, AttributeError, times=2)
    assert [post(case.push) for _ in range(programming_errors.MAX_ATTEMPTS)] == [503, 503, 200]
    assert object_names.failed(case.job) not in buckets.names(buckets.work)


def test_bugs_are_counted_per_segment(
    buckets: Buckets, topics: Topics, job: Planned, worker: Post, break_code: Break
) -> None:
    break_code("av.open", times=4)
    assert [worker(job.task(index)) for index in (0, 1, 0, 1)] == [503] * 4
    assert [worker(job.task(index)) for index in (0, 1)] == [200, 200]


@pytest.mark.parametrize("kind", [MemoryError, PermissionError])
def test_machine_fault_is_not_a_bug(
    kind: type[Exception],
    buckets: Buckets,
    topics: Topics,
    clip: Path,
    ingest: Post,
    break_code: Break,
    lines: Lines,
) -> None:
    source = buckets.put(buckets.intake, VIDEO, clip)
    break_code("defacer.ingest.job_limits.require_name", kind)
    assert {ingest(upload_push(source)) for _ in range(5)} == {503}
    assert buckets.names(buckets.work) == []
    assert {line["message"] for line in lines()} == {"unexpected error, the message will be redelivered"}


def test_refused_upload_is_not_a_bug(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post, proxy: Proxy
) -> None:
    """The client has its own exception for a refused chunk of an upload."""
    do_all_segments(buckets, linked)
    with proxy.failing(lambda _, target: "upload_id=" in target):
        assert {merge(linked.done(0)) for _ in range(programming_errors.MAX_ATTEMPTS)} == {503}
    assert buckets.names(buckets.work, object_names.bugs_prefix(linked.job, "merge")) == []
    assert merge(linked.done(0)) == 200


def test_bug_in_publishing_fails_the_job_and_rolls_back(
    buckets: Buckets, topics: Topics, linked: Planned, merge: Post, break_code: Break
) -> None:
    do_all_segments(buckets, linked)
    break_code("defacer.pipeline.lifecycle.finalize.compare_with_published", KeyError)
    assert [merge(linked.done(0)) for _ in range(programming_errors.MAX_ATTEMPTS)] == [503, 503, 200]
    assert_failed_with_bug(buckets, topics, linked.job, "merge")


@pytest.mark.parametrize("target", ["finalize.abort_job", "rerender_request.video_of"])
def test_bug_in_dead_letter_fails_the_job(
    target: str, buckets: Buckets, topics: Topics, clip: Path, dead_letter: Post, break_code: Break
) -> None:
    source = buckets.put(buckets.intake, VIDEO, clip)
    break_code(f"defacer.pipeline.lifecycle.{target}")
    push = dead_letter_of(upload_push(source))
    assert [dead_letter(push) for _ in range(programming_errors.MAX_ATTEMPTS)] == [503, 503, 200]
    assert_failed_with_bug(buckets, topics, job_of(source), "dead_letter")


def test_dead_letter_after_a_bug_reports_internal_error(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post, dead_letter: Post, break_code: Break
) -> None:
    break_code("av.open")
    assert worker(planned.task(1)) == 503
    assert dead_letter(dead_letter_of(planned.task(1))) == 200
    assert_failed_with_bug(buckets, topics, planned.job, "worker")


def test_dead_letter_after_bug_in_another_segment_is_retryable(
    buckets: Buckets, topics: Topics, planned: Planned, worker: Post, dead_letter: Post, break_code: Break
) -> None:
    break_code("av.open", times=1)
    assert [worker(planned.task(1)), worker(planned.task(1))] == [503, 200]
    assert dead_letter(dead_letter_of(planned.task(0))) == 200
    assert failure_of(buckets, planned.job).code == "exhausted"


def test_bug_in_webhook_is_logged_and_redelivered(
    environment: Environment, app: Callable[[str], FlaskClient], break_code: Break, lines: Lines
) -> None:
    """The job has ended, and the receiver still has to get the event."""
    break_code("defacer.webhook.delivery._post")
    assert app("webhook").post("/", json=event_push()).status_code == 503
    (line,) = lines()
    assert (line["severity"], line["function"], line["error"]) == ("ERROR", "webhook", "TypeError")
    assert line["message"] == "internal error: this is a bug"
