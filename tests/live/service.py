"""Run the live service as a process, and use it as its page does."""

import json
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from defacer_emulator.processes.supervisor import is_http_ready
from tests.cloud import PROJECT
from tests.live.pictures import FRAMES_PER_SECOND, Clip, repeat_frames
from tests.servers import ROOT, free_port, wait_until

START_SECONDS = 180
BUCKETS = ("live-intake", "live-work", "live-output")
# The service waits a minute for a camera, a viewer or a frame: on a busy machine a browser takes seconds for a frame.
PATIENT = """
import sys
from defacer.web.live import sessions

sessions.CAMERA_TIMEOUT_SECONDS = sessions.STARTUP_TIMEOUT_SECONDS = sessions.SEND_TIMEOUT_SECONDS = 60.0

from defacer.web.live import __main__ as live
sys.exit(live.main())
"""


@dataclass
class Service:
    """A running service: its address and its log file."""

    url: str
    log: Path

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def open_page(self) -> requests.Session:
        """Open the page and return a session with its token."""
        browser = requests.Session()
        page = browser.get(self.url, timeout=60)
        token = re.search(r'name="csrf" content="([^"]+)"', page.text)
        assert token
        browser.headers.update({"Origin": self.url, "X-CSRF-Token": token[1]})
        return browser

    def start_stream(self, **fields: Any) -> dict[str, str]:
        """Start a stream. Return its id and key."""
        answer = self.open_page().post(f"{self.url}/streams", json=fields, timeout=120)
        assert answer.status_code == 201, answer.text
        started: dict[str, str] = answer.json()
        return started

    @contextmanager
    def open_socket(
        self, name: str, started: dict[str, str], origin: str | None = None
    ) -> Iterator[ClientConnection]:
        """Open the socket `camera` or `watch` of a stream, and send its access."""
        access = {"stream": started["id"], "key": started["key"] if name == "camera" else ""}
        url, origin = f"ws://{self.host}/sockets/{name}", origin or self.url
        with connect(url, origin=Origin(origin), open_timeout=60, max_size=None) as connection:
            with suppress(ConnectionClosed):  # a refused socket might be closed already
                connection.send(json.dumps(access))
            yield connection


@contextmanager
def live_service(
    folder: Path,
    storage: str,
    program: tuple[str, ...] = ("-m", "defacer.web.live"),
    arguments: tuple[str, ...] = (),
    **settings: object,
) -> Iterator[Service]:
    """Run the service with these settings."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    values: dict[str, object] = {
        "project": PROJECT,
        **dict(zip(("intake_bucket", "work_bucket", "output_bucket"), BUCKETS, strict=True)),
    }
    values |= {
        "live_allow_loopback": True,
        "live_ports": "",
        "live_origins": url,
        "live_streams": 1,
        # The least frames and the longest look-ahead: a busy machine that is late shows black frames only.
        "live_frames_per_second": 5,
        "live_delay_seconds": 1,
        **settings,
    }
    environment = {**os.environ, "STORAGE_EMULATOR_HOST": storage, "PYTHONUNBUFFERED": "1"}
    environment |= {f"DEFACER_{name.upper()}": str(value) for name, value in values.items()}
    log = folder / "live.log"
    command = [sys.executable, *program, "--port", str(port), *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_until(
                lambda: process.poll() is not None or is_http_ready(port),
                "the service listens",
                START_SECONDS,
            )
            assert process.poll() is None, log.read_text()
            yield Service(url, log)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def camera(service: Service, started: dict[str, str], clip: Clip) -> Iterator[ClientConnection]:
    """Send the clip in a loop, as the page sends its camera's frames."""
    stop = threading.Event()
    with service.open_socket("camera", started) as connection:

        def send() -> None:
            try:
                for number, jpeg in enumerate(repeat_frames(clip)):
                    connection.send(struct.pack(">d", number + 1.0) + jpeg)
                    if stop.wait(1 / FRAMES_PER_SECOND):
                        return
            except ConnectionClosed:
                return

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield connection
        finally:
            stop.set()
            thread.join(60)


def watch_stream(service: Service, stream_id: str) -> Iterator[bytes | dict[str, Any]]:
    """Yield the JPEGs and the status messages that a watching page receives."""
    with service.open_socket("watch", {"id": stream_id}) as connection:
        for message in connection:
            yield json.loads(message) if isinstance(message, str) else message[16:]


def read_mjpeg(answer: requests.Response) -> Iterator[bytes]:
    """Yield the JPEGs of a multipart response."""
    left = b""
    for piece in answer.iter_content(16384):
        left += piece
        while (head := left.find(b"\r\n\r\n")) >= 0:
            length = int(re.search(rb"Content-Length: (\d+)", left[:head])[1])
            if len(left) < head + 4 + length + 2:
                break
            yield left[head + 4 : head + 4 + length]
            left = left[head + 4 + length + 2 :]


def retry_while_full(attempt: Callable[[], requests.Response], seconds: float = 60) -> requests.Response:
    """Repeat the request until its status is not 429. Return that response."""
    answers: list[requests.Response] = []

    def has_capacity() -> bool:
        answers.append(attempt())
        return answers[-1].status_code != 429

    wait_until(has_capacity, "the service has capacity for a stream", seconds)
    return answers[-1]
