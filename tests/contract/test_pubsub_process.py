"""Our Pub/Sub emulator as a process: its arguments, its shutdown and its log."""

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
from tests.contract.pubsub_servers import run_builtin
from tests.contract.push_endpoint import PushEndpoint, Received
from tests.servers import ROOT

STOP_SECONDS = 3  # shorter than any ack deadline; 0.1 s suffices on an idle machine

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
    """Yield an endpoint that does not respond within the block."""
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
def test_process_stops_at_once_during_a_push_and_a_pull(
    tmp_path: Path, connect: Connect, stop: signal.Signals
) -> None:
    with (
        busy_endpoint() as endpoint,
        ThreadPoolExecutor() as pool,
        run_builtin(tmp_path) as (process, address),
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


def test_failed_push_is_logged_with_its_status(tmp_path: Path, connect: Connect) -> None:
    with (
        PushEndpoint(lambda _: 503 if len(endpoint.received()) == 1 else 204) as endpoint,
        run_builtin(tmp_path) as (_, address),
    ):
        client = connect(address)
        topic = client.topic()
        subscription = client.subscription(topic, endpoint.address)
        message_id = client.publish(topic)
        endpoint.wait_for(2)
    (line,) = (tmp_path / "builtin.log").read_text().splitlines()
    assert f"message not acknowledged: {message_id} of {subscription}, attempt 1," in line
    assert line.endswith(f"{endpoint.address}: status 503")


def test_port_in_use_is_reported(tmp_path: Path) -> None:
    with run_builtin(tmp_path) as (_, address):
        port = address.rpartition(":")[2]
        ended = run("--port", port)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"Can't listen on 127.0.0.1:{port}" in ended.stderr
