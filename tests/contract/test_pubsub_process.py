"""Our Pub/Sub emulator as a process: its arguments, its end, what it logs. (Google's is not ours to test.)"""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.cloud import pubsub_v1

from tests.contract.pubsub_client import Client
from tests.contract.pubsub_servers import running_builtin
from tests.contract.push_endpoint import PushEndpoint, Received
from tests.servers import ROOT, wait_until

STOP_SECONDS = 3  # less than any ack deadline, and room for a busy machine; it takes 0.1 s

Connect = Callable[[str], Client]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    def clients(address: str) -> Client:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        return Client("project", pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient())

    return clients


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "defacer_emulator.pubsub", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


@contextmanager
def busy_endpoint() -> Iterator[PushEndpoint]:
    """It does not answer within the block."""
    release = threading.Event()

    def answer(_: Received) -> int:
        release.wait(60)
        return 204

    with PushEndpoint(answer) as endpoint:
        try:
            yield endpoint
        finally:
            release.set()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_whatever_is_under_way(
    tmp_path: Path, connect: Connect, stop: signal.Signals
) -> None:
    with (
        busy_endpoint() as endpoint,
        ThreadPoolExecutor() as pool,
        running_builtin(tmp_path) as (process, address),
    ):
        client = connect(address)
        topic = client.topic()
        client.subscription(topic, endpoint.address)
        quiet = {"subscription": client.subscription(client.topic()), "max_messages": 1}
        waiting = pool.submit(client.subscriber.pull, request=quiet, timeout=30, retry=None)
        client.publish(topic)
        endpoint.wait_for(1)
        process.send_signal(stop)
        assert process.wait(STOP_SECONDS) == 0
        assert not waiting.result(timeout=10).received_messages
    assert (tmp_path / "builtin.log").read_text() == ""


def test_the_limit_without_a_label_is_an_argument(tmp_path: Path, connect: Connect) -> None:
    with busy_endpoint() as endpoint, running_builtin(tmp_path, "--max-outstanding=4") as (_, address):
        client = connect(address)
        topic = client.topic()
        client.subscription(topic, f"{endpoint.address}/four")
        client.subscription(topic, f"{endpoint.address}/two", labels={"max-outstanding": "2"})
        client.publish_raw(topic, *({"data": b"x"} for _ in range(20)))
        wait_until(lambda: endpoint.at_once >= 6, "all that is allowed was pushed")
        # A further one would have come with the others: a publish and a pull later there is still none.
        subscription = client.subscription(topic)
        client.publish(topic)
        client.pull(subscription)
        assert len(endpoint.received("/four")) == 4
        assert len(endpoint.received("/two")) == 2


def test_a_failed_push_is_logged_with_what_was_found(tmp_path: Path, connect: Connect) -> None:
    with (
        PushEndpoint(lambda _: 503 if len(endpoint.received()) == 1 else 204) as endpoint,
        running_builtin(tmp_path) as (_, address),
    ):
        client = connect(address)
        topic = client.topic()
        subscription = client.subscription(topic, endpoint.address)
        message_id = client.publish(topic)
        endpoint.wait_for(2)
    (line,) = (tmp_path / "builtin.log").read_text().splitlines()
    assert f"Message {message_id} of {subscription}, attempt 1," in line
    assert line.endswith(f"{endpoint.address}: status 503.")


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with running_builtin(tmp_path) as (_, address):
        port = address.rpartition(":")[2]
        ended = run("--port", port)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"Can't listen on 127.0.0.1:{port}" in ended.stderr


def test_a_limit_out_of_range_is_named() -> None:
    ended = run("--port=0", "--max-outstanding=0")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "max_outstanding: found 0, expected 1 to 100.\n"
