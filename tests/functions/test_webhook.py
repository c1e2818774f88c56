"""The function `webhook` with a real receiver: its requests, and its reaction to each status."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import JobEvent, JobEventData
from tests.cloud import Environment, Push, push_body
from tests.receiver import Call, Receiver, open_receiver
from tests.servers import free_port

JOB = "0123456789abcdef0123"
SECRET = "only for the tests of this repository"  # noqa: S105 - no secret
Tell = Callable[..., int]


@pytest.fixture
def receiver(environment: Environment) -> Iterator[Receiver]:
    with open_receiver() as opened:
        environment(webhook_url=f"{opened.address}/hook?from=defacer", webhook_secret=SECRET)
        yield opened


@pytest.fixture
def tell(app: Callable[[str], FlaskClient]) -> Tell:
    return lambda push: app("webhook").post("/", json=push).status_code


def event_push(kind: str = "job.completed", **changes: str) -> Push:
    source = ObjectRef(bucket="intake", name="channels/street/videos/walk.mp4", generation=7)
    result = ObjectRef(bucket="output", name="channels/street/walk.mp4", generation=8)
    data = JobEventData(job=JOB, channel="street", source=source, result=result)
    event = JobEvent(id=f"{JOB}-{kind}", type=kind, subject=JOB, data=data)  # type: ignore[arg-type]
    return push_body(event.model_dump_json().encode(), {"type": kind, **changes})


def is_genuine(call: Call, secret: str, now: float) -> bool:
    """Verify the signature as the README describes."""
    timestamp = call.headers["defacer-timestamp"]
    made = hmac.new(secret.encode(), timestamp.encode() + b"." + call.body, hashlib.sha256).hexdigest()
    signed = hmac.compare_digest(f"v1={made}", call.headers["defacer-signature"])
    return signed and abs(now - int(timestamp)) <= 300


@pytest.mark.parametrize("kind", ["job.completed", "job.failed"])
def test_end_of_a_job_is_sent_with_a_signature(kind: str, receiver: Receiver, tell: Tell) -> None:
    assert tell(event_push(kind)) == 200
    (call,) = receiver.calls
    assert call.path == "/hook?from=defacer"
    assert call.headers["content-type"] == "application/cloudevents+json"
    event = json.loads(call.body)
    assert (event["type"], event["data"]["job"]) == (kind, JOB)
    assert call.headers["idempotency-key"] == event["id"]
    assert is_genuine(call, SECRET, time.time())


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n\n"])
def test_trailing_white_space_is_not_part_of_the_secret(
    end: str, environment: Environment, receiver: Receiver, tell: Tell
) -> None:
    environment(webhook_url=receiver.address, webhook_secret=SECRET + end)
    assert tell(event_push()) == 200
    (call,) = receiver.calls
    assert is_genuine(call, SECRET, time.time())


def test_changed_request_fails_the_signature(receiver: Receiver, tell: Tell) -> None:
    tell(event_push())
    (call,) = receiver.calls
    other_body = Call(call.path, call.headers, call.body.replace(b"street", b"strand"))
    later = Call(call.path, call.headers | {"defacer-timestamp": str(int(time.time()) + 1)}, call.body)
    assert not is_genuine(other_body, SECRET, time.time())
    assert not is_genuine(later, SECRET, time.time())
    assert not is_genuine(call, SECRET + "!", time.time())
    assert not is_genuine(call, SECRET, time.time() + 301)


def test_planned_event_is_not_sent(receiver: Receiver, tell: Tell) -> None:
    assert tell(event_push("job.planned")) == 200
    assert receiver.calls == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_retryable_status_is_redelivered(status: int, receiver: Receiver, tell: Tell) -> None:
    receiver.answers = [status, 200]
    push = event_push()
    assert [tell(push), tell(push)] == [503, 200]
    first, second = receiver.calls
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body
    assert is_genuine(second, SECRET, time.time())


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
def test_other_status_is_logged_and_not_retried(
    status: int, receiver: Receiver, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answers = [status]
    assert tell(event_push()) == 200
    assert len(receiver.calls) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (error,) = [line for line in lines if line["severity"] == "ERROR"]
    assert (error["status"], error["job"], error["function"]) == (status, JOB, "webhook")


def test_unreachable_receiver_is_retried(environment: Environment, tell: Tell) -> None:
    environment(webhook_url=f"http://127.0.0.1:{free_port()}/", webhook_secret=SECRET)
    assert tell(event_push()) == 503


def test_log_has_no_secret_no_url_and_no_object(
    receiver: Receiver, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answers = [503, 404, 200]
    for _ in range(3):
        tell(event_push())
    out = capsys.readouterr().out
    assert JOB in out
    for told_to_nobody in (SECRET, receiver.address, "walk.mp4"):
        assert told_to_nobody not in out


@pytest.mark.parametrize("missing", ["url", "secret"])
def test_missing_settings_lose_no_event(
    missing: str, environment: Environment, receiver: Receiver, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(f"DEFACER_WEBHOOK_{missing.upper()}")
    environment()
    assert tell(event_push()) == 503
    assert receiver.calls == []
